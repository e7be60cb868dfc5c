"""The common base of CTVIS and MinVIS: a Mask2Former whose queries have embeddings."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from vis_core.config.systems import QuerySystemConfig
from vis_core.models.criterion.hungarian_matching import UNMATCHED
from vis_core.models.segmentors.mask2former import Mask2Former, SegmentorOutput
from vis_core.models.segmentors.selection import select_instances
from vis_core.models.systems.base import System
from vis_core.models.systems.extra_heads import ExtraHeads, MatchedFrame
from vis_core.structures import ClipBatch, FrameTargets, Instances


class QuerySystem(System):
    """A Mask2Former applied to frames; subclasses define the query embeddings."""

    config: QuerySystemConfig
    addons: ExtraHeads
    backbone_prefix = "segmentor.network.model.pixel_level_module.encoder."

    def __init__(self, config: QuerySystemConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.segmentor = Mask2Former(config.segmentor, num_classes)

    def new_extra_heads(self) -> ExtraHeads:
        """Builds the extra heads; call it last, or the other random weights change."""
        width = self.config.segmentor.hidden_width
        return ExtraHeads(self.config, width, width)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights from the config (for CTVIS, those of Eq. 6) and from the extra heads."""
        return self.config.loss_weights.model_dump(by_alias=True) | self.addons.loss_weights

    def embed(self, queries: Tensor) -> Tensor:
        """Returns the embeddings of (..., Q, C) queries: by default, the queries themselves."""
        return queries

    def segment_clips(self, batch: ClipBatch) -> SegmentorOutput:
        """Segments the B * T frames of a batch, clip by clip."""
        return self.segmentor(batch.images.flatten(0, 1), batch.sizes.flatten(0, 1))

    def segmentation_losses(
        self,
        output: SegmentorOutput,
        targets: list[FrameTargets],
        generator: torch.Generator | None,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Computes the losses of F frames by name, including those of the extra heads.

        Also returns, for each frame, the (G,) query matched with each instance.
        """
        losses, matched = self.segmentor.losses(output, targets, generator)
        frames = []
        for row, (target, match) in enumerate(zip(targets, matched, strict=True)):
            found = match != UNMATCHED
            queries = match[found]
            masks_of = partial(self.segmentor.mask_logits, output, row, queries)
            frames.append(MatchedFrame(output.queries[row, queries], masks_of, target.masks[found]))
        return losses | self.addons.losses(frames), matched

    @torch.no_grad()
    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds and selects the instances in frames of one size (see ``System.segment``)."""
        if not images:
            return []
        output = self.segmentor(*self.input_frames(images), last_layer_only=True)
        return [self._frame_instances(output, row) for row in range(len(images))]

    def _frame_instances(self, output: SegmentorOutput, row: int) -> Instances:
        class_logits = output.predictions.class_logits[-1, row]
        class_scores = class_logits.softmax(dim=1)[:, :-1]
        predictions = Instances(
            scores=class_scores.max(dim=1).values,
            class_scores=class_scores,
            mask_logits=output.predictions.mask_logits[-1, row],
            embeddings=self.embed(output.queries[row]),
            class_logits=class_logits,
            qualities=self.addons.qualities(output.queries[row]),
        )
        return select_instances(predictions, self.config.selection)
