"""Losses between predicted and true boxes, both cxcywh and normalised by image size."""

import torch.nn.functional as functional
from torch import Tensor

from vis_core.geometry.boxes import generalized_iou, to_xyxy

# fvcore's GIoU loss, which the IDOL release uses, adds this to the union.
_UNION_SMOOTHING = 1e-7


def l1_box_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Returns the (N,) L1 distances between boxes (N, 4) and the truth."""
    return functional.l1_loss(boxes, targets, reduction="none").sum(dim=1)


def giou_box_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Computes one minus the generalized IoU of boxes (N, 4) with the truth: (N,) in [0, 2]."""
    return 1 - generalized_iou(to_xyxy(boxes), to_xyxy(targets), _UNION_SMOOTHING)
