"""Places of a feature pyramid, what a segmentor says of each, and which instance each belongs to.

FCOS (Tian 2019) as CondInst and STC use it; boxes are told by the distances to their four sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.config.criterion import LocationMatchingConfig
from vis_core.models.layers.dynamic_mask_head import pixel_centers

BACKGROUND = -1
# The greatest distance to a side that each level is to learn, in pixels; the last level has no end.
_REACHES = (64.0, 128.0, 256.0, 512.0)
_MIN_MASS = 1e-6  # of a mask, in the centre of mass (AdelaiDet)


@dataclass(frozen=True)
class Places:
    """Is the L places of all levels, level by level, row by row.

    Attributes:
        points: (L, 2) x and y of the middle of each cell, in pixels of the padded input.
        level: (L,) int64, from 0.
        stride: (L,) pixels between neighbours of the level.
    """

    points: Tensor
    level: Tensor
    stride: Tensor

    @classmethod
    def of(
        cls, shapes: Sequence[tuple[int, int]], strides: Sequence[int], like: Tensor
    ) -> "Places":
        """Lists the places of levels of (h, w) cells."""
        points = [
            pixel_centers(*shape, stride, like).T
            for shape, stride in zip(shapes, strides, strict=True)
        ]
        counts = torch.tensor([len(own) for own in points], device=like.device)
        level = torch.arange(len(points), device=like.device).repeat_interleave(counts)
        stride = torch.tensor(strides, dtype=torch.float32, device=like.device)[level]
        return cls(torch.cat(points), level, stride)

    @property
    def scale(self) -> Tensor:
        """(L,) pixels that relative coordinates are divided by: the level's reach (CondInst)."""
        reaches = self.points.new_tensor([*_REACHES, 2 * _REACHES[-1]])
        return reaches[self.level]


@dataclass(frozen=True)
class LocationPredictions:
    """Is what a segmentor says of L places of F frames.

    Attributes:
        places: L.
        class_logits: (F, L, K), each class by itself.
        distances: (F, L, 4) to the left, top, right and bottom side, in strides, not negative.
        center_logits: (F, L) how central a place is in its box.
        kernels: (F, L, P) weights of the masks.
    """

    places: Places
    class_logits: Tensor
    distances: Tensor
    center_logits: Tensor
    kernels: Tensor

    def __getitem__(self, frames: slice) -> "LocationPredictions":
        """Keeps some of the frames."""
        return LocationPredictions(
            self.places,
            self.class_logits[frames],
            self.distances[frames],
            self.center_logits[frames],
            self.kernels[frames],
        )

    def boxes(self, frame: int, chosen: Tensor) -> Tensor:
        """Gives the (N, 4) xyxy boxes of (N,) places of a frame, in pixels; they may leave it."""
        reach = self.distances[frame, chosen] * self.places.stride[chosen, None]
        points = self.places.points[chosen]
        return torch.cat([points - reach[:, :2], points + reach[:, 2:]], dim=1)


@dataclass(frozen=True)
class LocationMatching:
    """Says for the L places of a frame what they are to learn.

    Attributes:
        instance: (L,) int64, row of the instance of each place, or ``BACKGROUND``.
        distances: (L, 4) to the sides of its box in strides; anything on background.
    """

    instance: Tensor
    distances: Tensor

    @property
    def positives(self) -> Tensor:
        """(N,) int64, the places that belong to an instance."""
        return (self.instance != BACKGROUND).nonzero().flatten()


def match_locations(
    places: Places,
    boxes: Tensor,
    config: LocationMatchingConfig,
    masks: Tensor | None = None,
) -> LocationMatching:
    """Gives each place the smallest instance that it lies in and whose size its level is to learn.

    With centre sampling a place must be near the centre of the instance and in its box; without,
    in its box (FCOS, STC 3.3). Strictly inside; of equal boxes the first one counts.

    Args:
        places: L.
        boxes: (G, 4) xyxy in pixels.
        config: The rule.
        masks: (G, H, W) bool; where given, the centre is that of their mass (AdelaiDet).
    """
    if not len(boxes):
        nothing = torch.full_like(places.level, BACKGROUND)
        return LocationMatching(nothing, boxes.new_zeros(len(nothing), 4))
    to_sides = _distances(places.points, boxes[None].expand(len(places.points), -1, -1))
    if config.center_sampling:
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        if masks is not None and config.center == "mass":
            centers = mass_centers(masks)
        is_inside = _near_center(places, boxes, centers, config.radius)
    else:
        is_inside = to_sides.amin(dim=2) > 0
    farthest = to_sides.amax(dim=2)
    nearest_reach = boxes.new_tensor([-1.0, *_REACHES])[places.level, None]
    reach = boxes.new_tensor([*_REACHES, float("inf")])[places.level, None]
    allowed = is_inside & (farthest >= nearest_reach) & (farthest <= reach)
    return _smallest(places, boxes, to_sides, allowed)


def in_box_instances(points: Tensor, boxes: Tensor) -> Tensor:
    """Gives each of (L, 2) points the smallest box (G, 4) that it lies in: STC 3.3.

    Returns:
        (L,) int64, the row of the box, or ``BACKGROUND``.
    """
    if not len(boxes):
        return torch.full((len(points),), BACKGROUND, device=points.device)
    to_sides = _distances(points, boxes[None].expand(len(points), -1, -1))
    return _smallest_box(boxes, to_sides.amin(dim=2) > 0)


def mass_centers(masks: Tensor) -> Tensor:
    """Gives the (G, 2) mean x and y of the pixels of each mask (G, H, W) bool."""
    shown = masks.float()
    mass = shown.sum(dim=(1, 2)).clamp(min=_MIN_MASS)
    x = torch.arange(masks.shape[2], device=masks.device, dtype=torch.float32)
    y = torch.arange(masks.shape[1], device=masks.device, dtype=torch.float32)
    across, down = (shown.sum(dim=1) * x).sum(dim=1), (shown.sum(dim=2) * y).sum(dim=1)
    return torch.stack([across / mass, down / mass], dim=1)


def _distances(points: Tensor, boxes: Tensor) -> Tensor:
    """(L, G, 4) distances of points (L, 2) to the sides of boxes (L, G, 4), negative outside."""
    return torch.cat([points[:, None] - boxes[..., :2], boxes[..., 2:] - points[:, None]], dim=2)


def _near_center(places: Places, boxes: Tensor, centers: Tensor, radius: float) -> Tensor:
    """(L, G) whether a place lies in the square around a centre, as far as the box reaches."""
    half = (places.stride * radius)[:, None, None]
    near = torch.maximum(centers[None] - half, boxes[None, :, :2])
    far = torch.minimum(centers[None] + half, boxes[None, :, 2:])
    return _distances(places.points, torch.cat([near, far], dim=2)).amin(dim=2) > 0


def _smallest(places: Places, boxes: Tensor, to_sides: Tensor, allowed: Tensor) -> LocationMatching:
    instance = _smallest_box(boxes, allowed)
    rows = torch.arange(len(instance), device=instance.device)
    distances = to_sides[rows, instance.clamp(min=0)] / places.stride[:, None]
    return LocationMatching(instance, distances)


def _smallest_box(boxes: Tensor, allowed: Tensor) -> Tensor:
    """(L,) of the boxes that (L, G) allows the one of the smallest area, or ``BACKGROUND``."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    candidates = areas.expand(len(allowed), -1).masked_fill(~allowed, float("inf"))
    smallest, instance = candidates.min(dim=1)
    return instance.masked_fill(smallest.isinf(), BACKGROUND)
