"""The exact intersection of tracks over space and time, from runs by column.

Two runs in a column of H rows share ``max(0, H - max(above) - max(below))`` pixels. A run's two
numbers are in one machine word, so a few vector operations compute this for all predictions of a
video and class. The few runs that are not the first in their column are compared as lists.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vis_core.rle.columns import ColumnMasks, half_of


def intersections(
    tracks: ColumnMasks, rows: np.ndarray, others: ColumnMasks, other_rows: np.ndarray
) -> np.ndarray:
    """Counts the (D, G) int64 pixels shared by tracks of one video, summed over its frames.

    Equals ``sum_t (mask_d[t] & mask_g[t]).sum()`` for each pair. ``rows`` (D,) are indices into
    ``tracks``, and ``other_rows`` (G,) into ``others``, which has the same T frames.
    """
    result = np.zeros((len(rows), len(other_rows)), np.int64)
    low, high = int(tracks.left[rows].min()), int(tracks.right[rows].max())
    lefts = np.maximum(others.left[other_rows], low).tolist()
    rights = np.minimum(others.right[other_rows], high).tolist()
    near = [place for place, left in enumerate(lefts) if left < rights[place]]
    if not near:
        return result
    side, other = _side(tracks, rows), _side(others, other_rows)
    for place in near:
        span = slice(lefts[place], rights[place])
        result[:, place] = _common_pixels(side.near(span), other.near(span, place), tracks.height)
    if side.more is not None or other.more is not None:
        for place in near:
            _add_further_runs(result[:, place], side, other, place)
    return result


@dataclass(frozen=True)
class _Side:
    """Some tracks, prepared for intersection with others."""

    height: int
    width: int
    low: int  # first column of ``dense``
    # (D, T, w) first run of every column; in an empty column, a run with H rows above it
    dense: np.ndarray
    more: "_FurtherRuns | None"  # further runs, or None if there are none

    def near(self, span: slice, place: int | None = None) -> np.ndarray:
        """(D, T, w) first runs of all tracks in a range of columns, or (1, T, w) of one track."""
        rows = slice(None) if place is None else slice(place, place + 1)
        return self.dense[rows, :, span.start - self.low : span.stop - self.low]


def _side(masks: ColumnMasks, rows: np.ndarray) -> _Side:
    low, high = int(masks.left[rows].min()), int(masks.right[rows].max())
    dense = _dense(masks, rows, low, high)
    return _Side(masks.height, masks.width, low, dense, _further_runs(masks, rows))


def _add_further_runs(result: np.ndarray, side: _Side, other: _Side, index: int) -> None:
    """Adds to ``result`` (D,) the pixels shared with one track of ``other`` in further runs."""
    more = side.more
    other_more = None if other.more is None else other.more.of(index)
    if more is not None:
        result += more.common_with_first(other, index, len(result))
    if other_more is not None:
        for place in range(len(result)):
            result[place] += other_more.common_with_first(side, place, 1)[0]
        if more is not None:
            result += more.common_with(other_more, side.height, len(result))


@dataclass(frozen=True)
class _FurtherRuns:
    """The tracks' runs after the first in each column: owner (E,), column (E,), runs (2, E)."""

    owner: np.ndarray
    column: np.ndarray
    runs: np.ndarray

    def of(self, owner: int) -> "_FurtherRuns | None":
        """Returns one track's further runs, or None if it has none."""
        rows = np.flatnonzero(self.owner == owner)
        if not len(rows):
            return None
        return _FurtherRuns(np.zeros_like(rows), self.column[rows], self.runs[:, rows])

    def common_with_first(self, side: _Side, place: int, count: int) -> np.ndarray:
        """(count,) pixels shared with the first runs of track ``place`` on another side."""
        frame, column = np.divmod(self.column, side.width)
        column -= side.low
        inside = (column >= 0) & (column < side.dense.shape[2])
        above, below = _unpacked(side.dense[place, frame[inside], column[inside]])
        top, bottom = self.runs[:, inside]
        common = np.minimum(side.height - below, bottom) - np.maximum(above, top)
        return _sum_by_owner(self.owner[inside], np.maximum(common, 0), count)

    def common_with(self, other: "_FurtherRuns", height: int, count: int) -> np.ndarray:
        """(count,) pixels shared with one track's further runs."""
        starts = other.column * height + other.runs[0]
        lengths = (other.runs[1] - other.runs[0]).astype(np.int64)
        before = np.concatenate([[0], np.cumsum(lengths)])

        def covered(position: np.ndarray) -> np.ndarray:
            """Counts the pixels of ``other`` before each position on the line of all columns."""
            last = np.searchsorted(starts, position, side="right") - 1
            safe = np.maximum(last, 0)
            inside = np.minimum(position - starts[safe], lengths[safe])
            return np.where(last < 0, 0, before[safe] + inside)

        line = self.column * height
        common = covered(line + self.runs[1]) - covered(line + self.runs[0])
        return _sum_by_owner(self.owner, common, count)


def _sum_by_owner(owner: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.asarray(np.bincount(owner, weights=values, minlength=count).astype(np.int64))


def _further_runs(masks: ColumnMasks, rows: np.ndarray) -> _FurtherRuns | None:
    bounds = masks.more_offset
    counts = bounds[rows + 1] - bounds[rows]
    if not counts.any():
        return None
    owner = np.repeat(np.arange(len(rows)), counts)
    index = np.concatenate([np.arange(bounds[row], bounds[row + 1]) for row in rows.tolist()])
    return _FurtherRuns(owner, masks.more_column[index], masks.more_runs[:, index].astype(np.int64))


def _dense(masks: ColumnMasks, rows: np.ndarray, low: int, high: int) -> np.ndarray:
    """(D, T, high - low) first runs of columns; an empty column's run has H rows above it."""
    width, runs = high - low, masks.runs
    dense = np.full((len(rows), masks.num_frames, width), masks.height, runs.dtype)
    flat: Any = dense.reshape(-1).data  # memoryview slices cost half as much as array slices
    source_runs: Any = runs.data
    columns = masks.columns[rows].reshape(-1)
    filled = np.flatnonzero(columns)
    targets = filled * width + masks.first_column[rows].reshape(-1)[filled] - low
    sources = masks.offset[rows].reshape(-1)[filled]
    for target, source, count in zip(
        targets.tolist(), sources.tolist(), columns[filled].tolist(), strict=True
    ):
        flat[target : target + count] = source_runs[source : source + count]
    return dense


def _common_pixels(tracks: np.ndarray, other: np.ndarray, height: int) -> np.ndarray:
    """(D,) pixels shared by the first runs (D, T, w) of tracks and (1, T, w) of another track."""
    half, bits = half_of(tracks.dtype)
    most = np.maximum(tracks.view(half), other.view(half)).view(tracks.dtype)
    outside = most * (1 + (1 << bits))  # the sum of rows above and rows below, in the upper half
    outside >>= bits
    np.minimum(outside, height, out=outside)
    cells = outside.shape[1] * outside.shape[2]
    by_column = outside.sum(axis=1, dtype=outside.dtype)
    return np.asarray(cells * height - by_column.sum(axis=1, dtype=np.int64))


def _unpacked(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unpacks the numbers of rows above and below each run, as int64."""
    half, bits = half_of(runs.dtype)
    return runs.astype(half).astype(np.int64), (runs >> bits).astype(np.int64)
