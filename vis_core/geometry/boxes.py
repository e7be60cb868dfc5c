"""Boxes: conversion, IoU, generalized IoU, and the tight boxes of masks."""

import torch
from torch import Tensor

# Makes the IoU 0 for boxes without an area. Normalised boxes are small: one pixel of a large image
# has an area of 1e-6.
_MIN_UNION = 1e-12
# The IDOL release (DETR's box operations) adds this to the area of the enclosing box.
_GIOU_SMOOTHING = 1e-7


def to_xyxy(boxes: Tensor) -> Tensor:
    """Converts (..., 4) boxes from centre, width and height to corners."""
    center, half_size = boxes[..., :2], 0.5 * boxes[..., 2:]
    return torch.cat([center - half_size, center + half_size], dim=-1)


def to_cxcywh(boxes: Tensor) -> Tensor:
    """Converts (..., 4) boxes from corners to centre, width and height."""
    near, far = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(near + far) / 2, far - near], dim=-1)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Computes the (N, M) IoU of xyxy boxes (N, 4) and (M, 4); 0 if neither has an area."""
    overlap, union = _overlap_and_union(first[:, None], second[None])
    return overlap / union.clamp(min=_MIN_UNION)


def generalized_iou(first: Tensor, second: Tensor, union_smoothing: float = 0.0) -> Tensor:
    """Computes the generalized IoU: the IoU minus the empty share of the enclosing box.

    Boxes (..., 4) xyxy are broadcast: ``first[:, None]`` and ``second[None]`` compare all pairs.
    The result is in [-1, 1]. ``union_smoothing`` is 1e-7 in the IDOL release's loss (fvcore) and 0
    in its matching cost.
    """
    overlap, union = _overlap_and_union(first, second)
    near = torch.minimum(first[..., :2], second[..., :2])
    far = torch.maximum(first[..., 2:], second[..., 2:])
    enclosure = (far - near).clamp(min=0).prod(dim=-1)
    iou = overlap / (union + union_smoothing).clamp(min=_MIN_UNION)
    return iou - (enclosure - union) / (enclosure + _GIOU_SMOOTHING)


def clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clips (N, 4) xyxy boxes to an image."""
    far = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), far)


def mask_boxes(masks: Tensor) -> Tensor:
    """Computes the (N, 4) tight xyxy boxes of bool masks (N, H, W), end exclusive; 0 if empty."""
    x_near, x_far = _extent(masks.any(dim=1))
    y_near, y_far = _extent(masks.any(dim=2))
    return torch.stack([x_near, y_near, x_far, y_far], dim=1).float()


def _extent(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the first and one past the last index where each row of (N, S) bool is True."""
    index = torch.arange(inside.shape[1], device=inside.device)
    far = ((index + 1) * inside).amax(dim=1)
    near = torch.where(inside, index, inside.shape[1]).amin(dim=1)
    return torch.minimum(near, far), far


def _overlap_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the areas of intersection and union of broadcast boxes (..., 4) xyxy."""
    corner = torch.maximum(first[..., :2], second[..., :2])
    far_corner = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (far_corner - corner).clamp(min=0).prod(dim=-1)
    return overlap, _area(first) + _area(second) - overlap


def _area(boxes: Tensor) -> Tensor:
    """Computes (...) areas; 0 for a box whose far corner precedes its near corner."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
