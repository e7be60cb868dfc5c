"""Confidence intervals for AP from a paired bootstrap over videos.

Videos are drawn with replacement and AP is computed for each draw; the interval is a
percentile range of these values. Two results files use the same draws, so the interval of their
difference is paired (Efron and Tibshirani 1993, ch. 13; Koehn 2004 for the paired test).
"""

from dataclasses import dataclass

import numpy as np

from vis_core.evaluation.matching import Matches

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Returns the value and the bounds by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


def draw_videos(num_videos: int, num_draws: int, generator: np.random.Generator) -> np.ndarray:
    """Draws V videos with replacement N times; returns (N, V) counts of each video."""
    share = np.full(num_videos, 1 / max(1, num_videos))
    return generator.multinomial(num_videos, share, size=num_draws)


def resampled_ap(
    matches: Matches, num_classes: int, recall_points: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Computes the (N,) AP values of (N, V) draws, over all areas and all kept predictions.

    Equals the AP of a data set that contains each video as often as it was drawn. Copies of a
    prediction are adjacent in the ranking, so the best precision among them is at the first or the
    last copy. Area range 0 of ``matches`` must include all areas.
    """
    ap = np.full((len(draws), num_classes), np.nan)
    bounds = np.searchsorted(matches.category, np.arange(num_classes + 1))
    truth_bounds = np.searchsorted(matches.truth_category, np.arange(num_classes + 1))
    for k in range(num_classes):
        truth = np.arange(truth_bounds[k], truth_bounds[k + 1])
        truth = truth[~matches.truth_ignored[truth, 0]]
        positives = draws[:, matches.truth_video[truth]].sum(axis=1)  # (N,)
        rows = np.arange(bounds[k], bounds[k + 1])
        rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
        right = (matches.matched[rows, 0] & ~matches.ignored[rows, 0]).T  # (T, P)
        wrong = (~matches.matched[rows, 0] & ~matches.ignored[rows, 0]).T
        for draw in np.flatnonzero(positives).tolist():
            counts = draws[draw, matches.video[rows]]
            ap[draw, k] = _class_ap(
                np.cumsum(right * counts, axis=1),
                np.cumsum(wrong * counts, axis=1),
                int(positives[draw]),
                recall_points,
            )
    known = ~np.isnan(ap)
    return np.where(known, ap, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def interval(value: float, samples: np.ndarray) -> Interval:
    """Computes the percentile interval for a score at level 0.95."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def is_significant(difference: Interval) -> bool:
    """Returns whether the interval of a difference excludes 0."""
    return difference.low > 0 or difference.high < 0


def _class_ap(
    right: np.ndarray, wrong: np.ndarray, positives: int, recall_points: np.ndarray
) -> float:
    """Averages precision over thresholds and recall points; the arguments are cumulative (T, P)."""
    if right.shape[1] == 0:
        return 0.0
    curve = right / (right + wrong + np.spacing(1))
    curve = np.maximum.accumulate(curve[:, ::-1], axis=1)[:, ::-1]
    total = 0.0
    for lane, hits in enumerate(right):
        place = np.searchsorted(hits / positives, recall_points)
        total += float(curve[lane, place[place < len(hits)]].sum())
    return total / (len(right) * len(recall_points))
