"""Decoding of the predictions at places into the detections of a frame (CondInst; STC 3.5)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.config.segmentors import DecodingConfig
from vis_core.models.criterion.condinst_matching import LocationPredictions
from vis_core.models.segmentors.selection import box_nms

_FIRST_NMS = 128  # candidates of the first round of NMS


@dataclass(frozen=True)
class Detections:
    """The N detections of a frame, best score first.

    Attributes:
        place: (N,) int64; a place with two classes occurs twice.
        label: (N,) int64 class indices.
        scores: (N,) root of class score times centre-ness.
        boxes: (N, 4) xyxy in pixels of the padded input; they may exceed it.
    """

    place: Tensor
    label: Tensor
    scores: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, index: Tensor | slice) -> "Detections":
        return Detections(
            self.place[index], self.label[index], self.scores[index], self.boxes[index]
        )


def detections(predictions: LocationPredictions, frame: int, config: DecodingConfig) -> Detections:
    """Selects detections (STC 3.5): threshold, best of each level, NMS in a class, best of all."""
    return _suppressed(_candidates(predictions, frame, config), config)


def _candidates(predictions: LocationPredictions, frame: int, config: DecodingConfig) -> Detections:
    """Returns the places and classes above the threshold, sorted, the best ones of each level."""
    probabilities = predictions.class_logits[frame].sigmoid()
    weighted = probabilities * predictions.center_logits[frame].sigmoid()[:, None]
    compared = weighted if config.threshold_with_center else probabilities
    place, label = (compared > config.score_threshold).nonzero(as_tuple=True)
    products = weighted[place, label]
    order = products.argsort(descending=True, stable=True)
    level = predictions.places.level[place[order]]
    num_levels = int(predictions.places.level[-1]) + 1
    kept = order[_rank_in_level(level, num_levels) < config.candidates]
    place, label = place[kept], label[kept]
    return Detections(place, label, products[kept].sqrt(), predictions.boxes(frame, place))


def _rank_in_level(level: Tensor, num_levels: int) -> Tensor:
    """Counts for each (N,) entry the earlier entries of its level."""
    # levels first: a GPU sums 29,000 entries at once along the last axis, in 5 ms along the first
    is_level = level == torch.arange(num_levels, device=level.device)[:, None]
    return (is_level.cumsum(dim=1) * is_level).sum(dim=0) - 1


def _suppressed(candidates: Detections, config: DecodingConfig) -> Detections:
    """Runs NMS on as many of the best candidates as needed to fill the frame.

    The fate of a candidate depends on better ones alone, so the rest can be skipped.
    """
    count = max(_FIRST_NMS, 4 * config.max_instances)
    while True:
        first = candidates[:count]
        kept = first[box_nms(first.boxes, first.label, config.nms_iou)]
        if len(kept) >= config.max_instances or count >= len(candidates):
            return kept[: config.max_instances]
        count *= 2
