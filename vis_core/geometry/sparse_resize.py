"""Brings maps to another size only where they can be above a threshold.

What is interpolated lies between its neighbours, so a pixel can be above only near a cell that is.
Most masks fill a small part of a frame, and a frame is mostly what is not looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

_MANY_PARTS = 16  # of one map: each costs as much as a thousandth of a large frame
_MOSTLY = 0.3  # of a box: to look for its parts costs as much as it could save


@dataclass(frozen=True)
class ResizedBox:
    """Is a part of a resized map; outside of it nothing is above the threshold.

    Attributes:
        top: First row of the part.
        left: First column of the part.
        values: (h, w) float32.
    """

    top: int
    left: int
    values: np.ndarray

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the part."""
        height, width = self.values.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True)
class BoxMask:
    """Is a mask of which all outside of a box is background.

    Attributes:
        top: First row of the box.
        left: First column of the box.
        inside: (h, w) bool, the box.
    """

    top: int
    left: int
    inside: np.ndarray

    def mirrored(self, width: int) -> "BoxMask":
        """Changes left and right of a mask of so many columns."""
        return BoxMask(self.top, width - self.left - self.inside.shape[1], self.inside[:, ::-1])


@dataclass(frozen=True)
class _Axis:
    """Says where the pixels of one side lie between the cells of a map.

    Attributes:
        before: (L,) cell before each pixel, ascending.
        after: (L,) the next one; the last has none and is its own.
        weight: (L,) float32 of the cell after.
    """

    before: np.ndarray
    after: np.ndarray
    weight: np.ndarray

    def near(self, first: int, last: int) -> tuple[int, int]:
        """The pixels, first and one after the last, that see any of some cells."""
        begin = np.searchsorted(self.after, first, "left")
        return int(begin), int(np.searchsorted(self.before, last, "right"))


def resized_boxes(
    maps: np.ndarray, size: tuple[int, int], threshold: float
) -> Iterator[ResizedBox | None]:
    """Resizes maps bilinearly, without aligned corners, as torch does up to the last bit.

    Args:
        maps: (N, h, w) float32.
        size: H and W.
        threshold: What is looked for.

    Yields:
        For each map, a part of it that holds all pixels above the threshold; None if there is none.
    """
    axes = _axis(maps.shape[1], size[0]), _axis(maps.shape[2], size[1])
    for cells in maps:
        shown = _shown(cells > threshold)
        yield None if shown is None else _resized(cells, axes, *shown)


def boxes_above(
    maps: np.ndarray, size: tuple[int, int], threshold: float
) -> Iterator[BoxMask | None]:
    """Resizes maps as ``resized_boxes`` and says where they are above the threshold.

    Parts of a map that are far from each other are looked at one by one, so specks cost little.
    """
    axes = _axis(maps.shape[1], size[0]), _axis(maps.shape[2], size[1])
    for cells in maps:
        resized = (_resized(cells, axes, *part) for part in _parts(cells > threshold))
        boxes = [box for box in resized if box is not None]
        yield _joined_boxes(boxes, threshold) if boxes else None


def _shown(above: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The first and last row and the first and last column of a mask (h, w); None if empty."""
    rows = np.flatnonzero(above.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(above[rows[0] : rows[-1] + 1].any(axis=0))
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))


def _parts(above: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Boxes that hold a mask (h, w): one round all, or where that saves much one for each part."""
    whole = _shown(above)
    if whole is None:
        return []
    (top, bottom), (left, right) = whole
    inside = np.ascontiguousarray(above[top : bottom + 1, left : right + 1]).view(np.uint8)
    if cv2.countNonZero(inside) > _MOSTLY * inside.size:
        return [whole]
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    parts = stats[1:, :4].tolist()  # the first is what is not above
    if len(parts) > _MANY_PARTS:
        return [whole]
    return [
        ((top + y, top + y + height - 1), (left + x, left + x + width - 1))
        for x, y, width, height in parts
    ]


def _resized(
    cells: np.ndarray,
    axes: tuple[_Axis, _Axis],
    vertical: tuple[int, int],
    horizontal: tuple[int, int],
) -> ResizedBox | None:
    """Resizes the surroundings of some cells of a map (h, w), first and last of each side."""
    rows, columns = axes
    top, bottom = rows.near(*vertical)
    left, right = columns.near(*horizontal)
    if top >= bottom or left >= right:  # no pixel looks at these cells: it shrinks that far
        return None
    first, last = int(rows.before[top]), int(rows.after[bottom - 1]) + 1
    # each step blends whole rows: the map is turned for that of the columns
    turned = cv2.transpose(np.ascontiguousarray(cells[first:last]))
    blended = _blend(turned, columns, left, right, 0)
    return ResizedBox(top, left, _blend(cv2.transpose(blended), rows, top, bottom, first))


def _joined_boxes(boxes: list[ResizedBox], threshold: float) -> BoxMask:
    """Puts parts of one map together."""
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    bottom = max(box.place[0].stop for box in boxes)
    right = max(box.place[1].stop for box in boxes)
    inside = np.zeros((bottom - top, right - left), bool)
    for box in boxes:
        rows, columns = box.place
        own = inside[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        own |= box.values > threshold
    return BoxMask(top, left, inside)


def _blend(cells: np.ndarray, axis: _Axis, begin: int, end: int, first: int) -> np.ndarray:
    """Gives the rows from ``begin`` to ``end`` (exclusive) of a map that grows downwards.

    Args:
        cells: The rows of the map from ``first`` on.
        axis: Where pixels lie between them.
        begin: The first pixel.
        end: One after the last.
        first: See ``cells``.
    """
    weight = axis.weight[begin:end, None]
    values = cells[axis.before[begin:end] - first]
    values *= 1 - weight
    later = cells[axis.after[begin:end] - first]
    later *= weight
    values += later
    return values


@lru_cache(maxsize=64)
def _axis(num_cells: int, num_pixels: int) -> _Axis:
    """Looks at pixels at their middles, in float32 as torch does."""
    half = np.float32(0.5)
    scale = np.float32(num_cells) / np.float32(num_pixels)
    place = np.maximum(scale * (np.arange(num_pixels, dtype=np.float32) + half) - half, 0)
    before = np.minimum(place.astype(np.int64), num_cells - 1)
    weight = (place - before.astype(np.float32)).clip(0, 1).astype(np.float32)
    return _Axis(before, np.minimum(before + 1, num_cells - 1), weight)
