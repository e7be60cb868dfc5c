"""Decoding of predictions at places into a frame's detections (CondInst; STC 3.5)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.config.segmentors import DecodingConfig
from vis_core.models.criterion.condinst_matching import LocationPredictions
from vis_core.models.segmentors.selection import box_nms

_FIRST_NMS = 128  # candidates in the first NMS round


@dataclass(frozen=True)
class Detections:
    """The N detections in a frame, best score first."""

    place: Tensor  # (N,) int64; a place with two classes appears twice
    label: Tensor  # (N,) int64 class indices
    scores: Tensor  # (N,) square root of class score times centre-ness
    boxes: Tensor  # (N, 4) xyxy in pixels of the padded input; may extend beyond it

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, index: Tensor | slice) -> "Detections":
        return Detections(
            self.place[index], self.label[index], self.scores[index], self.boxes[index]
        )


def detections(predictions: LocationPredictions, frame: int, config: DecodingConfig) -> Detections:
    """Selects detections (STC 3.5): threshold, top per level, NMS per class, top overall."""
    return _suppressed(_candidates(predictions, frame, config), config)


def _candidates(predictions: LocationPredictions, frame: int, config: DecodingConfig) -> Detections:
    """Returns each level's best places and classes above the threshold, sorted by score."""
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
    """Counts, for each of (N,) entries, the earlier entries on its level."""
    # levels first: summing 29,000 entries along the first axis takes 5 ms on a GPU
    is_level = level == torch.arange(num_levels, device=level.device)[:, None]
    return (is_level.cumsum(dim=1) * is_level).sum(dim=0) - 1


def _suppressed(candidates: Detections, config: DecodingConfig) -> Detections:
    """Runs NMS on only as many of the best candidates as needed to fill the frame.

    Only better candidates can suppress a candidate, so the rest can be skipped.
    """
    count = max(_FIRST_NMS, 4 * config.max_instances)
    while True:
        first = candidates[:count]
        kept = first[box_nms(first.boxes, first.label, config.nms_iou)]
        if len(kept) >= config.max_instances or count >= len(candidates):
            return kept[: config.max_instances]
        count *= 2
