"""Scores as text tables and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from vis_core.evaluation.bootstrap import Interval
from vis_core.evaluation.video_ap import VideoApResult


def stats_table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Formats a table with one row per score and one column per named set of scores."""
    names: list[str] = list(dict.fromkeys(name for stats in columns.values() for name in stats))
    width = max([8, *map(len, columns)]) + 2
    lines = ["score".ljust(10) + "".join(title.rjust(width) for title in columns)]
    for name in names:
        values = (shown_score(stats.get(name, -1.0)) for stats in columns.values())
        lines.append(name.ljust(10) + "".join(value.rjust(width) for value in values))
    return "\n".join(lines)


def class_table(classes: Mapping[str, Mapping[str, float]]) -> str:
    """Formats a table with one row per class that has ground truth."""
    rows = {name: stats for name, stats in classes.items() if stats["AR"] > -1}
    width = max([5, *map(len, rows)])
    lines = ["class".ljust(width) + "".join(h.rjust(9) for h in ("AP", "AP50", "AP75", "AR"))]
    for name, stats in rows.items():
        cells = (shown_score(stats[key]).rjust(9) for key in ("AP", "AP50", "AP75", "AR"))
        lines.append(name.ljust(width) + "".join(cells))
    return "\n".join(lines)


def interval_line(title: str, interval: Interval) -> str:
    """Formats a value and its 95 % interval."""
    low, high = shown_score(interval.low), shown_score(interval.high)
    return f"{title}: {shown_score(interval.value)}, 95 % interval {low} to {high}"


def shown_score(value: float) -> str:
    """Formats a score as a percentage; -1 (no ground truth) becomes a dash."""
    return "-" if value == -1 else f"{100 * value:.2f}"


def result_json(result: VideoApResult) -> dict[str, Any]:
    """Returns an evaluation's 12 scores and the scores per class."""
    return {"stats": dict(result.stats), "classes": result.per_class()}


def length_groups(
    sizes: Mapping[int, tuple[int, int, int]], long_from: int
) -> dict[str, Sequence[int]]:
    """Groups video ids into ``short`` (fewer than ``long_from`` frames) and ``long``."""
    return {
        "short": [video for video, size in sizes.items() if size[2] < long_from],
        "long": [video for video, size in sizes.items() if size[2] >= long_from],
    }
