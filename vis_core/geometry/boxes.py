"""Boxes: their two forms, how much two of them share, and the tight box of a mask."""

import torch
from torch import Tensor

# An IoU of boxes without an area is 0, not a division by it. Normalised boxes are small: one pixel
# of a large image has an area of 1e-6.
_MIN_UNION = 1e-12
# Released IDOL (DETR's box operations) adds it to the area of the enclosing box.
_GIOU_SMOOTHING = 1e-7


def to_xyxy(boxes: Tensor) -> Tensor:
    """Turns (..., 4) boxes of centre, width and height into corners."""
    center, half_size = boxes[..., :2], 0.5 * boxes[..., 2:]
    return torch.cat([center - half_size, center + half_size], dim=-1)


def to_cxcywh(boxes: Tensor) -> Tensor:
    """Turns (..., 4) boxes of corners into centre, width and height."""
    near, far = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(near + far) / 2, far - near], dim=-1)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Gives the (N, M) IoU of boxes (N, 4) and (M, 4) xyxy; two without an area have 0."""
    overlap, union = _overlap_and_union(first[:, None], second[None])
    return overlap / union.clamp(min=_MIN_UNION)


def generalized_iou(first: Tensor, second: Tensor, union_smoothing: float = 0.0) -> Tensor:
    """Compares boxes also where they do not touch: the IoU less the share of empty enclosure.

    Args:
        first: (..., 4) xyxy.
        second: (..., 4) xyxy, broadcast against ``first``: aligned boxes give one number each,
            ``first[:, None]`` and ``second[None]`` all pairs.
        union_smoothing: Added to the union; fvcore's loss, which released IDOL takes, has 1e-7, its
            matching cost 0.

    Returns:
        (...) in [-1, 1].
    """
    overlap, union = _overlap_and_union(first, second)
    near = torch.minimum(first[..., :2], second[..., :2])
    far = torch.maximum(first[..., 2:], second[..., 2:])
    enclosure = (far - near).clamp(min=0).prod(dim=-1)
    iou = overlap / (union + union_smoothing).clamp(min=_MIN_UNION)
    return iou - (enclosure - union) / (enclosure + _GIOU_SMOOTHING)


def clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """Cuts (N, 4) xyxy boxes off at the sides of an image."""
    far = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), far)


def mask_boxes(masks: Tensor) -> Tensor:
    """Gives the (N, 4) tight xyxy box of each mask (N, H, W) bool, far sides exclusive, else 0."""
    x_near, x_far = _extent(masks.any(dim=1))
    y_near, y_far = _extent(masks.any(dim=2))
    return torch.stack([x_near, y_near, x_far, y_far], dim=1).float()


def _extent(shown: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the first place and the one after the last where a row of (N, S) bool is True."""
    place = torch.arange(shown.shape[1], device=shown.device)
    far = ((place + 1) * shown).amax(dim=1)
    near = torch.where(shown, place, shown.shape[1]).amin(dim=1)
    return torch.minimum(near, far), far


def _overlap_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the areas that broadcast boxes (..., 4) xyxy share and cover together."""
    corner = torch.maximum(first[..., :2], second[..., :2])
    far_corner = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (far_corner - corner).clamp(min=0).prod(dim=-1)
    return overlap, _area(first) + _area(second) - overlap


def _area(boxes: Tensor) -> Tensor:
    """(...) areas; a box whose far corner lies before the near one has 0."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
