"""Track masks as runs by column, for exact intersection over space and time.

An RLE runs down the columns, and in most masks each column contains one run. A track's masks are
therefore stored as two numbers per column (a pixel mask has hundreds): the number of rows above
and the number of rows below the column's first run. Further runs are listed separately.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, pairwise
from typing import Any

import numpy as np

from vis_core.errors import AnnotationError
from vis_core.rle.decode import RunLengths, runs_of_strings

_CHUNK = 1 << 18  # characters of RLE text decoded at once, to fit a processor cache
_MASKS_AT_ONCE = 600  # of several videos: enough to outweigh the overhead of a numpy call
_BY_TRACK = ("first_column", "columns", "left", "right", "areas")  # arrays of N rows

Tracks = Sequence[Sequence[dict[str, Any] | None]]  # N tracks of T compressed RLEs or None


class FaultyRunsError(AnnotationError):
    """A fault in one of many masks; checking each mask alone locates it."""


@dataclass(frozen=True)
class ColumnMasks:
    """The masks of N tracks in one video with T frames of H x W pixels."""

    height: int
    width: int
    first_column: np.ndarray  # (N, T) leftmost column with a pixel; 0 where absent
    columns: np.ndarray  # (N, T) number of columns from leftmost to rightmost; 0 where absent
    left: np.ndarray  # (N,) leftmost column with a pixel in any frame; W for a track without pixels
    right: np.ndarray  # (N,) rightmost column with a pixel in any frame, exclusive
    offset: np.ndarray  # (N, T) start of a mask's columns in ``runs``; meaningless where absent
    # (S,) first run of each column: the number of rows above it and, in the upper half of the word,
    # below it
    runs: np.ndarray
    more_offset: np.ndarray  # (N + 1,) start of each track's further runs
    more_column: np.ndarray  # (E,) ``t * W + column`` of each further run
    more_runs: np.ndarray  # (2, E) top and bottom row of each further run
    areas: np.ndarray  # (N, T) int64 pixels

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def num_frames(self) -> int:
        """The number of frames, T."""
        return self.areas.shape[1]

    def mean_areas(self) -> np.ndarray:
        """(N,) mean area over the frames with pixels; 0 for a track without any."""
        num_frames = (self.areas > 0).sum(axis=1)
        return self.areas.sum(axis=1) / np.maximum(num_frames, 1)


def masks_of_videos(videos: Iterable[tuple[Tracks, tuple[int, int, int]]]) -> Iterator[ColumnMasks]:
    """Converts the tracks of (H, W, T) videos; small videos of one size are converted together.

    Equals ``column_masks(tracks, *size)`` for each video.
    """
    for size, neighbours in groupby(videos, key=lambda video: video[1]):
        batch: list[Tracks] = []
        masks = 0
        for tracks, _ in neighbours:
            if batch and masks + len(tracks) * size[2] > _MASKS_AT_ONCE:
                yield from _convert_batch(batch, size)
                batch, masks = [], 0
            batch.append(tracks)
            masks += len(tracks) * size[2]
        yield from _convert_batch(batch, size)


def _convert_batch(batch: Sequence[Tracks], size: tuple[int, int, int]) -> list[ColumnMasks]:
    masks = column_masks(list(chain.from_iterable(batch)), *size)
    return [masks] if len(batch) == 1 else _split(masks, list(map(len, batch)))


def _split(masks: ColumnMasks, counts: Sequence[int]) -> list[ColumnMasks]:
    """Splits masks into parts of ``counts`` tracks each, as views."""
    run_bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(masks.columns.sum(axis=1))])
    rows = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    parts = []
    for start, stop in pairwise(rows.tolist()):
        tracks = slice(start, stop)
        first_run, first_more = int(run_bounds[start]), int(masks.more_offset[start])
        more = slice(first_more, int(masks.more_offset[stop]))
        by_track: dict[str, Any] = {name: getattr(masks, name)[tracks] for name in _BY_TRACK}
        part = replace(
            masks,
            **by_track,
            offset=masks.offset[tracks] - first_run,
            runs=masks.runs[first_run : int(run_bounds[stop])],
            more_offset=masks.more_offset[start : stop + 1] - first_more,
            more_column=masks.more_column[more],
            more_runs=masks.more_runs[:, more],
        )
        parts.append(part)
    return parts


def column_masks(tracks: Tracks, height: int, width: int, num_frames: int) -> ColumnMasks:
    """Converts N tracks of T compressed RLEs (text counts) or None, all of H x W pixels.

    Raises FaultyRunsError if an RLE is faulty.
    """
    parts: list[ColumnMasks] = []
    strings: list[str] = []
    present: list[bool] = []
    characters, last = 0, len(tracks) - 1
    for row, track in enumerate(tracks):
        texts = [rle["counts"] for rle in track if rle is not None]
        present += [rle is not None for rle in track]
        strings += texts
        characters += sum(map(len, texts))
        if characters >= _CHUNK or row == last:
            parts.append(_convert(strings, present, (height, width), num_frames))
            strings, present, characters = [], [], 0
    if not parts:
        return _convert([], [], (height, width), num_frames)
    return parts[0] if len(parts) == 1 else joined_masks(parts)


def at_frame(masks: ColumnMasks, frame: int) -> ColumnMasks:
    """Returns the same tracks in one frame, as a video of one frame."""
    first, columns = masks.first_column[:, frame, None], masks.columns[:, frame, None]
    width = masks.width
    inside = masks.more_column // width == frame
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(inside)])
    return replace(
        masks,
        first_column=first,
        columns=columns,
        left=np.where(columns > 0, first, width).min(axis=1, initial=width),
        right=(first + columns).max(axis=1, initial=0),
        offset=masks.offset[:, frame, None],
        more_offset=kept[masks.more_offset],
        more_column=masks.more_column[inside] - frame * width,
        more_runs=masks.more_runs[:, inside],
        areas=masks.areas[:, frame, None],
    )


def half_of(word: np.dtype) -> tuple[np.dtype, int]:
    """Returns the dtype of half a word of ``ColumnMasks.runs`` and its number of bits."""
    narrow = word == np.dtype(np.uint32)
    return (np.dtype(np.uint16), 16) if narrow else (np.dtype(np.uint32), 32)


def _convert(
    strings: list[str], present: list[bool], size: tuple[int, int], num_frames: int
) -> ColumnMasks:
    runs = runs_of_strings(strings, size[0] * size[1])
    if runs is None:
        raise FaultyRunsError("masks: expected sound RLEs of the video's size, found others")
    cells = np.flatnonzero(np.array(present, bool))
    return _by_column(runs, cells, len(present) // num_frames, num_frames, size)


def _by_column(
    runs: RunLengths, cell_of_mask: np.ndarray, count: int, num_frames: int, size: tuple[int, int]
) -> ColumnMasks:
    """Cuts runs into columns; ``cell_of_mask`` (M,) is each mask's cell in (N, T)."""
    height, width = size
    column, top, bottom = _cut_runs(runs, height)
    mask_starts = np.arange(len(runs) + 1) * width
    bounds = np.searchsorted(column, mask_starts.astype(column.dtype))
    filled = np.flatnonzero(bounds[1:] > bounds[:-1])
    left, right = column[bounds[filled]], column[bounds[filled + 1] - 1] + 1
    spans = (right - left).astype(np.int64)
    offsets = np.cumsum(spans) - spans
    further = np.flatnonzero(column[1:] == column[:-1]) + 1  # not first in a column
    table = _pack_words(top, bottom, height)
    if len(further) or int(spans.sum()) != len(column):
        first_runs, table = table, np.full(int(spans.sum()), height, table.dtype)
        target = column + np.repeat(offsets - left, (bounds[1:] - bounds[:-1])[filled])
        table[target[::-1]] = first_runs[::-1]  # the first run of a column is written last
    cells = cell_of_mask[filled]
    left -= filled * width
    first_column, columns, offset, areas = np.zeros((4, count * num_frames), np.int64)
    first_column[cells], columns[cells], offset[cells] = left, spans, offsets
    areas[cell_of_mask] = runs.areas()
    further_cell = cell_of_mask[column[further] // width]
    further_frame = further_cell % num_frames
    shape = (count, num_frames)
    first_column, columns = first_column.reshape(shape), columns.reshape(shape)
    return ColumnMasks(
        height=height,
        width=width,
        first_column=first_column.astype(np.int32),
        columns=columns.astype(np.int32),
        left=np.where(columns > 0, first_column, width).min(axis=1, initial=width),
        right=(first_column + columns).max(axis=1, initial=0),
        offset=offset.reshape(shape),
        runs=table,
        more_offset=np.searchsorted(further_cell, np.arange(count + 1) * num_frames),
        more_column=further_frame * width + column[further] % width,
        more_runs=np.stack([top[further], bottom[further]]).astype(np.int32),
        areas=areas.reshape(shape),
    )


def _pack_words(top: np.ndarray, bottom: np.ndarray, height: int) -> np.ndarray:
    """Packs the number of rows above a run and, in the word's upper half, the number below it."""
    narrow = height < 2**15
    word = np.int32 if narrow else np.int64
    packed: np.ndarray = (height - bottom).astype(word, copy=False)
    np.left_shift(packed, 16 if narrow else 32, out=packed)
    np.add(packed, top.astype(word, copy=False), out=packed)
    return packed.view(np.uint32 if narrow else np.uint64)


def _cut_runs(runs: RunLengths, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts runs at column ends; returns each part's column (over all masks), top and bottom row."""
    filled = runs.lengths > 0
    ends, lengths = runs.ends[filled], runs.lengths[filled]
    top = ends - lengths
    column = top // height
    top -= column * height
    bottom = top + lengths
    if not len(bottom) or bottom.max() <= height:
        return column, top, bottom
    pieces = (bottom - 1) // height + 1
    piece = np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    column = np.repeat(column, pieces) + piece
    shift = piece * height
    top = np.maximum(np.repeat(top, pieces) - shift, 0)
    bottom = np.minimum(np.repeat(bottom, pieces) - shift, height)
    return column, top, bottom


def joined_masks(parts: Sequence[ColumnMasks]) -> ColumnMasks:
    """Concatenates the tracks of several parts of one video."""
    lengths = np.cumsum([0] + [len(part.runs) for part in parts])
    further = np.cumsum([0] + [len(part.more_column) for part in parts])
    offsets = [part.offset + start for part, start in zip(parts, lengths, strict=False)]
    bounds = [part.more_offset[1:] + start for part, start in zip(parts, further, strict=False)]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (*_BY_TRACK, "runs", "more_column")
    }
    return replace(
        parts[0],
        **joined,
        offset=np.concatenate(offsets),
        more_offset=np.concatenate([np.zeros(1, np.int64), *bounds]),
        more_runs=np.concatenate([part.more_runs for part in parts], axis=1),
    )
