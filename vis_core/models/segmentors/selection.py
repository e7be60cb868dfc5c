"""Which predictions of a frame become instances: score threshold, box NMS, then mask NMS."""

import torch
from torch import Tensor

from vis_core.config.segmentors import SelectionConfig
from vis_core.geometry.boxes import box_iou
from vis_core.structures import Instances


def select_instances(instances: Instances, config: SelectionConfig) -> Instances:
    """Keeps what scores enough and is no double of something better (IDOL 3.3, CTVIS 3.2).

    ``select_by_score_and_box``, then class-agnostic NMS on the masks at stride 4, padding included:
    an instance goes if its IoU with a better one that stays is too large. What was selected by
    score and box before its masks were made passes the first step as it is.

    Args:
        instances: All predictions of a frame.
        config: Threshold and IoUs.

    Returns:
        The kept ones, best score first.
    """
    ranked = instances[
        select_by_score_and_box(instances.scores, instances.class_scores, instances.boxes, config)
    ]
    return ranked[
        _not_doubled(mask_iou(ranked.mask_logits > 0, config.iou_smoothing_pixels), config.nms_iou)
    ]


def select_by_score_and_box(
    scores: Tensor, class_scores: Tensor, boxes: Tensor | None, config: SelectionConfig
) -> Tensor:
    """Names the predictions above the threshold, or the best one if none is, without double boxes.

    Needs no masks, so that a segmentor may make them for these alone. With ``box_nms_iou`` NMS
    runs on the boxes of each class, the class of a prediction being its best (released IDOL).

    Args:
        scores: (Q,).
        class_scores: (Q, K).
        boxes: (Q, 4) xyxy; not used without ``box_nms_iou``.
        config: Threshold and IoU.

    Returns:
        (N,) int64 indices, best score first.
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
    """Says (N,) bool which boxes (N, 4), the best first, overlap no better one of their class."""
    same_class = labels[:, None] == labels[None, :]
    return _not_doubled(box_iou(boxes, boxes) * same_class, iou)


def mask_iou(masks: Tensor, smoothing_pixels: float = 0.0) -> Tensor:
    """Gives the (N, N) IoU of masks (N, h, w), with ``smoothing_pixels`` added to both areas.

    Two empty masks have 0 without smoothing and 1 with it.
    """
    flat = masks.flatten(1).float()
    overlap = flat @ flat.T
    area = flat.sum(dim=1)
    union = area[:, None] + area[None, :] - overlap
    smallest = smoothing_pixels or 1.0  # no pair that is not empty has less
    return (overlap + smoothing_pixels) / (union + smoothing_pixels).clamp(min=smallest)


def _not_doubled(iou: Tensor, limit: float) -> Tensor:
    """Runs greedy NMS on a sorted (N, N) IoU matrix, in rounds over all pairs.

    A row is out if an earlier row that stays overlaps it. Starting from "all stay", the rounds
    settle row by row from the top, as the loop would decide them.
    """
    overlaps = (iou > limit).tril(diagonal=-1)
    stays = torch.ones(len(iou), dtype=torch.bool, device=iou.device)
    while True:
        now = ~(overlaps & stays[None, :]).any(dim=1)
        if torch.equal(now, stays):
            return stays
        stays = now
