"""Scores of results files: AP (also by class and video length), identity scores and intervals."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vis_core.evaluation.bootstrap import draw_videos, interval, is_significant, resampled_ap
from vis_core.evaluation.identity import evaluate_identity
from vis_core.evaluation.loading import GroundTruth, Results, load_ground_truth, load_results
from vis_core.evaluation.score_table import (
    class_table,
    interval_line,
    length_groups,
    result_json,
    shown_score,
    stats_table,
)
from vis_core.evaluation.video_ap import ApSettings, VideoApResult, evaluate, match_videos

_DRAWS_TO_COMPARE = 1000


@dataclass(frozen=True)
class ScoreOptions:
    """The scores to compute in addition to AP."""

    per_class: bool = False  # a row for each class in the text
    identity: bool = False  # HOTA, IDF1 and identity switches
    min_score: float = 0.5  # tracks below it do not count for identity
    split_by_length: bool = False  # whether short and long videos are also scored separately
    long_from: int = 40  # minimum number of annotated frames in a long video
    bootstrap: int = 0  # bootstrap draws for 95 % intervals; 0: none, or 1,000 in a comparison
    seed: int = 0  # random seed of the draws


@dataclass
class ScoreReport:
    """The scores of a results file."""

    document: dict[str, Any]  # every number, for programs
    columns: dict[str, Any]  # columns of the table, by title
    class_rows: str = ""  # the table of classes, if requested
    notes: list[str] = field(default_factory=list)  # lines below the tables

    def describe(self) -> list[str]:
        """Returns the tables and notes as text."""
        parts = [stats_table(self.columns), self.class_rows, "\n".join(self.notes)]
        return ["\n\n".join(part for part in parts if part)]


def score_files(
    truth_file: Path, results_file: Path, other_file: Path | None, options: ScoreOptions
) -> ScoreReport:
    """Scores YouTube-VIS results; compares them with a second results file if one is given.

    Raises AnnotationError if a file is faulty, or the results do not belong to the ground truth.
    """
    truth = load_ground_truth(truth_file)
    results = load_results(results_file, truth)
    result = evaluate(truth, results)
    report = ScoreReport(result_json(result), {"all": dict(result.stats)})
    if options.split_by_length:
        report.document["length"] = _by_length(truth, results, options.long_from, report.columns)
    if options.identity:
        identity = evaluate_identity(truth, results, options.min_score).to_json()
        if result.stats["AP"] == -1:  # no ground truth, for which TrackEval's scores are 0
            identity = {name: v if name == "switches" else -1.0 for name, v in identity.items()}
        report.notes.append(_identity_line(identity, options.min_score))
        report.document["identity"] = {**identity, "min_score": options.min_score}
    other = None
    if other_file is not None:
        other = load_results(other_file, truth)
        report.columns["other"] = dict(evaluate(truth, other).stats)
        report.document["other"] = {"stats": report.columns["other"]}
    if options.bootstrap or other is not None:
        found = _bootstrap(truth, results, other, result, options, report.notes)
        report.document["bootstrap"] = found
    if options.per_class:
        report.class_rows = class_table(result.per_class())
    return report


def _by_length(
    truth: GroundTruth, results: Results, long_from: int, columns: dict[str, Any]
) -> dict[str, Any]:
    groups: dict[str, Any] = {"long_from": long_from}
    for name, videos in length_groups(truth.sizes, long_from).items():
        stats = dict(evaluate(truth, results, ApSettings(video_ids=videos)).stats)
        columns[f"{name} ({len(videos)})"] = stats
        groups[name] = {"videos": len(videos), "stats": stats}
    return groups


def _identity_line(scores: dict[str, float], min_score: float) -> str:
    parts = [
        f"{name} {shown_score(value) if name != 'switches' else value}"
        for name, value in scores.items()
    ]
    return f"identity of tracks with a score of {min_score} and more: {', '.join(parts)}"


def _bootstrap(
    truth: GroundTruth,
    results: Results,
    other: Results | None,
    result: VideoApResult,
    options: ScoreOptions,
    notes: list[str],
) -> dict[str, Any]:
    generator = np.random.default_rng(options.seed)
    draws = draw_videos(len(truth.videos), options.bootstrap or _DRAWS_TO_COMPARE, generator)
    samples = _resampled(truth, results, draws)
    intervals = {"AP": interval(result.stats["AP"], samples)}
    document: dict[str, Any] = {"draws": len(draws)}
    if other is not None:
        others = _resampled(truth, other, draws)
        all_videos = np.ones((1, draws.shape[1]), np.int64)
        other_ap = float(_resampled(truth, other, all_videos)[0])
        intervals["AP of other"] = interval(other_ap, others)
        difference = interval(result.stats["AP"] - other_ap, samples - others)
        intervals["AP - AP of other"] = difference
        document["significant"] = is_significant(difference)
    if result.stats["AP"] == -1:
        intervals = dict.fromkeys(intervals, interval(-1.0, np.array([-1.0])))
        document |= {"significant": False} if other else {}
    notes += [interval_line(name, value) for name, value in intervals.items()]
    if other is not None:
        verdict = "is" if document["significant"] else "is not"
        notes.append(f"the difference {verdict} significant at the 5 % level (paired over videos)")
    return {**document, **{name: value.to_json() for name, value in intervals.items()}}


def _resampled(truth: GroundTruth, results: Results, counts: np.ndarray) -> np.ndarray:
    settings = ApSettings()
    matches, category_ids = match_videos(truth, results, settings)
    return resampled_ap(matches, len(category_ids), settings.recall_points, counts)
