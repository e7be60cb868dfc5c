"""Brings maps to another size only where they can be above a threshold.

What is interpolated lies between its neighbours, so a pixel can be above only near a cell that is.
Most masks fill a small part of a frame, and a frame is mostly what is not looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np


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
    rows = _axis(maps.shape[1], size[0])
    columns = _axis(maps.shape[2], size[1])
    for cells in maps:
        above = cells > threshold
        shown_rows = np.flatnonzero(above.any(axis=1))
        if not len(shown_rows):
            yield None
            continue
        shown_columns = np.flatnonzero(above[shown_rows[0] : shown_rows[-1] + 1].any(axis=0))
        top, bottom = rows.near(int(shown_rows[0]), int(shown_rows[-1]))
        left, right = columns.near(int(shown_columns[0]), int(shown_columns[-1]))
        if top >= bottom or left >= right:  # no pixel looks at these cells: it shrinks that far
            yield None
            continue
        # each step blends whole rows: the map is turned for that of the columns
        blended = _blend(np.ascontiguousarray(cells.T), columns, left, right)
        yield ResizedBox(top, left, _blend(cv2.transpose(blended), rows, top, bottom))


def _blend(cells: np.ndarray, axis: _Axis, begin: int, end: int) -> np.ndarray:
    """Gives the rows from ``begin`` to ``end`` (exclusive) of a map that grows downwards."""
    weight = axis.weight[begin:end, None]
    values = cells[axis.before[begin:end]]
    values *= 1 - weight
    later = cells[axis.after[begin:end]]
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
