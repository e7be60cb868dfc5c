"""Weighted voting of masks on their run lengths, without pixels."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from vis_core.errors import AnnotationError
from vis_core.rle.decode import runs_of_strings
from vis_core.rle.packed import PackedMasks
from vis_core.rle.segmentation import counts_of_runs

_FRAMES_AT_ONCE = 512
_UNITS = 1 << 20  # weights are rounded to 1 / _UNITS, so that sums do not depend on order

_Frame = list[tuple[int, str]]  # weight and run lengths of each mask in a frame


def voted_masks(
    tracks: Sequence[PackedMasks], weights: Sequence[float], size: tuple[int, int]
) -> PackedMasks:
    """Returns the pixels covered by tracks with at least half of the total weight.

    Equals, for each frame, ``2 * sum(w * mask) >= sum(w)``, where an absent track has no pixels.
    The (N,) weights are in [0, 1].
    """
    units = [1 + round(_UNITS * weight) for weight in weights]
    total = sum(units)
    voted = PackedMasks()
    frames = _by_frame(tracks, units)
    while some := list(islice(frames, _FRAMES_AT_ONCE)):
        results = [_unanimous(masks, total) for _, masks in some]
        open_places = [place for place, counts in enumerate(results) if counts is None]
        counted = _count_votes([some[place][1] for place in open_places], total, size)
        for place, counts in zip(open_places, counted, strict=True):
            results[place] = counts
        for (frame, _), result in zip(some, results, strict=True):
            if result:
                voted.add(frame, result)
    return voted


def _by_frame(tracks: Sequence[PackedMasks], units: Sequence[int]) -> Iterator[tuple[int, _Frame]]:
    """Yields each frame in which any track has a mask, with these masks."""
    last = max((track.frame_indices[-1] for track in tracks if len(track)), default=-1)
    for start in range(0, last + 1, _FRAMES_AT_ONCE):
        frames: dict[int, _Frame] = {}
        for track, weight in zip(tracks, units, strict=True):
            for frame, counts in track.between(start, start + _FRAMES_AT_ONCE):
                frames.setdefault(frame, []).append((weight, counts))
        yield from sorted(frames.items())


def _unanimous(masks: _Frame, total: int) -> str | None:
    """Returns a frame's result ("" for no pixels) if it needs no count of votes, or else None."""
    if 2 * sum(weight for weight, _ in masks) < total:
        return ""
    return masks[0][1] if len({counts for _, counts in masks}) == 1 else None


def _count_votes(frames: Sequence[_Frame], total: int, size: tuple[int, int]) -> list[str]:
    """Counts the votes of all frames on one line, where each frame takes H * W places."""
    if not frames:
        return []
    pixels = size[0] * size[1]
    runs = runs_of_strings([counts for masks in frames for _, counts in masks], pixels)
    if runs is None:
        raise AnnotationError("masks: expected sound RLEs of the video's size, found others")
    weight_of_mask = np.array([weight for masks in frames for weight, _ in masks], np.int64)
    frame_of_mask = np.repeat(np.arange(len(frames)), [len(masks) for masks in frames])
    mask = np.repeat(np.arange(len(runs)), np.diff(runs.first))
    # from the line of all masks to that of all frames
    ends = runs.ends.astype(np.int64) + (frame_of_mask[mask] - mask) * pixels
    positions = np.concatenate([ends - runs.lengths, ends])
    steps = np.concatenate([weight_of_mask[mask], -weight_of_mask[mask]])
    order = np.argsort(positions, kind="stable")
    positions, levels = positions[order], np.cumsum(steps[order])
    last = np.append(positions[1:] != positions[:-1], True)  # after all steps at a position
    positions, inside = positions[last], 2 * levels[last] >= total
    # no run may cross the end of its frame
    borders = np.arange(1, len(frames)) * pixels
    before = np.searchsorted(positions, borders, side="right") - 1
    starts, stops = _stretches(positions, inside)
    split = borders[inside[before] & (before >= 0) & ~np.isin(borders, starts)]
    starts, stops = (np.sort(np.concatenate([places, split])) for places in (starts, stops))
    bounds = np.searchsorted(starts, np.arange(len(frames) + 1) * pixels)
    return [
        counts_of_runs(starts[a:b] - frame * pixels, stops[a:b] - frame * pixels, size)
        if b > a
        else ""
        for frame, (a, b) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
    ]


def _stretches(positions: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) starts and stops of the stretches inside masks; both ends of the line are outside."""
    change = np.diff(np.concatenate([[False], inside]).astype(np.int8))
    return positions[change == 1], positions[change == -1]
