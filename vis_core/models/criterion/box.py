"""Losses between predicted and true boxes, both cxcywh and normalised by the image."""

import torch.nn.functional as functional
from torch import Tensor

from vis_core.geometry.boxes import generalized_iou, to_xyxy

# fvcore's GIoU loss, which released IDOL takes, adds it to the union.
_UNION_SMOOTHING = 1e-7


def l1_box_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Sums the distance of the four numbers of each box (N, 4) from the truth: (N,)."""
    return functional.l1_loss(boxes, targets, reduction="none").sum(dim=1)


def giou_box_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Gives one minus the generalized IoU of each box (N, 4) with the truth: (N,) in [0, 2]."""
    return 1 - generalized_iou(to_xyxy(boxes), to_xyxy(targets), _UNION_SMOOTHING)
