"""Joins identities across a long video's segments that were processed separately.

Neighbouring segments both process the frames of their overlap. Tracks whose masks intersect in the
overlap are joined one to one. A track that was hidden during the overlap is joined, with less
confidence, to a track that starts after the overlap and has a similar embedding. This module only
decides the joins; ``segment_tracker.py`` associates the segments.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from vis_core.config.stitching import StitchConfig
from vis_core.inference.stitching.boundary import BoundaryTrack, SegmentBoundary
from vis_core.rle.columns import ColumnMasks, column_masks
from vis_core.rle.intersection import intersections
from vis_core.rle.packed import PackedMasks

TrackKey = tuple[int, int]  # segment, id in the segment


@dataclass(frozen=True)
class Join:
    """Two tracks in different segments that belong to one identity."""

    before: TrackKey
    after: TrackKey
    confidence: float  # in [0, 1]; see ``join_tracks``
    mask_iou: float  # IoU of their masks over the overlap; 0 if either has no mask there
    similarity: float  # cosine of their embeddings


@dataclass(frozen=True)
class _Evidence:
    """The evidence for each pair of an earlier track (rows) and a later track (columns)."""

    mask_iou: np.ndarray  # (M, N) over space and time within the overlap
    similarity: np.ndarray  # (M, N) cosine of embeddings
    confidence: np.ndarray  # (M, N) in [0, 1]
    coexist: np.ndarray  # (M, N) bool, whether any frame of the overlap shows both
    # (M, N) frames between the earlier track's last instance and the later one's first
    gap: np.ndarray


def join_tracks(
    before: SegmentBoundary, after: SegmentBoundary, config: StitchConfig
) -> list[Join]:
    """Pairs the tracks of two neighbouring segments one to one, in two rounds.

    Both rounds choose the pairs with the highest total confidence. The first round considers pairs
    whose mask IoU over the overlap reaches ``min_mask_iou``. The second round considers pairs of
    remaining tracks that never appear together in the overlap, are at most ``reach_frames`` apart
    and have embeddings whose similarity reaches ``min_similarity``.

    The confidence is the weighted mean of mask IoU, cosine (at least 0) and class equality. A join
    from the second round has an IoU of 0, so its confidence is at most 1 minus the masks' share of
    the weights. ``before`` describes the earlier segment's end; its tracks may come from even
    earlier segments. The joins, sorted by the earlier track, do not depend on the tracks' order.
    """
    assert before.overlap == after.overlap and before.size == after.size, "not of one boundary"
    rows = sorted(before.tracks, key=lambda track: track.key)
    columns = sorted(after.tracks, key=lambda track: track.key)
    if not rows or not columns:
        return []
    evidence = _evidence(rows, columns, before, config)
    pairs = _best_pairs(evidence.confidence, evidence.mask_iou >= config.min_mask_iou)
    allowed = ~evidence.coexist
    if config.reach_frames is not None:
        allowed &= evidence.gap <= config.reach_frames
    if config.min_similarity is not None:
        allowed &= evidence.similarity >= config.min_similarity
    for row, column in pairs:
        allowed[row] = allowed[:, column] = False
    pairs += _best_pairs(evidence.confidence, allowed)
    return [
        Join(
            rows[row].key,
            columns[column].key,
            float(evidence.confidence[row, column]),
            float(evidence.mask_iou[row, column]),
            float(evidence.similarity[row, column]),
        )
        for row, column in sorted(pairs)
    ]


def stitch_segments(
    boundaries: Sequence[tuple[SegmentBoundary, SegmentBoundary]], config: StitchConfig
) -> list[Join]:
    """Joins all segments; a boundary is a pair: the end of a segment and the start of the next.

    A track that is not joined at one boundary remains a candidate at later boundaries, as a track
    hidden in the meantime.
    """
    joins: list[Join] = []
    waiting: tuple[BoundaryTrack, ...] = ()
    frame = 0
    for before, after in boundaries:
        length = before.overlap[1] - frame
        frame = before.overlap[1]
        waiting = tuple(
            replace(track, away=track.away + length, masks=PackedMasks()) for track in waiting
        )
        new = join_tracks(replace(before, tracks=before.tracks + waiting), after, config)
        joined = {join.before for join in new}
        waiting = tuple(t for t in before.tracks + waiting if t.key not in joined)
        joins += new
    return joins


def stitched_ids(
    first_frames: Sequence[Mapping[int, int]], joins: Iterable[Join]
) -> dict[TrackKey, int]:
    """Numbers the tracks of a whole video from 0, in order of first appearance.

    ``first_frames`` contains, for each segment, the first output frame of each of its track ids. A
    track has at most one join at each end. Returns the id in the whole video for each key.
    """
    earlier: dict[TrackKey, TrackKey] = {}
    for join in joins:
        assert join.after not in earlier, f"{join.after} has two tracks before it"
        earlier[join.after] = join.before
    assert len(set(earlier.values())) == len(earlier), "a track has two tracks after it"
    ids: dict[TrackKey, int] = {}
    stitched: dict[TrackKey, int] = {}
    for segment, frames in enumerate(first_frames):
        for _, track_id in sorted((frame, track_id) for track_id, frame in frames.items()):
            key = first = (segment, track_id)
            while first in earlier:
                first = earlier[first]
            stitched[key] = ids.setdefault(first, len(ids))
    return stitched


def _evidence(
    rows: Sequence[BoundaryTrack],
    columns: Sequence[BoundaryTrack],
    boundary: SegmentBoundary,
    config: StitchConfig,
) -> _Evidence:
    mask_iou, coexist = _overlaps(rows, columns, boundary)
    embeddings = [np.stack([track.embedding for track in side]) for side in (rows, columns)]
    similarity = _cosine(*embeddings)
    label = np.array([track.label for track in rows])[:, None] == [t.label for t in columns]
    weights = config.mask_weight, config.similarity_weight, config.label_weight
    parts = mask_iou, similarity.clip(min=0), label
    confidence = sum(w * part for w, part in zip(weights, parts, strict=True)) / sum(weights)
    gap = np.array([track.away for track in rows])[:, None] + [t.away for t in columns]
    return _Evidence(mask_iou, similarity, np.asarray(confidence), coexist, gap)


def _overlaps(
    rows: Sequence[BoundaryTrack], columns: Sequence[BoundaryTrack], boundary: SegmentBoundary
) -> tuple[np.ndarray, np.ndarray]:
    """Compares masks over the overlap: (M, N) IoU, and (M, N) whether any frame shows both."""
    before, after = _masks(rows, boundary), _masks(columns, boundary)
    common = intersections(before, np.arange(len(rows)), after, np.arange(len(columns)))
    areas = before.areas.sum(axis=1)[:, None] + after.areas.sum(axis=1)
    iou = common / np.maximum(areas - common, 1)
    together = (before.areas > 0).astype(np.int64) @ (after.areas > 0).T.astype(np.int64)
    return iou, together > 0


def _masks(tracks: Sequence[BoundaryTrack], boundary: SegmentBoundary) -> ColumnMasks:
    windows = [track.masks.window(*boundary.overlap) for track in tracks]
    return column_masks(windows, *boundary.size, boundary.overlap[1] - boundary.overlap[0])


def _cosine(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(M, N) float64 cosine: 0 for a zero vector, -1 for one that is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        units = [
            values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
            for values in (before.astype(np.float64), after.astype(np.float64))
        ]
        cosine = np.clip(units[0] @ units[1].T, -1, 1)
    return np.where(np.isfinite(cosine), cosine, -1.0)


def _best_pairs(confidence: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    """Chooses allowed pairs, one to one, with the highest total confidence.

    An allowed pair with confidence 0 is still better than no pair.
    """
    values = np.where(allowed, confidence + 1e-9, 0.0)
    chosen = zip(*linear_sum_assignment(-values), strict=True)
    return [(int(row), int(column)) for row, column in chosen if allowed[row, column]]
