"""Scores YouTube-VIS results: a table for people, JSON for programs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vis_core.evaluation.loading import GroundTruth, Results
    from vis_core.evaluation.video_ap import VideoApResult

_DRAWS_TO_COMPARE = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("--gt", type=Path, required=True, help="YouTube-VIS ground truth, JSON")
    parser.add_argument("--results", type=Path, required=True, help="YouTube-VIS results, JSON")
    parser.add_argument("--out", type=Path, help="write every number here as JSON")
    parser.add_argument("--per-class", action="store_true", help="print each class")
    parser.add_argument(
        "--identity", action="store_true", help="HOTA, IDF1 and identity switches too"
    )
    parser.add_argument(
        "--min-score", type=float, default=0.5, help="tracks below do not count in --identity"
    )
    parser.add_argument(
        "--split-by-length", action="store_true", help="AP of short and of long videos too"
    )
    parser.add_argument(
        "--long-from",
        type=int,
        default=40,
        help="annotated frames from which a video is long (default %(default)s: short videos of "
        "YouTube-VIS last 3 to 6 s and have at most 36)",
    )
    parser.add_argument(
        "--bootstrap",
        type=int,
        default=0,
        metavar="N",
        help="95 %% interval from N draws of videos",
    )
    parser.add_argument(
        "--compare", type=Path, metavar="OTHER", help="other results: is the difference significant"
    )
    parser.add_argument("--seed", type=int, default=0, help="of --bootstrap and --compare")


def run(args: argparse.Namespace) -> int:
    """Prints the scores and writes them if asked."""
    from vis_core.errors import ConfigError
    from vis_core.evaluation.loading import load_ground_truth, load_results
    from vis_core.evaluation.score_table import class_table, result_json, stats_table
    from vis_core.evaluation.video_ap import evaluate
    from vis_core.files import write_json

    if args.bootstrap < 0 or args.long_from < 1:
        raise ConfigError("--bootstrap and --long-from: expected counts, found less; correct them")
    if args.out is not None and not args.out.parent.is_dir():
        raise ConfigError(f"--out: expected a folder {args.out.parent}, found none; make it first")
    truth = load_ground_truth(args.gt)
    results = load_results(args.results, truth)
    result = evaluate(truth, results)
    columns: dict[str, Any] = {"all": dict(result.stats)}
    document: dict[str, Any] = result_json(result)
    lines: list[str] = []
    if args.split_by_length:
        document["length"] = _by_length(truth, results, args.long_from, columns)
    if args.identity:
        document["identity"] = _identity(truth, results, args.min_score, lines)
    other = None
    if args.compare is not None:
        other = load_results(args.compare, truth)
        columns["other"] = dict(evaluate(truth, other).stats)
        document["other"] = {"stats": columns["other"]}
    if args.bootstrap or other is not None:
        document["bootstrap"] = _bootstrap(truth, results, other, result, args, lines)
    print(stats_table(columns))
    if args.per_class:
        print("\n" + class_table(result.per_class()))
    if lines:
        print("\n" + "\n".join(lines))
    if args.out is not None:
        write_json(args.out, document)
    return 0


def _by_length(
    truth: "GroundTruth", results: "Results", long_from: int, columns: dict[str, Any]
) -> dict[str, Any]:
    from vis_core.evaluation.score_table import length_groups
    from vis_core.evaluation.video_ap import ApSettings, evaluate

    groups: dict[str, Any] = {"long_from": long_from}
    for name, videos in length_groups(truth.sizes, long_from).items():
        stats = dict(evaluate(truth, results, ApSettings(video_ids=videos)).stats)
        columns[f"{name} ({len(videos)})"] = stats
        groups[name] = {"videos": len(videos), "stats": stats}
    return groups


def _identity(
    truth: "GroundTruth", results: "Results", min_score: float, lines: list[str]
) -> dict[str, float]:
    from vis_core.evaluation.identity import evaluate_identity
    from vis_core.evaluation.score_table import shown_score

    scores = evaluate_identity(truth, results, min_score).to_json()
    shown = [
        f"{name} {shown_score(value) if name != 'switches' else value}"
        for name, value in scores.items()
    ]
    lines.append(f"identity of tracks with a score of {min_score} and more: {', '.join(shown)}")
    return {**scores, "min_score": min_score}


def _bootstrap(
    truth: "GroundTruth",
    results: "Results",
    other: "Results | None",
    result: "VideoApResult",
    args: argparse.Namespace,
    lines: list[str],
) -> dict[str, Any]:
    import numpy as np

    from vis_core.evaluation.bootstrap import draw_videos, interval, is_significant, resampled_ap
    from vis_core.evaluation.score_table import interval_line
    from vis_core.evaluation.video_ap import ApSettings, match_videos

    settings = ApSettings()
    draws = draw_videos(
        len(truth.videos), args.bootstrap or _DRAWS_TO_COMPARE, np.random.default_rng(args.seed)
    )

    def samples_of(some: "Results", counts: np.ndarray) -> np.ndarray:
        matches, category_ids = match_videos(truth, some, settings)
        return resampled_ap(matches, len(category_ids), settings.recall_points, counts)

    samples = samples_of(results, draws)
    intervals = {"AP": interval(result.stats["AP"], samples)}
    answer: dict[str, Any] = {"draws": len(draws)}
    if other is not None:
        others = samples_of(other, draws)
        whole = float(samples_of(other, np.ones((1, draws.shape[1]), np.int64))[0])
        intervals["AP of other"] = interval(whole, others)
        difference = interval(result.stats["AP"] - whole, samples - others)
        intervals["AP - AP of other"] = difference
        answer["significant"] = is_significant(difference)
    lines += [interval_line(name, value) for name, value in intervals.items()]
    if other is not None:
        verdict = "is" if answer["significant"] else "is not"
        lines.append(f"the difference {verdict} significant at the 5 % level (paired over videos)")
    return {**answer, **{name: value.to_json() for name, value in intervals.items()}}
