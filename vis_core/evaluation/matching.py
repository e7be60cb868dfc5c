"""Matching predictions with ground truth, greedily by score, using IoU over space and time.

The matches equal those of the YouTube-VIS evaluator, but are computed for all area ranges and IoU
thresholds and for many videos and classes at once; the tests compare them with a naive loop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vis_core.evaluation.loading import GroundTruth, Results, ResultVideo, TruthVideo
from vis_core.rle.intersection import intersections

_LANES_AT_ONCE = 1 << 22  # (group, area, threshold, ground truth) cells in memory
_CERTAIN = 1 - 1e-10  # the highest IoU that the reference evaluator requires


@dataclass(frozen=True)
class Group:
    """The tracks of one class in one video."""

    video: int  # list position, not an id
    category: int  # list position, not an id
    # (D, G) IoU over space and time; D predictions by score, G ground truths in file order
    iou: np.ndarray
    scores: np.ndarray  # (D,) descending
    areas: np.ndarray  # (D,) mean area of each prediction
    truth_ids: np.ndarray
    truth_areas: np.ndarray  # (G,) mean area of each ground truth
    crowd: np.ndarray


@dataclass(frozen=True)
class Matches:
    """All P predictions and Q ground truths of an evaluation, ordered by class, then video."""

    category: np.ndarray
    video: np.ndarray
    rank: np.ndarray  # (P,) rank by score among the predictions of its video and class
    scores: np.ndarray
    matched: np.ndarray  # (P, A, T) bool, for each area range and IoU threshold
    ignored: np.ndarray  # (P, A, T) bool: counted neither as right nor as wrong
    truth_category: np.ndarray
    truth_video: np.ndarray
    truth_ignored: np.ndarray  # (Q, A) bool


def group_tracks(
    truth: GroundTruth,
    results: Results,
    video_ids: Sequence[int],
    category_ids: Sequence[int],
    limit: int,
    *,
    use_categories: bool = True,
) -> list[Group]:
    """Groups all tracks by video and class; keeps each group's ``limit`` best predictions.

    Without ``use_categories``, all classes count as one; the ground truth is ordered by class.
    """
    groups = []
    position_of = {category_id: place for place, category_id in enumerate(category_ids)}
    none = np.zeros(0, np.int64)
    for position, video_id in enumerate(video_ids):
        truth_video, result_video = truth.videos[video_id], results.get(video_id)
        result_classes = none if result_video is None else result_video.category_ids
        truth_rows = _rows_by_class(truth_video.category_ids, position_of, use_categories)
        result_rows = _rows_by_class(result_classes, position_of, use_categories)
        for category in sorted({*truth_rows, *result_rows}):
            key = (position, category)
            rows = truth_rows.get(category, none), result_rows.get(category, none)
            groups.append(_group(key, truth_video, result_video, *rows, limit))
    groups.sort(key=lambda group: (group.category, group.video))
    return groups


def match_groups(
    groups: Sequence[Group], area_ranges: np.ndarray, thresholds: np.ndarray
) -> Matches:
    """Matches predictions with ground truth, best score first, for every area and threshold.

    ``groups`` are ordered by class, then video; ``area_ranges`` (A, 2) include both bounds.
    """
    counts = np.array([len(group.scores) for group in groups], np.int64)
    truth_counts = np.array([len(group.truth_ids) for group in groups], np.int64)
    first = _starts(counts)
    crowd = _concatenated([group.crowd for group in groups]).astype(bool)
    truth_areas = _concatenated([group.truth_areas for group in groups])
    skip = _outside(truth_areas, area_ranges) | crowd[:, None]
    matched, ignored = _match_all(groups, counts, truth_counts, crowd, skip, thresholds)
    areas = _concatenated([group.areas for group in groups])
    ignored |= ~matched & _outside(areas, area_ranges)[:, :, None]
    categories = np.array([group.category for group in groups], np.int64)
    videos = np.array([group.video for group in groups], np.int64)
    return Matches(
        category=np.repeat(categories, counts),
        video=np.repeat(videos, counts),
        rank=np.arange(int(first[-1])) - np.repeat(first[:-1], counts),
        scores=_concatenated([group.scores for group in groups]),
        matched=matched,
        ignored=ignored,
        truth_category=np.repeat(categories, truth_counts),
        truth_video=np.repeat(videos, truth_counts),
        truth_ignored=skip,
    )


def _match_all(
    groups: Sequence[Group],
    counts: np.ndarray,
    truth_counts: np.ndarray,
    crowd: np.ndarray,
    skip: np.ndarray,
    thresholds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (P, A, T) ``matched``, and ``ignored`` for matched predictions only."""
    first, truth_first = _starts(counts), _starts(truth_counts)
    truth_ids = _concatenated([group.truth_ids for group in groups]).astype(np.int64)
    matched = np.zeros((int(first[-1]), skip.shape[1], len(thresholds)), bool)
    ignored = np.zeros_like(matched)
    needed = np.minimum(thresholds, _CERTAIN)
    for batch in _batches(counts, truth_counts, skip.shape[1] * len(thresholds)):
        width = int(truth_counts[batch].max())
        columns = np.arange(width) < truth_counts[batch][:, None]
        rows = np.where(columns, truth_first[batch][:, None] + np.arange(width), 0)
        iou = _padded([groups[index].iou for index in batch.tolist()], width)
        truth = _BatchTruth(truth_ids[rows], crowd[rows], skip[rows].transpose(0, 2, 1))
        _match_batch(iou, counts[batch], first[batch], truth, needed, matched, ignored)
    return matched, ignored


@dataclass(frozen=True)
class _BatchTruth:
    """The ground truth of B groups, padded to G: ids (B, G), crowd (B, G), skip (B, A, G)."""

    ids: np.ndarray
    crowd: np.ndarray
    skip: np.ndarray


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _outside(areas: np.ndarray, area_ranges: np.ndarray) -> np.ndarray:
    """Returns (N, A) bool: whether each area is outside each range."""
    return (areas[:, None] < area_ranges[:, 0]) | (areas[:, None] > area_ranges[:, 1])


def _rows_by_class(
    ids: np.ndarray, position_of: dict[int, int], use_categories: bool
) -> dict[int, np.ndarray]:
    """Returns the rows by class position; without classes, all rows under 0, ordered by class."""
    rows: dict[int, list[int]] = {}
    for row, category_id in enumerate(ids.tolist()):
        position = position_of.get(category_id)
        if position is not None:
            rows.setdefault(position, []).append(row)
    if not use_categories and rows:
        rows = {0: [row for position in sorted(rows) for row in rows[position]]}
    return {position: np.array(values, np.int64) for position, values in rows.items()}


def _group(
    key: tuple[int, int],
    truth: TruthVideo,
    result: ResultVideo | None,
    rows: np.ndarray,
    result_rows: np.ndarray,
    limit: int,
) -> Group:
    scores, areas = np.zeros(0), np.zeros(0)
    iou = np.zeros((0, len(rows)))
    if result is not None and len(result_rows):
        order = np.argsort(-result.scores[result_rows], kind="stable")
        best = result_rows[order][:limit]
        scores, areas = result.scores[best], result.mean_areas[best]
        iou = np.zeros((len(best), len(rows)))
        if len(rows):
            common = intersections(result.masks, best, truth.masks, rows)
            union = result.areas[best][:, None] + truth.areas[rows] - common
            iou = common / np.maximum(union, 1)
    return Group(
        *key, iou, scores, areas, truth.ids[rows], truth.mean_areas[rows], truth.crowd[rows]
    )


def _batches(depths: np.ndarray, widths: np.ndarray, lanes: int) -> Iterator[np.ndarray]:
    """Yields batches of groups of similar width (ground truths), most predictions first."""
    useful = np.flatnonzero((depths > 0) & (widths > 0))
    if not len(useful):
        return
    steps = np.ceil(np.log2(widths[useful])).astype(np.int64)
    order = np.lexsort((-depths[useful], steps))
    useful, steps = useful[order], steps[order]
    bounds = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(useful)]
    for start, stop in pairwise(bounds):
        at_once = max(1, _LANES_AT_ONCE // (lanes << int(steps[start])))
        for first in range(start, stop, at_once):
            yield useful[first : min(first + at_once, stop)]


def _padded(ious: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Stacks the IoUs of groups, the largest D first, to (B, D, G); -1 where there is no pair."""
    padded = np.full((len(ious), len(ious[0]), width), -1.0)
    for row, iou in enumerate(ious):
        padded[row, : iou.shape[0], : iou.shape[1]] = iou
    return padded


def _match_batch(
    iou: np.ndarray,
    depths: np.ndarray,
    first: np.ndarray,
    truth: _BatchTruth,
    needed: np.ndarray,
    matched: np.ndarray,
    ignored: np.ndarray,
) -> None:
    """Writes ``matched`` and ``ignored`` for the predictions of a batch of groups.

    In each lane (area, threshold), predictions choose in descending order of score among the free
    ground truths (a crowd is always free) with sufficient IoU. They prefer truths that are not
    ignored, then the highest IoU, then the last one.
    """
    width = iou.shape[2]
    free = np.ones((len(iou), truth.skip.shape[1], len(needed), width), bool)
    for rank in range(int(depths[0])):
        active = int(np.searchsorted(-depths, -rank, side="left"))
        overlap = iou[:active, rank, None, None, :]
        fits = free[:active] & (overlap >= needed[:, None])
        wanted = fits & ~truth.skip[:active, :, None, :]
        fits = np.where(wanted.any(axis=3, keepdims=True), wanted, fits)
        best = width - 1 - np.argmax(np.where(fits, overlap, -1.0)[..., ::-1], axis=3)
        row, area, threshold = np.nonzero(fits.any(axis=3))
        column = best[row, area, threshold]
        free[row, area, threshold, column] = truth.crowd[row, column]
        place = first[row] + rank
        matched[place, area, threshold] = truth.ids[row, column] != 0  # as in the reference
        ignored[place, area, threshold] = truth.skip[row, area, column]


def _concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *arrays])
