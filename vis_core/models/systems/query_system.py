"""The common base of CTVIS, MinVIS and IDOL: a segmentor whose queries have embeddings."""

import numpy as np
import torch
from torch import Tensor

from vis_core.config.criterion import TransportConfig
from vis_core.config.segmentors import DeformableDetrSettings
from vis_core.config.systems import QuerySystemConfig
from vis_core.models.segmentors.deformable_detr import DeformableDetr
from vis_core.models.segmentors.mask2former import Mask2Former
from vis_core.models.segmentors.selection import select_instances
from vis_core.models.systems.base import System
from vis_core.models.systems.extra_heads import ExtraHeads
from vis_core.models.systems.query_frames import (
    DeformableDetrFrames,
    Mask2FormerFrames,
    QueryFrames,
)
from vis_core.structures import ClipBatch, FrameTargets, Instances


class QuerySystem(System):
    """A segmentor with queries, applied frame by frame; subclasses define the query embeddings."""

    config: QuerySystemConfig
    segmentor: Mask2Former | DeformableDetr
    addons: ExtraHeads

    def __init__(
        self, config: QuerySystemConfig, num_classes: int, matching: TransportConfig | None = None
    ) -> None:
        """Builds the segmentor; only Deformable DETR uses ``matching``, by default IDOL's."""
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.matching = matching or TransportConfig()
        if isinstance(config.segmentor, DeformableDetrSettings):
            self.segmentor = DeformableDetr(config.segmentor, num_classes)
        else:
            self.segmentor = Mask2Former(config.segmentor, num_classes)

    def new_extra_heads(self) -> ExtraHeads:
        """Builds the extra heads; call it last, or the other random weights change."""
        width = mask_width = self.config.segmentor.hidden_width
        if isinstance(self.segmentor, DeformableDetr):
            mask_width = self.segmentor.mask_head.num_parameters
        return ExtraHeads(self.config, width, mask_width)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights from the config (CTVIS Eq. 6, IDOL Eq. 2) and from the extra heads."""
        return self.config.loss_weights.model_dump(by_alias=True) | self.addons.loss_weights

    def embed(self, queries: Tensor) -> Tensor:
        """Returns the embeddings of (..., Q, C) queries: by default, the queries themselves."""
        return queries

    def predict(self, images: Tensor, sizes: Tensor, *, for_losses: bool = True) -> QueryFrames:
        """Runs the segmentor on F frames (see ``Mask2Former.forward``)."""
        if isinstance(self.segmentor, DeformableDetr):
            output = self.segmentor(images, sizes)
            return DeformableDetrFrames(self.segmentor, output, self.matching)
        output = self.segmentor(images, sizes, last_layer_only=not for_losses)
        return Mask2FormerFrames(self.segmentor, output, sizes)

    def predict_clips(self, batch: ClipBatch) -> QueryFrames:
        """Predicts the B * T frames of a batch, clip by clip."""
        return self.predict(batch.images.flatten(0, 1), batch.sizes.flatten(0, 1))

    def frame_losses(
        self,
        predictions: QueryFrames,
        targets: list[FrameTargets],
        generator: torch.Generator | None,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Computes the losses of F frames by name, including those of the extra heads.

        Also returns, for each frame, the (G,) query matched with each instance.
        """
        losses, queries, frames = predictions.losses(targets, generator)
        return losses | self.addons.losses(frames), queries

    @torch.no_grad()
    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds and selects the instances in frames of one size (see ``System.segment``)."""
        if not images:
            return []
        predictions = self.predict(*self.input_frames(images), for_losses=False)
        decoded = predictions.decode(self.config, self.embed, self.addons.qualities)
        return [select_instances(instances, self.config.selection) for instances in decoded]
