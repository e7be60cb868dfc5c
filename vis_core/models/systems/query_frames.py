"""The common interface to the predictions of Mask2Former and Deformable DETR.

It provides the queries, the losses, the input to transport matching and the decoded instances, so
that CTVIS and IDOL each work with either segmentor (CTVIS Table 2).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vis_core.config.criterion import TransportConfig
from vis_core.config.systems import QuerySystemConfig
from vis_core.geometry.boxes import clipped, mask_boxes, to_cxcywh, to_xyxy
from vis_core.models.criterion.hungarian_matching import UNMATCHED
from vis_core.models.criterion.idol_criterion import MASK_STRIDE, detection_losses
from vis_core.models.criterion.mask2former_criterion import QueryPredictions
from vis_core.models.criterion.transport_matching import FrameGuess
from vis_core.models.segmentors.deformable_detr import DeformableDetr, DeformableDetrOutput
from vis_core.models.segmentors.mask2former import Mask2Former, SegmentorOutput
from vis_core.models.segmentors.selection import select_by_score_and_box
from vis_core.models.systems.extra_heads import MatchedFrame
from vis_core.structures import FrameTargets, Instances

EmbeddingsOf = Callable[[Tensor], Tensor]
QualitiesOf = Callable[[Tensor], Tensor | None]
# the losses by name; the (G,) query for each instance of each frame; all matched queries
MatchedLosses = tuple[dict[str, Tensor], list[Tensor], list[MatchedFrame]]


@dataclass(frozen=True)
class Mask2FormerFrames:
    """The predictions of Mask2Former for F frames; boxes are the tight boxes of predicted masks.

    ``sizes`` is the (F, 2) height and width of each frame before padding.
    """

    segmentor: Mask2Former
    output: SegmentorOutput
    sizes: Tensor

    @property
    def queries(self) -> Tensor:
        """(F, Q, C) last decoder outputs."""
        return self.output.queries

    def __getitem__(self, frames: slice) -> "Mask2FormerFrames":
        layers, queries = self.output.predictions, self.output.queries[frames]
        layers = QueryPredictions(layers.class_logits[:, frames], layers.mask_logits[:, frames])
        output = SegmentorOutput(layers, queries, self.output.mask_features[frames])
        return Mask2FormerFrames(self.segmentor, output, self.sizes[frames])

    def losses(
        self, targets: list[FrameTargets], generator: torch.Generator | None
    ) -> MatchedLosses:
        """Computes Mask2Former's losses; an instance without a query is ``UNMATCHED``."""
        losses, matched = self.segmentor.losses(self.output, targets, generator)
        frames = []
        for row, (target, match) in enumerate(zip(targets, matched, strict=True)):
            found = match != UNMATCHED
            queries = match[found]
            masks_of = partial(self.segmentor.mask_logits, self.output, row, queries)
            frames.append(MatchedFrame(self.queries[row, queries], masks_of, target.masks[found]))
        return losses, matched, frames

    def guess(self, frame: int) -> FrameGuess:
        """Returns the last layer's detached class scores and boxes in a frame."""
        scores = self.output.predictions.class_logits[-1, frame].detach().softmax(dim=1)[:, :-1]
        scale = self.sizes[frame].flip(0).repeat(2)
        return FrameGuess(scores, to_cxcywh(self._boxes(frame) / scale))

    def decode(
        self, config: QuerySystemConfig, embed: EmbeddingsOf, qualities: QualitiesOf
    ) -> Iterator[Instances]:
        """Yields each frame's instances, one per query, with boxes only if they are needed."""
        with_boxes = config.selection.box_nms_iou or config.association.similarity == "cues"
        for row, queries in enumerate(self.queries):
            class_logits = self.output.predictions.class_logits[-1, row]
            class_scores = class_logits.softmax(dim=1)[:, :-1]
            yield Instances(
                scores=class_scores.max(dim=1).values,
                class_scores=class_scores,
                mask_logits=self.output.predictions.mask_logits[-1, row],
                embeddings=embed(queries),
                boxes=self._boxes(row) if with_boxes else None,
                class_logits=class_logits,
                qualities=qualities(queries),
            )

    def _boxes(self, frame: int) -> Tensor:
        """Returns the (Q, 4) xyxy boxes of a frame's masks, in pixels of the unpadded input."""
        masks = self.output.predictions.mask_logits[-1, frame] > 0
        return clipped(mask_boxes(masks) * MASK_STRIDE, *self.sizes[frame].tolist())


@dataclass(frozen=True)
class DeformableDetrFrames:
    """The predictions of Deformable DETR for F frames, with masks for chosen queries only."""

    segmentor: DeformableDetr
    output: DeformableDetrOutput
    matching: TransportConfig

    @property
    def queries(self) -> Tensor:
        """(F, Q, C) last decoder outputs."""
        return self.output.states[-1]

    def __getitem__(self, frames: slice) -> "DeformableDetrFrames":
        return DeformableDetrFrames(self.segmentor, self.output[frames], self.matching)

    def losses(
        self,
        targets: list[FrameTargets],
        generator: torch.Generator | None,  # noqa: ARG002 (nothing is random)
    ) -> MatchedLosses:
        """Computes IDOL's losses; an instance's query is the best of those matched with it."""
        output, last = self.output, len(self.output.states) - 1
        masks_of = partial(self.segmentor.mask_logits, output, self.segmentor.mask_features(output))
        losses, (*_, matched) = detection_losses(
            output.predictions, masks_of, targets, output.sizes, self.matching
        )
        frames = [
            MatchedFrame(
                self.queries[row, matching.queries],
                partial(masks_of, last, row, matching.queries),
                target.masks[matching.instances],
            )
            for row, (matching, target) in enumerate(zip(matched, targets, strict=True))
        ]
        return losses, [matching.best_query for matching in matched], frames

    def guess(self, frame: int) -> FrameGuess:
        """Returns the last layer's detached class scores and boxes in a frame."""
        return self.output.predictions.guess(-1, frame)

    def decode(
        self, config: QuerySystemConfig, embed: EmbeddingsOf, qualities: QualitiesOf
    ) -> Iterator[Instances]:
        """Yields each frame's instances, selected by score and box before masks are computed."""
        output, features = self.output, self.segmentor.mask_features(self.output)
        embeddings, last = embed(self.queries), len(output.states) - 1
        for row, size in enumerate(output.sizes):
            class_scores = output.predictions.class_logits[-1, row].sigmoid()
            scores = class_scores.max(dim=1).values
            scale = size.flip(0).repeat(2)
            boxes = to_xyxy(output.predictions.boxes_cxcywh_norm[-1, row]) * scale
            selected = select_by_score_and_box(scores, class_scores, boxes, config.selection)
            yield Instances(
                scores=scores[selected],
                class_scores=class_scores[selected],
                mask_logits=self.segmentor.mask_logits(output, features, last, row, selected),
                embeddings=embeddings[row, selected],
                boxes=boxes[selected],
                qualities=qualities(self.queries[row, selected]),
            )


QueryFrames = Mask2FormerFrames | DeformableDetrFrames
