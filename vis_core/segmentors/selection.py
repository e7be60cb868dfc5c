"""Which predictions of a frame become instances: score threshold, then mask NMS."""

import torch
from torch import Tensor

from vis_core.segmentors.settings import SelectionConfig
from vis_core.structures import Instances


def select_instances(instances: Instances, config: SelectionConfig) -> Instances:
    """Keeps what scores enough and is no double of something better (CTVIS 3.2, released order).

    Sorted by score, above the threshold (or the best one, if none is), then class-agnostic NMS on
    the masks at stride 4: an instance goes if its IoU with a better one that stays is too large.

    Args:
        instances: All predictions of a frame.
        config: Threshold and IoU.

    Returns:
        The kept ones, best score first.
    """
    order = instances.scores.argsort(descending=True, stable=True)
    ranked = instances[order]
    kept = ranked.scores > config.score_threshold
    kept[:1] = True
    ranked = ranked[kept]
    return ranked[_not_doubled(mask_iou(ranked.mask_logits > 0), config.nms_iou)]


def mask_iou(masks: Tensor) -> Tensor:
    """Gives the (N, N) IoU of masks (N, h, w); two empty masks have 0."""
    flat = masks.flatten(1).float()
    overlap = flat @ flat.T
    area = flat.sum(dim=1)
    union = area[:, None] + area[None, :] - overlap
    return overlap / union.clamp(min=1)


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
