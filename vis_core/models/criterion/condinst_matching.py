"""Places in a feature pyramid, predictions at them, and their matching with instances.

As in FCOS (Tian 2019), CondInst and STC, boxes are given as distances to their four sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.config.criterion import LocationMatchingConfig
from vis_core.models.layers.dynamic_mask_head import pixel_centers

BACKGROUND = -1
# The greatest distance to a side on each level, in pixels; unlimited on the last level.
_REACHES = (64.0, 128.0, 256.0, 512.0)
_MIN_MASS = 1e-6  # divisor for an empty mask's centre of mass (AdelaiDet)


@dataclass(frozen=True)
class Places:
    """The L places on all levels, level by level and row by row."""

    points: Tensor  # (L, 2) x and y of each cell's centre, in pixels of the padded input
    level: Tensor  # (L,) int64, from 0
    stride: Tensor  # (L,) pixels between neighbours on the level

    @classmethod
    def of(
        cls, shapes: Sequence[tuple[int, int]], strides: Sequence[int], like: Tensor
    ) -> "Places":
        """Builds the places on levels with (h, w) cells."""
        levels = zip(shapes, strides, strict=True)
        points = [pixel_centers(*shape, stride, like).T for shape, stride in levels]
        counts = torch.tensor([len(level) for level in points], device=like.device)
        level = torch.arange(len(points), device=like.device).repeat_interleave(counts)
        stride = torch.tensor(strides, dtype=torch.float32, device=like.device)[level]
        return cls(torch.cat(points), level, stride)

    @property
    def scale(self) -> Tensor:
        """(L,) pixels by which relative coordinates are divided: the level's reach (CondInst)."""
        return self.points.new_tensor([*_REACHES, 2 * _REACHES[-1]])[self.level]


@dataclass(frozen=True)
class LocationPredictions:
    """The predictions at L places in F frames."""

    places: Places  # the L places
    class_logits: Tensor  # (F, L, K), independent classes
    distances: Tensor  # (F, L, 4) to the left, top, right and bottom sides, in strides, nonnegative
    center_logits: Tensor  # (F, L) centre-ness of a place in its box
    kernels: Tensor  # (F, L, P) mask head weights

    def __getitem__(self, frames: slice) -> "LocationPredictions":
        return LocationPredictions(
            self.places,
            self.class_logits[frames],
            self.distances[frames],
            self.center_logits[frames],
            self.kernels[frames],
        )

    def boxes(self, frame: int, chosen: Tensor) -> Tensor:
        """Returns (N, 4) xyxy boxes in pixels for (N,) places; they may extend beyond the frame."""
        reach = self.distances[frame, chosen] * self.places.stride[chosen, None]
        points = self.places.points[chosen]
        return torch.cat([points - reach[:, :2], points + reach[:, 2:]], dim=1)


@dataclass(frozen=True)
class LocationMatching:
    """The targets for a frame's L places.

    Attributes:
        instance: (L,) int64, row of each place's instance, or ``BACKGROUND``.
        distances: (L, 4) to the sides of the instance's box in strides; undefined on background.
    """

    instance: Tensor
    distances: Tensor

    @property
    def positives(self) -> Tensor:
        """(N,) int64 places that belong to an instance."""
        return (self.instance != BACKGROUND).nonzero().flatten()


def match_locations(
    places: Places, boxes: Tensor, config: LocationMatchingConfig, masks: Tensor | None = None
) -> LocationMatching:
    """Matches each place with the smallest instance around it that fits the level's size range.

    A place must be strictly inside the instance's box and, with centre sampling, near its centre
    (FCOS, STC 3.3). Among equal boxes, the first wins. ``boxes`` are (G, 4) xyxy in pixels. The
    centre may be the centre of mass of ``masks`` (G, H, W) bool (AdelaiDet).
    """
    if not len(boxes):
        background = torch.full_like(places.level, BACKGROUND)
        return LocationMatching(background, boxes.new_zeros(len(background), 4))
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
    instance = _smallest_box(boxes, allowed)
    rows = torch.arange(len(instance), device=instance.device)
    distances = to_sides[rows, instance.clamp(min=0)] / places.stride[:, None]
    return LocationMatching(instance, distances)


def in_box_instances(points: Tensor, boxes: Tensor) -> Tensor:
    """Returns the (L,) rows of the smallest box around each point, or ``BACKGROUND`` (STC 3.3)."""
    if not len(boxes):
        return torch.full((len(points),), BACKGROUND, device=points.device)
    to_sides = _distances(points, boxes[None].expand(len(points), -1, -1))
    return _smallest_box(boxes, to_sides.amin(dim=2) > 0)


def mass_centers(masks: Tensor) -> Tensor:
    """Computes the (G, 2) mean pixel x and y in each of (G, H, W) bool masks."""
    pixels = masks.float()
    mass = pixels.sum(dim=(1, 2)).clamp(min=_MIN_MASS)
    x = torch.arange(masks.shape[2], device=masks.device, dtype=torch.float32)
    y = torch.arange(masks.shape[1], device=masks.device, dtype=torch.float32)
    across, down = (pixels.sum(dim=1) * x).sum(dim=1), (pixels.sum(dim=2) * y).sum(dim=1)
    return torch.stack([across / mass, down / mass], dim=1)


def _distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Computes signed (L, G, 4) distances from points (L, 2) to the sides of boxes (L, G, 4)."""
    return torch.cat([points[:, None] - boxes[..., :2], boxes[..., 2:] - points[:, None]], dim=2)


def _near_center(places: Places, boxes: Tensor, centers: Tensor, radius: float) -> Tensor:
    """Returns (L, G) bool: whether a place is in the square around a centre, clipped to the box."""
    half = (places.stride * radius)[:, None, None]
    near = torch.maximum(centers[None] - half, boxes[None, :, :2])
    far = torch.minimum(centers[None] + half, boxes[None, :, 2:])
    return _distances(places.points, torch.cat([near, far], dim=2)).amin(dim=2) > 0


def _smallest_box(boxes: Tensor, allowed: Tensor) -> Tensor:
    """Returns, for L places, the row of the smallest allowed box, or ``BACKGROUND``."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    candidates = areas.expand(len(allowed), -1).masked_fill(~allowed, float("inf"))
    smallest, instance = candidates.min(dim=1)
    return instance.masked_fill(smallest.isinf(), BACKGROUND)
