"""Boxes xyxy: how much two of them share."""

import torch
from torch import Tensor

# An IoU of boxes without an area is 0, not a division by it.
_MIN_UNION = 1e-6


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Gives the (N, M) IoU of boxes (N, 4) and (M, 4) xyxy; two without an area have 0."""
    corner = torch.maximum(first[:, None, :2], second[None, :, :2])
    far_corner = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (far_corner - corner).clamp(min=0).prod(dim=2)
    union = _area(first)[:, None] + _area(second)[None, :] - overlap
    return overlap / union.clamp(min=_MIN_UNION)


def _area(boxes: Tensor) -> Tensor:
    """(N,) areas; a box whose far corner lies before the near one has 0."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
