"""Bilinear resizing of maps, computed only where they can exceed a threshold.

An interpolated value is between its neighbours, so a pixel can exceed the threshold only near a
cell that does. Most masks fill only a small part of a frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

_MAX_PARTS = 16  # per map: a part costs as much as resizing a thousandth of a large frame
_DENSE_SHARE = 0.3  # of a box; in a denser box, finding the parts takes longer than it saves


@dataclass(frozen=True)
class ResizedBox:
    """A rectangular part (h, w) float32 of a resized map, with its upper-left corner."""

    top: int
    left: int
    values: np.ndarray

    @property
    def place(self) -> tuple[slice, slice]:
        """The rows and columns of the part."""
        height, width = self.values.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True)
class BoxMask:
    """A mask that is background outside a box; ``inside`` (h, w) bool is the mask in the box."""

    top: int
    left: int
    inside: np.ndarray

    def mirrored(self, width: int) -> "BoxMask":
        """Returns the mask mirrored left to right in an image of ``width`` columns."""
        return BoxMask(self.top, width - self.left - self.inside.shape[1], self.inside[:, ::-1])


@dataclass(frozen=True)
class _Axis:
    """The cells (L,) before and after each pixel of an axis, and the weight of the cell after."""

    before: np.ndarray
    after: np.ndarray
    weight: np.ndarray

    def near(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and one past the last pixel that depend on a range of cells."""
        begin = np.searchsorted(self.after, first, "left")
        return int(begin), int(np.searchsorted(self.before, last, "right"))


def resized_boxes(
    maps: np.ndarray, size: tuple[int, int], threshold: float
) -> Iterator[ResizedBox | None]:
    """Resizes maps bilinearly without aligned corners, like torch except for the last bit.

    For each of the (N, h, w) float32 maps, yields a part that contains all pixels above the
    threshold, or None if there are none.
    """
    axes = _axis(maps.shape[1], size[0]), _axis(maps.shape[2], size[1])
    for cells in maps:
        extent = _extent(cells > threshold)
        yield None if extent is None else _resized(cells, axes, *extent)


def boxes_above(
    maps: np.ndarray, size: tuple[int, int], threshold: float
) -> Iterator[BoxMask | None]:
    """Resizes maps like ``resized_boxes`` and yields the masks of pixels above the threshold.

    Distant parts of a map are resized separately, so distant specks take little time.
    """
    axes = _axis(maps.shape[1], size[0]), _axis(maps.shape[2], size[1])
    for cells in maps:
        resized = (_resized(cells, axes, *part) for part in _parts(cells > threshold))
        boxes = [box for box in resized if box is not None]
        yield _joined_boxes(boxes, threshold) if boxes else None


def _extent(above: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Returns the first and last row and column of a mask (h, w); None if empty."""
    rows = np.flatnonzero(above.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(above[rows[0] : rows[-1] + 1].any(axis=0))
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))


def _parts(above: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Returns boxes that cover a mask (h, w): a single box, or one per part if that saves time."""
    whole = _extent(above)
    if whole is None:
        return []
    (top, bottom), (left, right) = whole
    inside = np.ascontiguousarray(above[top : bottom + 1, left : right + 1]).view(np.uint8)
    if cv2.countNonZero(inside) > _DENSE_SHARE * inside.size:
        return [whole]
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    parts = stats[1:, :4].tolist()  # the first is the background
    if len(parts) > _MAX_PARTS:
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
    """Resizes the area around a range of cells (first and last, inclusive) in a map (h, w)."""
    rows, columns = axes
    top, bottom = rows.near(*vertical)
    left, right = columns.near(*horizontal)
    if top >= bottom or left >= right:  # strong shrinking: no pixel depends on these cells
        return None
    first, last = int(rows.before[top]), int(rows.after[bottom - 1]) + 1
    # Only whole rows are blended, so the map is transposed to blend its columns.
    transposed = cv2.transpose(np.ascontiguousarray(cells[first:last]))
    blended = _blend(transposed, columns, left, right, 0)
    return ResizedBox(top, left, _blend(cv2.transpose(blended), rows, top, bottom, first))


def _joined_boxes(boxes: list[ResizedBox], threshold: float) -> BoxMask:
    """Merges the parts of one map into one mask."""
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    bottom = max(box.place[0].stop for box in boxes)
    right = max(box.place[1].stop for box in boxes)
    inside = np.zeros((bottom - top, right - left), bool)
    for box in boxes:
        rows, columns = box.place
        part = inside[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        part |= box.values > threshold
    return BoxMask(top, left, inside)


def _blend(cells: np.ndarray, axis: _Axis, begin: int, end: int, first: int) -> np.ndarray:
    """Interpolates pixels ``begin`` to ``end`` (exclusive); ``cells`` start at cell ``first``."""
    weight = axis.weight[begin:end, None]
    values = cells[axis.before[begin:end] - first]
    values *= 1 - weight
    later = cells[axis.after[begin:end] - first]
    later *= weight
    values += later
    return values


@lru_cache(maxsize=64)
def _axis(num_cells: int, num_pixels: int) -> _Axis:
    """Computes the positions of pixel centres between cells, in float32 like torch."""
    half = np.float32(0.5)
    scale = np.float32(num_cells) / np.float32(num_pixels)
    place = np.maximum(scale * (np.arange(num_pixels, dtype=np.float32) + half) - half, 0)
    before = np.minimum(place.astype(np.int64), num_cells - 1)
    weight = (place - before.astype(np.float32)).clip(0, 1).astype(np.float32)
    return _Axis(before, np.minimum(before + 1, num_cells - 1), weight)
