"""STC (Jiang 2022): CondInst with a tracking head, trained on two frames in both directions."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vis_core.config.systems import StcConfig
from vis_core.geometry.boxes import clipped
from vis_core.geometry.masks import InputSize
from vis_core.models.contrastive.stc import (
    TrackingFrame,
    consistency_loss,
    embeddings_at,
    paired_places,
    tracking_losses,
)
from vis_core.models.criterion.condinst_criterion import LocationCriterion, semantic_loss
from vis_core.models.criterion.condinst_matching import LocationMatching
from vis_core.models.layers.tracking_head import TrackingHead
from vis_core.models.segmentors.condinst import CondInst, CondInstOutput
from vis_core.models.segmentors.condinst_decoding import Detections, detections
from vis_core.models.segmentors.image_detections import MAX_DETECTIONS
from vis_core.models.segmentors.selection import select_instances
from vis_core.models.systems.base import System
from vis_core.models.systems.frame_pairs import FramePairs
from vis_core.structures import ClipBatch, FrameTargets, Instances


class Stc(System):
    """A CondInst with an embedding map, read at box centres."""

    config: StcConfig
    segmentor: CondInst

    def __init__(self, config: StcConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.segmentor = CondInst(config.segmentor, num_classes)
        tracking = config.tracking
        self.tracking_head = TrackingHead(config.segmentor.width, tracking.width, tracking.convs)
        self.criterion = LocationCriterion(config.matching, config.criterion)

    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes the terms of STC Eq. 7; the tracking term is STC Eq. 5.

        ``FramePairs`` chooses the frames. Still images have no tracking or consistency loss.
        """
        pairs = FramePairs.of(batch, generator)
        output = self.segmentor(pairs.images, pairs.sizes)
        embeddings = self.tracking_head(output.levels).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._losses(output, embeddings, pairs.targets, pairs.frames_a_clip, generator)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of STC Eq. 7; CondInst's terms have weight 1 in the release."""
        weights = self.config.loss_weights.model_dump(by_alias=True)
        if not self.config.segmentor.semantic_loss:
            del weights["semantic"]
        return weights

    def input_size(self, height: int, width: int) -> InputSize:
        """Computes the input size; masks are upsampled as in CondInst's training."""
        return replace(super().input_size(height, width), upsampling="aligned_probabilities")

    def detection_config(self) -> StcConfig:
        """Returns the config for COCO, with COCO's limit on instances per image (CondInst)."""
        segmentor = self.config.segmentor
        decoding = segmentor.decoding.model_copy(update={"max_instances": MAX_DETECTIONS})
        segmentor = segmentor.model_copy(update={"decoding": decoding})
        selection = super().detection_config().selection
        return self.config.model_copy(update={"selection": selection, "segmentor": segmentor})

    @torch.no_grad()
    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds and selects the instances in frames of one size (see ``System.segment``)."""
        if not images:
            return []
        frames, sizes = self.input_frames(images)
        output = self.segmentor(frames, sizes)
        pairs = zip(self.tracking_head(output.levels), sizes, strict=True)
        return [self._frame_instances(output, *pair, row) for row, pair in enumerate(pairs)]

    def _frame_instances(
        self, output: CondInstOutput, embeddings: Tensor, size: Tensor, row: int
    ) -> Instances:
        """Returns one frame's instances (STC 3.5); ``size`` is its height and width."""
        found = detections(output.predictions, row, self.config.segmentor.decoding)
        boxes = clipped(found.boxes, *size.tolist())
        visible = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        found, boxes = found[visible], boxes[visible]
        instances = Instances(
            scores=found.scores,
            class_scores=_class_scores(found, self.num_classes),
            mask_logits=self.segmentor.mask_logits(output, row, found.place),
            embeddings=embeddings_at(embeddings, boxes),
            boxes=boxes,
        )
        return select_instances(instances, self.config.selection)

    def _losses(
        self,
        output: CondInstOutput,
        embeddings: Tensor,
        frames: list[FrameTargets],
        frames_a_clip: int,
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Computes the losses from all frames' predictions and embeddings (F, C, h, w)."""
        matched = self.criterion.match(output.predictions, frames)
        step = 1 if self.config.tracking.both_frames else frames_a_clip
        compared = slice(0, None, step)
        losses: dict[str, Tensor] = self.criterion(
            output.predictions[compared],
            lambda row, places: self.segmentor.mask_logits(output, row * step, places),
            frames[compared],
            matched[compared],
            generator,
        )
        if output.semantic_logits is not None:
            logits = output.semantic_logits[compared].float()
            losses["semantic"] = semantic_loss(logits, frames[compared], self.config.criterion)
        if frames_a_clip == 1:
            zero = embeddings.sum() * 0  # attached to the graph
            return losses | {"track": zero, "consistency": zero}
        pair_frames = [
            TrackingFrame.of(output.predictions, row, embeddings[row], matched[row], frames[row])
            for row in range(len(frames))
        ]
        return losses | {
            "track": self._tracking_loss(pair_frames[0::2], pair_frames[1::2], generator),
            "consistency": self._consistency_loss(output, matched, frames, generator),
        }

    def _tracking_loss(
        self,
        frames: list[TrackingFrame],
        references: list[TrackingFrame],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Computes STC Eq. 4, or Eq. 5 over both directions."""
        loss_of = partial(tracking_losses, config=self.config.tracking, generator=generator)
        forward = loss_of(frames, references)
        if not self.config.tracking.bidirectional:
            return forward
        return (forward + loss_of(references, frames)) / 2

    def _consistency_loss(
        self,
        output: CondInstOutput,
        matched: list[LocationMatching],
        frames: list[FrameTargets],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Computes STC Eq. 6 over all instances in the batch, or 0 if it is disabled."""
        kernels = output.predictions.kernels
        if not self.config.tracking.consistency:
            return kernels.sum() * 0
        pairs = []
        for key in range(0, len(frames), 2):
            pair = slice(key, key + 2)
            first, second = paired_places(matched[pair], frames[pair], generator)
            pairs.append((kernels[key, first], kernels[key + 1, second]))
        return consistency_loss(pairs)


def _class_scores(found: Detections, num_classes: int) -> Tensor:
    """Returns (N, K) scores, 0 for all but the detected class."""
    scores = found.scores.new_zeros(len(found), num_classes)
    scores[torch.arange(len(found), device=scores.device), found.label] = found.scores
    return scores
