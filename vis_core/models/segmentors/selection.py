"""Instance selection within a frame: score threshold, box NMS, then mask NMS."""

import torch
from torch import Tensor

from vis_core.config.segmentors import SelectionConfig
from vis_core.geometry.boxes import box_iou
from vis_core.geometry.masks import pairwise_mask_iou
from vis_core.structures import Instances


def select_instances(instances: Instances, config: SelectionConfig) -> Instances:
    """Selects instances by score, boxes and masks (IDOL 3.3, CTVIS 3.2).

    Runs ``select_by_score_and_box``, then class-agnostic NMS on the masks at stride 4, padding
    included. The first step has no effect if it already ran before the masks were computed. The
    best score comes first.
    """
    ranked = instances[
        select_by_score_and_box(instances.scores, instances.class_scores, instances.boxes, config)
    ]
    iou = pairwise_mask_iou(ranked.mask_logits > 0, config.iou_smoothing_pixels)
    return ranked[_greedy_nms(iou, config.nms_iou)]


def select_by_score_and_box(
    scores: Tensor, class_scores: Tensor, boxes: Tensor | None, config: SelectionConfig
) -> Tensor:
    """Selects the predictions above the threshold, or else the best one, then runs box NMS.

    Needs no masks, so a segmentor can compute masks for the selected predictions only. With
    ``box_nms_iou``, NMS compares the (Q, 4) xyxy boxes of predictions with the same best class
    (IDOL release). Returns (N,) int64 indices, best score first.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = scores[order] > config.score_threshold
    kept[:1] = True
    order = order[kept]
    if config.box_nms_iou is None:
        return order
    if boxes is None:
        raise ValueError("box_nms_iou compares boxes, but the predictions have none")
    return order[box_nms(boxes[order], class_scores[order].argmax(dim=1), config.box_nms_iou)]


def box_nms(boxes: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Returns (N,) bool: whether NMS within each class keeps each of (N, 4) boxes, best first."""
    same_class = labels[:, None] == labels[None, :]
    return _greedy_nms(box_iou(boxes, boxes) * same_class, iou)


def _greedy_nms(iou: Tensor, limit: float) -> Tensor:
    """Runs greedy NMS on a sorted (N, N) IoU matrix, in rounds over all pairs.

    A row is removed if an earlier kept row overlaps it. At first, all rows are kept. Each round
    decides at least one more row, in order, so the result equals that of a loop over the rows.
    """
    overlaps = (iou > limit).tril(diagonal=-1)
    stays = torch.ones(len(iou), dtype=torch.bool, device=iou.device)
    while True:
        kept = ~(overlaps & stays[None, :]).any(dim=1)
        if torch.equal(kept, stays):
            return stays
        stays = kept
