"""Fuses several results for one video: multi-scale testing and model ensembles.

2nd place 3.1 and 3.3, 1st place 3.3: "the IoU computation is carried out in both spatial domain and
temporal domain". The papers give no other details, so all other choices are in ``FusionConfig``.
Masks remain run lengths throughout, and a long video is processed in windows of frames.
"""

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, count

import numpy as np

from vis_core.config.inference import FusionConfig
from vis_core.rle.columns import ColumnMasks, column_masks
from vis_core.rle.intersection import intersections
from vis_core.rle.packed import PackedMasks
from vis_core.rle.vote import voted_masks
from vis_core.structures import Track

_FRAMES_AT_ONCE = 256


def fuse_tracks(
    results: Sequence[Sequence[Track]], size: tuple[int, int], num_frames: int, config: FusionConfig
) -> list[Track]:
    """Fuses the tracks from R results for one video (2nd place 3.3), best score first.

    Grouping is greedy: the best remaining track leads a group; from each other result, the track
    that overlaps it most joins the group if their IoU over space and time reaches the threshold. An
    id is kept if all results agree on it; other tracks get new ids. ``size`` is (height, width).
    """
    if len(results) == 1:
        return sorted(results[0], key=lambda track: -track.score)
    members = [(source, track) for source, tracks in enumerate(results) for track in tracks]
    # the order must not depend on which result a member comes from
    members.sort(key=lambda member: _order(member[1]))
    sources = np.array([source for source, _ in members], np.int64)
    tracks = [track for _, track in members]
    overlap = _overlaps(tracks, sources, size, num_frames)
    groups = _groups(tracks, sources, overlap, config)
    fused = [_fuse_group([tracks[row] for row in g], len(results), size, config) for g in groups]
    fused.sort(key=lambda t: (-t.score, t.track_id is None, t.track_id or 0, *_order(t)[1:]))
    return _with_new_ids(fused)


def _order(track: Track) -> tuple[float, int, bytes]:
    """Returns a sort key that depends only on the content and puts better tracks first."""
    digest = hashlib.blake2b(track.masks.frame_indices.tobytes(), digest_size=16)
    digest.update(track.masks.counts)
    return -track.score, track.label, digest.digest()


def _overlaps(
    tracks: Sequence[Track], sources: np.ndarray, size: tuple[int, int], num_frames: int
) -> np.ndarray:
    """(M, M) IoU over space and time between tracks of different results; -1 within a result."""
    rows_of_results = [np.flatnonzero(sources == source) for source in np.unique(sources)]
    common = np.zeros((len(tracks), len(tracks)), np.int64)
    areas = np.zeros(len(tracks), np.int64)
    for start in range(0, num_frames, _FRAMES_AT_ONCE):
        span = start, min(start + _FRAMES_AT_ONCE, num_frames)
        present = [_present(tracks, rows, span, size) for rows in rows_of_results]
        for rows, masks in present:
            areas[rows] += masks.areas.sum(axis=1)
        for (rows, masks), (others, other_masks) in combinations(present, 2):
            if len(rows) and len(others):
                every = np.arange(len(rows)), np.arange(len(others))
                pixels = intersections(masks, every[0], other_masks, every[1])
                common[np.ix_(rows, others)] += pixels
                common[np.ix_(others, rows)] += pixels.T
    either = areas[:, None] + areas[None] - common
    iou = np.where(either > 0, common / np.maximum(either, 1), 1.0)  # 1 without any pixels
    iou[sources[:, None] == sources[None]] = -1
    return iou


def _present(
    tracks: Sequence[Track], rows: np.ndarray, span: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, ColumnMasks]:
    """Returns the rows of tracks with pixels in a range of frames, and their masks there."""
    rles = {int(row): tracks[row].masks.window(*span) for row in rows}
    kept = [row for row, window in rles.items() if any(rle is not None for rle in window)]
    masks = column_masks([rles[row] for row in kept], *size, span[1] - span[0])
    return np.array(kept, np.int64), masks


def _groups(
    tracks: Sequence[Track], sources: np.ndarray, overlap: np.ndarray, config: FusionConfig
) -> list[list[int]]:
    """Groups the tracks, at most one from each result; a group's leader is its first member."""
    free = set(range(len(tracks)))
    groups = []
    for leader in range(len(tracks)):
        if leader not in free:
            continue
        free.remove(leader)
        chosen: dict[int, int] = {}
        for row in sorted(free, key=lambda row: _preference(tracks, overlap, leader, row)):
            same_label = tracks[row].label == tracks[leader].label
            if (
                overlap[leader, row] >= config.iou_threshold
                and (same_label or config.label == "vote")
                and sources[row] not in chosen
            ):
                chosen[int(sources[row])] = row
        free -= set(chosen.values())
        groups.append([leader, *sorted(chosen.values())])
    return groups


def _preference(
    tracks: Sequence[Track], overlap: np.ndarray, leader: int, row: int
) -> tuple[float, bool, float, int]:
    """Returns a sort key for candidates: overlap, class, score, then overall order."""
    one, other = tracks[leader], tracks[row]
    return -overlap[leader, row], one.label != other.label, abs(one.score - other.score), row


def _fuse_group(
    tracks: Sequence[Track], num_results: int, size: tuple[int, int], config: FusionConfig
) -> Track:
    """Fuses the tracks of a group; the id is None unless all results agree on it."""
    scores = [track.score for track in tracks]
    divisor = num_results if config.score == "mean" else len(scores)
    if config.mask == "best" or len(tracks) == 1:
        masks = tracks[0].masks
    else:
        masks = voted_masks([track.masks for track in tracks], scores, size)
    ids = {track.track_id for track in tracks}
    qualities = [t.predicted_quality for t in tracks if t.predicted_quality is not None]
    return Track(
        track_id=ids.pop() if len(ids) == 1 and len(tracks) == num_results else None,
        label=_voted_label(tracks),
        score=max(scores) if config.score == "max" else _mean(scores, divisor),
        masks=masks,
        frame_scores=_frame_scores(tracks, masks),
        predicted_quality=_mean(qualities, len(qualities)) if qualities else None,
    )


def _mean(values: Sequence[float], divisor: int) -> float:
    """Divides the exact sum of the values by ``divisor``, so that their order does not matter."""
    return float(sum(map(Fraction, values), Fraction(0)) / divisor)


def _voted_label(tracks: Sequence[Track]) -> int:
    """Returns the class with the highest score sum, or the first in a tie."""
    votes: dict[int, Fraction] = defaultdict(Fraction)
    for track in tracks:
        votes[track.label] += Fraction(track.score)
    return min(votes, key=lambda label: (-votes[label], label))


def _frame_scores(tracks: Sequence[Track], masks: PackedMasks) -> "array[float] | None":
    """Averages, for each frame, the scores of the tracks present in it."""
    scores: dict[int, list[float]] = {}
    for track in tracks:
        if track.frame_scores is None:
            return None
        for frame, score in zip(track.masks.frame_indices, track.frame_scores, strict=True):
            scores.setdefault(frame, []).append(score)
    present = (scores[frame] for frame in masks.frame_indices)
    return array("d", (s[0] if len(set(s)) == 1 else _mean(s, len(s)) for s in present))


def _with_new_ids(tracks: Sequence[Track]) -> list[Track]:
    """Numbers the tracks without an id, starting after the highest id."""
    ids = count(1 + max((t.track_id for t in tracks if t.track_id is not None), default=-1))
    return [replace(t, track_id=next(ids)) if t.track_id is None else t for t in tracks]
