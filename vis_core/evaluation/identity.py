"""Do tracks keep their identity: HOTA, IDF1 and identity switches on masks.

HOTA: Luiten et al. 2021, "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking",
Sec. 5; IDF1: Ristani et al. 2016, Sec. 2.3; switches: CLEAR MOT, Bernardin and Stiefelhagen 2008.
The counts of every video and class are added up before any ratio is taken (TrackEval's detection
average), and the numbers equal TrackEval's on the same IoUs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from vis_core.evaluation.loading import GroundTruth, Results
from vis_core.rle.columns import ColumnMasks, at_frame
from vis_core.rle.intersection import intersections

HOTA_THRESHOLDS = np.arange(0.05, 0.99, 0.05)  # Luiten et al., Sec. 5.1
IOU_THRESHOLD = 0.5  # of IDF1 and CLEAR MOT
_TINY = float(np.finfo(np.float64).eps)
_STAY = 1000.0  # outweighs any IoU: a ground truth keeps the track of the frame before


@dataclass
class _Counts:
    """Is what is added up over videos and classes; vectors over ``HOTA_THRESHOLDS``."""

    found: np.ndarray = field(default_factory=lambda: np.zeros(len(HOTA_THRESHOLDS)))
    missed: np.ndarray = field(default_factory=lambda: np.zeros(len(HOTA_THRESHOLDS)))
    extra: np.ndarray = field(default_factory=lambda: np.zeros(len(HOTA_THRESHOLDS)))
    associated: np.ndarray = field(default_factory=lambda: np.zeros(len(HOTA_THRESHOLDS)))
    id_found: int = 0
    id_missed: int = 0
    id_extra: int = 0
    switches: int = 0


@dataclass(frozen=True)
class IdentityResult:
    """Is the identity metrics of a whole file.

    Attributes:
        hota: Geometric mean of detection and association, averaged over the thresholds.
        det_a: Detection accuracy, averaged over the thresholds.
        ass_a: Association accuracy, averaged over the thresholds.
        idf1: F1 of identities at IoU 0.5.
        switches: Times a ground truth went over to another track, at IoU 0.5.
    """

    hota: float
    det_a: float
    ass_a: float
    idf1: float
    switches: int

    def to_json(self) -> dict[str, float]:
        """The numbers for programs."""
        return {
            "HOTA": self.hota,
            "DetA": self.det_a,
            "AssA": self.ass_a,
            "IDF1": self.idf1,
            "switches": self.switches,
        }


def evaluate_identity(
    ground_truth: GroundTruth, results: Results, min_score: float = 0.5
) -> IdentityResult:
    """Scores the identities of tracks; crowds are left out.

    Args:
        ground_truth: Of ``tables.load_ground_truth``.
        results: Of ``tables.load_results``.
        min_score: Tracks below are not counted: these metrics have no curve over scores.
    """
    return score_sequences(_sequences(ground_truth, results, min_score))


def score_sequences(sequences: Iterable["SequenceFrames"]) -> IdentityResult:
    """Scores sequences whose IoUs are known."""
    counts = _Counts()
    for frames in sequences:
        _add_hota(frames, counts)
        _add_identities(frames, counts)
        counts.switches += _switches(frames)
    det_a = counts.found / np.maximum(1, counts.found + counts.missed + counts.extra)
    ass_a = counts.associated / np.maximum(1, counts.found)
    pairs = counts.id_found + 0.5 * (counts.id_missed + counts.id_extra)
    return IdentityResult(
        hota=float(np.sqrt(det_a * ass_a).mean()),
        det_a=float(det_a.mean()),
        ass_a=float(ass_a.mean()),
        idf1=float(counts.id_found / max(1.0, pairs)),
        switches=counts.switches,
    )


@dataclass(frozen=True)
class SequenceFrames:
    """Is one class in one video, frame by frame.

    Attributes:
        shape: (G, D) tracks of the ground truth and of the results.
        truth: T arrays of ground-truth rows that show in the frame.
        tracks: T arrays of result rows that show in the frame.
        iou: T arrays (shown truth, shown tracks).
    """

    shape: tuple[int, int]
    truth: list[np.ndarray]
    tracks: list[np.ndarray]
    iou: list[np.ndarray]


def _sequences(
    ground_truth: GroundTruth, results: Results, min_score: float
) -> Iterator[SequenceFrames]:
    for video_id, truth in ground_truth.videos.items():
        found = results.get(video_id)
        for category_id in ground_truth.categories.ids:
            rows = np.flatnonzero((truth.category_ids == category_id) & ~truth.crowd)
            own = np.zeros(0, np.int64)
            if found is not None:
                kept = (found.category_ids == category_id) & (found.scores >= min_score)
                own = np.flatnonzero(kept)
            if not len(rows) and not len(own):
                continue
            frames = SequenceFrames((len(rows), len(own)), [], [], [])
            for frame in range(truth.num_frames):
                areas = truth.masks.areas[rows, frame]
                shown = np.flatnonzero(areas)
                shown_own, iou = own[:0], np.zeros((len(shown), 0))
                if found is not None and len(own):
                    own_areas = found.masks.areas[own, frame]
                    shown_own = np.flatnonzero(own_areas)
                    common = _common(truth.masks, rows[shown], found.masks, own[shown_own], frame)
                    union = areas[shown][:, None] + own_areas[shown_own] - common
                    iou = common / np.maximum(union, 1)
                frames.truth.append(shown)
                frames.tracks.append(shown_own)
                frames.iou.append(iou)
            yield frames


def _common(
    truth: ColumnMasks, rows: np.ndarray, tracks: ColumnMasks, own: np.ndarray, frame: int
) -> np.ndarray:
    if not len(rows) or not len(own):
        return np.zeros((len(rows), len(own)), np.int64)
    return intersections(at_frame(truth, frame), rows, at_frame(tracks, frame), own)


def _appearances(frames: SequenceFrames) -> tuple[np.ndarray, np.ndarray]:
    """(G, 1) and (1, D) frames in which each track shows."""
    truth = np.bincount(np.concatenate(frames.truth), minlength=frames.shape[0])
    tracks = np.bincount(np.concatenate(frames.tracks), minlength=frames.shape[1])
    return truth[:, None], tracks[None, :]


def _add_hota(frames: SequenceFrames, counts: _Counts) -> None:
    """Adds the counts of Luiten et al., Sec. 5.2: matches prefer pairs alike over the video."""
    truth_frames, track_frames = _appearances(frames)
    likely = np.zeros(frames.shape)
    for truth, tracks, iou in zip(frames.truth, frames.tracks, frames.iou, strict=True):
        rivals = iou.sum(axis=0)[None, :] + iou.sum(axis=1)[:, None] - iou
        share = np.where(rivals > _TINY, iou / np.maximum(rivals, _TINY), 0.0)
        likely[np.ix_(truth, tracks)] += share
    alignment = likely / np.maximum(truth_frames + track_frames - likely, _TINY)
    pairs = np.zeros((len(HOTA_THRESHOLDS), *frames.shape))
    for truth, tracks, iou in zip(frames.truth, frames.tracks, frames.iou, strict=True):
        row, column = linear_sum_assignment(-alignment[np.ix_(truth, tracks)] * iou)
        matched = iou[row, column] >= HOTA_THRESHOLDS[:, None] - _TINY  # (A, pairs)
        found = matched.sum(axis=1)
        counts.found += found
        counts.missed += len(truth) - found
        counts.extra += len(tracks) - found
        pairs[:, truth[row], tracks[column]] += matched
    jaccard = pairs / np.maximum(1, truth_frames + track_frames - pairs)
    counts.associated += (pairs * jaccard).sum(axis=(1, 2))


def _add_identities(frames: SequenceFrames, counts: _Counts) -> None:
    """Adds the counts of Ristani et al.: one track for one ground truth over the whole video."""
    truth_frames, track_frames = _appearances(frames)
    together = np.zeros(frames.shape)
    for truth, tracks, iou in zip(frames.truth, frames.tracks, frames.iou, strict=True):
        together[np.ix_(truth, tracks)] += iou >= IOU_THRESHOLD
    row, column = linear_sum_assignment(-together)
    found = int(together[row, column].sum())
    counts.id_found += found
    counts.id_missed += int(truth_frames.sum()) - found
    counts.id_extra += int(track_frames.sum()) - found


def _switches(frames: SequenceFrames) -> int:
    """Counts how often a ground truth is matched with another track than when last matched."""
    last = np.full(frames.shape[0], -1)  # in any frame before
    before = np.full(frames.shape[0], -1)  # in the frame before
    switches = 0
    for truth, tracks, iou in zip(frames.truth, frames.tracks, frames.iou, strict=True):
        if not iou.size:  # as in TrackEval, such a frame does not count as the one before
            continue
        stays = tracks[None, :] == before[truth][:, None]
        score = np.where(iou >= IOU_THRESHOLD - _TINY, _STAY * stays + iou, 0.0)
        row, column = linear_sum_assignment(-score)
        matched = score[row, column] > _TINY
        who, track = truth[row[matched]], tracks[column[matched]]
        switches += int(((last[who] >= 0) & (last[who] != track)).sum())
        last[who] = track
        before = np.full(frames.shape[0], -1)
        before[who] = track
    return switches
