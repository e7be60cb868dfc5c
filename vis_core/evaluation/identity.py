"""Identity metrics for mask tracks: HOTA, IDF1 and identity switches.

HOTA: Luiten et al. 2021, "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking",
Sec. 5; IDF1: Ristani et al. 2016, Sec. 2.3; switches: CLEAR MOT, Bernardin and Stiefelhagen 2008.
Counts are summed over all videos and classes before ratios are computed (TrackEval's detection
average). The results equal TrackEval's for the same IoUs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from vis_core.evaluation.loading import GroundTruth, Results, ResultVideo, TruthVideo
from vis_core.rle.columns import at_frame
from vis_core.rle.intersection import intersections

HOTA_THRESHOLDS = np.arange(0.05, 0.99, 0.05)  # Luiten et al., Sec. 5.1
IOU_THRESHOLD = 0.5  # for IDF1 and CLEAR MOT
_TINY = float(np.finfo(np.float64).eps)
_STAY = 1000.0  # outweighs any IoU: a ground truth keeps its track from the previous frame


def _zeros() -> np.ndarray:
    return np.zeros(len(HOTA_THRESHOLDS))


@dataclass
class _Counts:
    """The sums over videos and classes; the arrays have one entry per HOTA threshold."""

    matched: np.ndarray = field(default_factory=_zeros)
    missed: np.ndarray = field(default_factory=_zeros)
    extra: np.ndarray = field(default_factory=_zeros)
    associated: np.ndarray = field(default_factory=_zeros)
    id_matched: int = 0
    id_missed: int = 0
    id_extra: int = 0
    switches: int = 0


@dataclass(frozen=True)
class IdentityResult:
    """The identity metrics of a results file; IDF1 and switches use IoU 0.5.

    HOTA is the geometric mean of detection and association accuracy; all three are averaged over
    the HOTA thresholds.
    """

    hota: float
    det_a: float
    ass_a: float
    idf1: float
    switches: int

    def to_json(self) -> dict[str, float]:
        """Returns the metrics by their usual names."""
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
    """Scores track identities; ignores crowds.

    Tracks below ``min_score`` are ignored, since these metrics have no curve over scores.
    """
    return score_sequences(_sequences(ground_truth, results, min_score))


def score_sequences(sequences: Iterable["SequenceFrames"]) -> IdentityResult:
    """Computes the metrics of sequences from their IoUs."""
    counts = _Counts()
    for frames in sequences:
        _add_hota(frames, counts)
        _add_identities(frames, counts)
        counts.switches += _switches(frames)
    det_a = counts.matched / np.maximum(1, counts.matched + counts.missed + counts.extra)
    ass_a = counts.associated / np.maximum(1, counts.matched)
    pairs = counts.id_matched + 0.5 * (counts.id_missed + counts.id_extra)
    return IdentityResult(
        hota=float(np.sqrt(det_a * ass_a).mean()),
        det_a=float(det_a.mean()),
        ass_a=float(ass_a.mean()),
        idf1=float(counts.id_matched / max(1.0, pairs)),
        switches=counts.switches,
    )


@dataclass(frozen=True)
class SequenceFrames:
    """One class of one video, frame by frame."""

    shape: tuple[int, int]  # (G, D) numbers of ground-truth and result tracks
    truth: list[np.ndarray]  # T arrays of the ground-truth rows present in the frame
    tracks: list[np.ndarray]  # T arrays of the result rows present in the frame
    iou: list[np.ndarray]  # T arrays (present truth, present tracks)


def _sequences(
    ground_truth: GroundTruth, results: Results, min_score: float
) -> Iterator[SequenceFrames]:
    for video_id, truth in ground_truth.videos.items():
        result = results.get(video_id)
        for category_id in ground_truth.categories.ids:
            rows = np.flatnonzero((truth.category_ids == category_id) & ~truth.crowd)
            result_rows = np.zeros(0, np.int64)
            if result is not None:
                kept = (result.category_ids == category_id) & (result.scores >= min_score)
                result_rows = np.flatnonzero(kept)
            if len(rows) or len(result_rows):
                yield _sequence(truth, rows, result, result_rows)


def _sequence(
    truth: TruthVideo, rows: np.ndarray, result: ResultVideo | None, result_rows: np.ndarray
) -> SequenceFrames:
    """Computes the per-frame IoUs of the given tracks of one video."""
    frames = SequenceFrames((len(rows), len(result_rows)), [], [], [])
    for frame in range(truth.num_frames):
        present = np.flatnonzero(truth.masks.areas[rows, frame])
        tracks = result_rows[:0]
        if result is not None:
            tracks = np.flatnonzero(result.masks.areas[result_rows, frame])
        frames.truth.append(present)
        frames.tracks.append(tracks)
        frames.iou.append(_frame_iou(truth, rows[present], result, result_rows[tracks], frame))
    return frames


def _frame_iou(
    truth: TruthVideo,
    rows: np.ndarray,
    result: ResultVideo | None,
    result_rows: np.ndarray,
    frame: int,
) -> np.ndarray:
    if result is None or not len(rows) or not len(result_rows):
        return np.zeros((len(rows), len(result_rows)))
    masks, result_masks = at_frame(truth.masks, frame), at_frame(result.masks, frame)
    common = intersections(masks, rows, result_masks, result_rows)
    areas = truth.masks.areas[rows, frame][:, None] + result.masks.areas[result_rows, frame]
    return common / np.maximum(areas - common, 1)


def _track_lengths(frames: SequenceFrames) -> tuple[np.ndarray, np.ndarray]:
    """Counts the frames in which each track is present: (G, 1) and (1, D)."""
    truth = np.bincount(np.concatenate(frames.truth), minlength=frames.shape[0])
    tracks = np.bincount(np.concatenate(frames.tracks), minlength=frames.shape[1])
    return truth[:, None], tracks[None, :]


def _add_hota(frames: SequenceFrames, counts: _Counts) -> None:
    """Adds the counts of Luiten et al., Sec. 5.2: matches prefer pairs aligned over the video."""
    truth_lengths, track_lengths = _track_lengths(frames)
    alignment = _alignment(frames, truth_lengths + track_lengths)
    pairs = np.zeros((len(HOTA_THRESHOLDS), *frames.shape))
    for truth, tracks, iou in zip(frames.truth, frames.tracks, frames.iou, strict=True):
        row, column = linear_sum_assignment(-alignment[np.ix_(truth, tracks)] * iou)
        is_match = iou[row, column] >= HOTA_THRESHOLDS[:, None] - _TINY  # (A, pairs)
        matched = is_match.sum(axis=1)
        counts.matched += matched
        counts.missed += len(truth) - matched
        counts.extra += len(tracks) - matched
        pairs[:, truth[row], tracks[column]] += is_match
    jaccard = pairs / np.maximum(1, truth_lengths + track_lengths - pairs)
    counts.associated += (pairs * jaccard).sum(axis=(1, 2))


def _alignment(frames: SequenceFrames, lengths: np.ndarray) -> np.ndarray:
    """Computes the (G, D) soft Jaccard index of pairs; ``lengths`` adds up each pair's lengths."""
    common = np.zeros(frames.shape)
    for truth, tracks, iou in zip(frames.truth, frames.tracks, frames.iou, strict=True):
        total = iou.sum(axis=0)[None, :] + iou.sum(axis=1)[:, None] - iou
        share = np.where(total > _TINY, iou / np.maximum(total, _TINY), 0.0)
        common[np.ix_(truth, tracks)] += share
    return common / np.maximum(lengths - common, _TINY)


def _add_identities(frames: SequenceFrames, counts: _Counts) -> None:
    """Adds the counts of Ristani et al.: one track per ground truth over the whole video."""
    truth_lengths, track_lengths = _track_lengths(frames)
    common = np.zeros(frames.shape)
    for truth, tracks, iou in zip(frames.truth, frames.tracks, frames.iou, strict=True):
        common[np.ix_(truth, tracks)] += iou >= IOU_THRESHOLD
    row, column = linear_sum_assignment(-common)
    matched = int(common[row, column].sum())
    counts.id_matched += matched
    counts.id_missed += int(truth_lengths.sum()) - matched
    counts.id_extra += int(track_lengths.sum()) - matched


def _switches(frames: SequenceFrames) -> int:
    """Counts how often a ground truth is matched with a track other than its last one."""
    last = np.full(frames.shape[0], -1)  # in any earlier frame
    before = np.full(frames.shape[0], -1)  # in the previous frame
    switches = 0
    for truth, tracks, iou in zip(frames.truth, frames.tracks, frames.iou, strict=True):
        if not iou.size:  # as in TrackEval, such a frame does not count as the previous one
            continue
        stays = tracks[None, :] == before[truth][:, None]
        score = np.where(iou >= IOU_THRESHOLD - _TINY, _STAY * stays + iou, 0.0)
        row, column = linear_sum_assignment(-score)
        matched = score[row, column] > _TINY
        matched_truth, track = truth[row[matched]], tracks[column[matched]]
        previous = last[matched_truth]
        switches += int(((previous >= 0) & (previous != track)).sum())
        last[matched_truth] = track
        before = np.full(frames.shape[0], -1)
        before[matched_truth] = track
    return switches
