"""Several results of one video become one: multi-scale testing and ensembles of models.

2nd place 3.1 and 3.3, 1st place 3.3: "the IoU computation is carried out in both spatial domain and
temporal domain"; that is all that is printed, so the rest are named choices (``FusionConfig``).
The masks stay run lengths throughout; a long video is walked through in windows of frames.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

import numpy as np

from vis_core.config.inference import FusionConfig
from vis_core.inference.packed_tracks import PackedTrack
from vis_core.rle.columns import ColumnMasks, column_masks
from vis_core.rle.intersection import intersections
from vis_core.rle.packed import PackedMasks
from vis_core.rle.vote import voted_masks

_FRAMES_AT_ONCE = 256


@dataclass(frozen=True)
class _Member:
    """Is a track with where it comes from: the number of its result, and its order."""

    source: int
    track: PackedTrack
    order: tuple[float, int, bytes]


def fuse_tracks(
    results: Sequence[Sequence[PackedTrack]],
    size: tuple[int, int],
    num_frames: int,
    config: FusionConfig,
) -> list[PackedTrack]:
    """Fuses the tracks of R results of one video (2nd place 3.3), best score first.

    Greedily: the best track that is left leads a group; of each other result the track that
    overlaps it most joins, if their IoU over space and time reaches the threshold. An id stays
    where all results agree on it; other tracks are numbered on.

    Args:
        results: R results.
        size: Height and width of every frame.
        num_frames: T.
        config: The choices.
    """
    if len(results) == 1:
        return sorted(results[0], key=lambda track: -track.score)
    members = [
        _Member(source, track, track.order())
        for source, tracks in enumerate(results)
        for track in tracks
    ]
    # who comes first must not depend on the number of its result
    members.sort(key=lambda member: member.order)
    overlap = _overlaps(members, len(results), size, num_frames)
    groups = _groups(members, overlap, config)
    fused = [_fused(group, len(results), size, config) for group in groups]
    fused.sort(key=lambda track: (-track.score, _place(track.track_id), *track.order()[1:]))
    return _numbered(fused)


def space_time_iou(common: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Divides common pixels (M, M) by those of either of two tracks, all frames together.

    Two tracks without a pixel are alike: their IoU is 1.
    """
    either = areas[:, None] + areas[None] - common
    iou: np.ndarray = np.where(either > 0, common / np.maximum(either, 1), 1.0)
    return iou


def _overlaps(
    members: Sequence[_Member], num_results: int, size: tuple[int, int], num_frames: int
) -> np.ndarray:
    """(M, M) IoU over space and time of members of different results; -1 within one result."""
    rows = [
        np.array([i for i, member in enumerate(members) if member.source == source], np.int64)
        for source in range(num_results)
    ]
    common = np.zeros((len(members), len(members)), np.int64)
    areas = np.zeros(len(members), np.int64)
    for start in range(0, num_frames, _FRAMES_AT_ONCE):
        span = start, min(start + _FRAMES_AT_ONCE, num_frames)
        shown = [_shown(members, own, span, size) for own in rows]
        for own, masks in shown:
            areas[own] += masks.areas.sum(axis=1)
        for (own, masks), (others, other_masks) in combinations(shown, 2):
            if len(own) and len(others):
                everyone = np.arange(len(own)), np.arange(len(others))
                found = intersections(masks, everyone[0], other_masks, everyone[1])
                common[np.ix_(own, others)] += found
                common[np.ix_(others, own)] += found.T
    iou = space_time_iou(common, areas)
    for own in rows:
        iou[np.ix_(own, own)] = -1
    return iou


def _shown(
    members: Sequence[_Member], rows: np.ndarray, span: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, ColumnMasks]:
    """Gives those of some members that show a pixel in a range of frames, and their masks there."""
    windows = {int(row): members[row].track.masks.window(*span) for row in rows}
    kept = [row for row, window in windows.items() if any(rle is not None for rle in window)]
    masks = column_masks([windows[row] for row in kept], *size, span[1] - span[0])
    return np.array(kept, np.int64), masks


def _groups(
    members: Sequence[_Member], overlap: np.ndarray, config: FusionConfig
) -> list[list[_Member]]:
    """Groups the members, at most one of each result, the leader first and the others by order."""
    free = set(range(len(members)))
    groups = []
    for leader in range(len(members)):
        if leader not in free:
            continue
        free.remove(leader)
        chosen: dict[int, int] = {}
        for row in sorted(free, key=lambda row: _fit(members, overlap, leader, row)):
            alike = members[row].track.label == members[leader].track.label
            source = members[row].source
            if (
                overlap[leader, row] >= config.iou_threshold
                and (alike or config.label == "vote")
                and source not in chosen
            ):
                chosen[source] = row
        free -= set(chosen.values())
        groups.append([members[row] for row in (leader, *sorted(chosen.values()))])
    return groups


def _fit(
    members: Sequence[_Member], overlap: np.ndarray, leader: int, row: int
) -> tuple[float, bool, float, int]:
    """Orders candidates: overlap, then class, then score, then their order among all."""
    own, other = members[leader].track, members[row].track
    return (
        -overlap[leader, row],
        own.label != other.label,
        abs(own.score - other.score),
        row,
    )


def _fused(
    group: Sequence[_Member], num_results: int, size: tuple[int, int], config: FusionConfig
) -> PackedTrack:
    """Makes one track of a group."""
    tracks = [member.track for member in group]
    scores = [track.score for track in tracks]
    count = num_results if config.score == "mean" else len(scores)
    score = max(scores) if config.score == "max" else _mean(scores, count)
    label = _voted_label(tracks)
    if config.mask == "best" or len(tracks) == 1:
        masks = tracks[0].masks
    else:
        masks = voted_masks([track.masks for track in tracks], scores, size)
    ids = {track.track_id for track in tracks}
    track_id = ids.pop() if len(ids) == 1 and len(group) == num_results else None
    qualities = [t.predicted_quality for t in tracks if t.predicted_quality is not None]
    return PackedTrack(
        label,
        score,
        masks,
        track_id,
        _frame_scores(tracks, masks),
        _mean(qualities, len(qualities)) if qualities else None,
    )


def _mean(values: Sequence[float], count: int) -> float:
    """Divides a sum by ``count``, exactly: neither the order of values nor rounding counts."""
    return float(sum(map(Fraction, values), Fraction(0)) / count)


def _voted_label(tracks: Sequence[PackedTrack]) -> int:
    """Gives the class with the highest sum of scores, of equals the first."""
    votes: dict[int, Fraction] = {}
    for track in tracks:
        votes[track.label] = votes.get(track.label, Fraction(0)) + Fraction(track.score)
    return min(votes, key=lambda label: (-votes[label], label))


def _frame_scores(tracks: Sequence[PackedTrack], masks: PackedMasks) -> "array[float] | None":
    """Averages in each frame the scores of the members that are shown in it."""
    found: dict[int, list[float]] = {}
    for track in tracks:
        if track.frame_scores is None:
            return None
        for frame, score in zip(track.masks.frame_indices, track.frame_scores, strict=True):
            found.setdefault(frame, []).append(score)
    shown = (found[frame] for frame in masks.frame_indices)
    return array("d", (own[0] if len(set(own)) == 1 else _mean(own, len(own)) for own in shown))


def _numbered(tracks: Sequence[PackedTrack]) -> list[PackedTrack]:
    """Numbers the tracks that have no id, from the highest id on."""
    next_id = 1 + max((t.track_id for t in tracks if t.track_id is not None), default=-1)
    named = []
    for track in tracks:
        if track.track_id is None:
            track = replace(track, track_id=next_id)
            next_id += 1
        named.append(track)
    return named


def _place(track_id: int | None) -> float:
    return float("inf") if track_id is None else track_id
