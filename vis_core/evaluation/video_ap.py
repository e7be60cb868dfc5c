"""Average precision of tracks: the YouTube-VIS metric, matching the reference evaluator.

For the IoU of two tracks, intersection and union are summed over the frames. AP is the mean
precision over 10 IoU thresholds, 101 recall points and all classes (Yang et al. 2019, "Video
Instance Segmentation", Sec. 3).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vis_core.evaluation.loading import GroundTruth, Results
from vis_core.evaluation.matching import Matches, group_tracks, match_groups
from vis_core.formats.categories import Categories

STAT_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
# (A, 2) inclusive bounds on the mean area in pixels: all, small, medium, large
_AREA_RANGES = ((0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10))


@dataclass(frozen=True)
class ApSettings:
    """Metric settings; the defaults are those of YouTube-VIS."""

    iou_thresholds: np.ndarray = field(default_factory=lambda: np.linspace(0.5, 0.95, 10))
    # (R,) recalls at which precision is sampled
    recall_points: np.ndarray = field(default_factory=lambda: np.linspace(0, 1, 101))
    area_ranges: np.ndarray = field(default_factory=lambda: np.array(_AREA_RANGES, np.float64))
    # limits on the predictions counted per video and class, ascending
    max_detections: tuple[int, ...] = (1, 10, 100)
    use_categories: bool = True  # whether a match requires the same class
    # the videos to score; None scores all. ``category_ids`` works likewise
    video_ids: Sequence[int] | None = None
    category_ids: Sequence[int] | None = None


@dataclass(frozen=True)
class VideoApResult:
    """The scores of a results file; -1 where there is no ground truth."""

    stats: Mapping[str, float]
    precision: np.ndarray  # (T, R, K, A, M) at each recall point
    recall: np.ndarray  # (T, K, A, M)
    scores: np.ndarray  # (T, R, K, A, M) prediction score at each recall point
    category_ids: tuple[int, ...]  # K ids, or only -1 if classes were pooled
    category_names: tuple[str, ...]
    iou_thresholds: np.ndarray

    def per_class(self) -> dict[str, dict[str, float]]:
        """Returns each class's AP, AP50, AP75 and AR by class name; -1 without ground truth."""
        return {
            name: {
                "AP": _mean(self.precision[:, :, k, 0, -1]),
                "AP50": _mean(self.precision[self.iou_thresholds == 0.5, :, k, 0, -1]),
                "AP75": _mean(self.precision[self.iou_thresholds == 0.75, :, k, 0, -1]),
                "AR": _mean(self.recall[:, k, 0, -1]),
            }
            for k, name in enumerate(self.category_names)
        }


def evaluate(
    ground_truth: GroundTruth, results: Results, settings: ApSettings | None = None
) -> VideoApResult:
    """Scores results against ground truth; ``loading.py`` reads both."""
    settings = settings or ApSettings()
    matches, category_ids = match_videos(ground_truth, results, settings)
    names = _names(ground_truth.categories, category_ids)
    return accumulate(matches, settings, category_ids, names)


def match_videos(
    ground_truth: GroundTruth, results: Results, settings: ApSettings
) -> tuple[Matches, tuple[int, ...]]:
    """Matches predictions with ground truth; also returns the K class ids."""
    video_ids = sorted(
        set(ground_truth.videos if settings.video_ids is None else settings.video_ids)
    )
    wanted = settings.category_ids
    category_ids = sorted(set(ground_truth.categories.ids if wanted is None else wanted))
    groups = group_tracks(
        ground_truth,
        results,
        video_ids,
        category_ids,
        settings.max_detections[-1],
        use_categories=settings.use_categories,
    )
    matches = match_groups(groups, settings.area_ranges, settings.iou_thresholds)
    return matches, tuple(category_ids) if settings.use_categories else (-1,)


def accumulate(
    matches: Matches,
    settings: ApSettings,
    category_ids: tuple[int, ...],
    category_names: tuple[str, ...],
) -> VideoApResult:
    """Computes precision and recall curves and the 12 scores from matches."""
    shape = (
        len(settings.iou_thresholds),
        len(settings.recall_points),
        len(category_ids),
        len(settings.area_ranges),
        len(settings.max_detections),
    )
    precision, scores = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((shape[0], *shape[2:]), -1.0)
    bounds = np.searchsorted(matches.category, np.arange(shape[2] + 1))
    truth_bounds = np.searchsorted(matches.truth_category, np.arange(shape[2] + 1))
    for k in range(shape[2]):
        wanted = ~matches.truth_ignored[truth_bounds[k] : truth_bounds[k + 1]]
        positives = wanted.sum(axis=0)  # (A,)
        areas = np.flatnonzero(positives)
        if not len(areas):
            continue
        rows = np.arange(bounds[k], bounds[k + 1])
        for m, curves in _curves_by_limit(matches, rows, areas, positives[areas], settings):
            precision[:, :, k, areas, m], scores[:, :, k, areas, m] = curves[0], curves[1]
            recall[:, k, areas, m] = curves[2]
    stats = _summary(precision, recall, settings)
    return VideoApResult(
        stats, precision, recall, scores, category_ids, category_names, settings.iou_thresholds
    )


def _curves_by_limit(
    matches: Matches,
    rows: np.ndarray,
    areas: np.ndarray,
    positives: np.ndarray,
    settings: ApSettings,
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Yields one class's curves for each ``max_detections`` index, last index first."""
    rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
    deepest = int(matches.rank[rows].max(initial=-1)) + 1
    curves = None
    for m in reversed(range(len(settings.max_detections))):
        limit = settings.max_detections[m]
        if curves is None or limit < deepest:  # otherwise the limit changes nothing
            kept = rows[matches.rank[rows] < limit]
            curves = _curves(matches, kept, areas, positives, settings.recall_points)
        yield m, curves


def _curves(
    matches: Matches,
    rows: np.ndarray,
    areas: np.ndarray,
    positives: np.ndarray,
    recall_points: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes precision and score (T, R, A') at the recall points, and recall (T, A').

    For each area and threshold, accumulates counts, makes precision monotonically decreasing and
    samples it where recall first reaches each point.
    """
    matched = matches.matched[rows][:, areas].transpose(2, 1, 0)  # (T, A', P)
    counted = ~matches.ignored[rows][:, areas].transpose(2, 1, 0)
    right = np.cumsum(matched & counted, axis=2)
    wrong = np.cumsum(~matched & counted, axis=2)
    if not len(rows):
        zeros = np.zeros((matched.shape[0], len(recall_points), len(areas)))
        return zeros, zeros, zeros[:, 0]
    curve = right / (wrong + right + np.spacing(1))
    curve = np.maximum.accumulate(curve[:, :, ::-1], axis=2)[:, :, ::-1]
    index = _recall_positions(right, positives, recall_points)
    inside = index < len(rows)
    safe = np.where(inside, index, 0)
    precision = np.where(inside, np.take_along_axis(curve, safe, axis=2), 0.0)
    scores = np.where(inside, matches.scores[rows][safe], 0.0)
    return precision.swapaxes(1, 2), scores.swapaxes(1, 2), right[:, :, -1] / positives


def _recall_positions(
    right: np.ndarray, positives: np.ndarray, recall_points: np.ndarray
) -> np.ndarray:
    """Returns (T, A', R): the first of P predictions that reaches each recall, or P if none does.

    Equivalent to ``searchsorted(right[t, a] / positives[a], recall_points)`` for each t and a.
    """
    counts = positives.tolist()
    needed = [np.searchsorted(np.arange(n + 1) / n, recall_points) for n in counts]
    position = np.full((*right.shape[:2], max(counts) + 2), right.shape[2])
    position[:, :, 0] = 0
    threshold, area, place = np.nonzero(np.diff(right, axis=2, prepend=0))
    position[threshold, area, right[threshold, area, place]] = place
    return np.take_along_axis(position, np.array(needed)[None], axis=2)


def _summary(precision: np.ndarray, recall: np.ndarray, settings: ApSettings) -> dict[str, float]:
    thresholds = settings.iou_thresholds
    at = {value: np.flatnonzero(thresholds == value) for value in (0.5, 0.75)}
    values = [_mean(precision[:, :, :, 0, -1])]
    values += [_mean(precision[at[value], :, :, 0, -1]) for value in (0.5, 0.75)]
    values += [_mean(precision[:, :, :, area, -1]) for area in (1, 2, 3)]
    values += [_mean(recall[:, :, 0, m]) for m in (0, 1, 2)]
    values += [_mean(recall[:, :, area, -1]) for area in (1, 2, 3)]
    return dict(zip(STAT_NAMES, values, strict=True))


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if len(known) else -1.0


def _names(categories: Categories, category_ids: tuple[int, ...]) -> tuple[str, ...]:
    name_of = dict(zip(categories.ids, categories.names, strict=True))
    return tuple(name_of.get(category_id, "all classes") for category_id in category_ids)
