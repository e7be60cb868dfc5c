"""A run's report page: one HTML file without scripts that loads nothing from the network.

The template ``page.html.j2`` escapes everything that comes from a file (video names, reasons,
settings). The page's content policy also forbids scripts and requests.
"""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.progress import in_words
from pipelines.reports.charts import line_chart
from pipelines.reports.media import MediaBudget, is_media, is_video
from pipelines.reports.page_data import ReportData, StageRow
from vis_core.errors import FORBIDDEN
from vis_core.files import write_text

_COLUMNS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ar1": "AR1", "ar10": "AR10"}
_SHOWN_TRIALS = 8
TOTAL_BYTES = 48 << 20  # of embedded files; mail and browsers still accept a page this large
FILE_BYTES = 8 << 20


def write_report(
    path: Path, report: ReportData, *, total_bytes: int = TOTAL_BYTES, file_bytes: int = FILE_BYTES
) -> None:
    """Writes a report page, whole or not at all.

    Pictures and videos are embedded as base64 if they are within ``file_bytes`` each and
    ``total_bytes`` together; other files are linked by relative paths.
    """
    rows = _accuracy_rows(report)
    page = _environment().get_template("page.html.j2")
    text = page.render(
        report=report,
        media=MediaBudget(path, total_bytes, file_bytes),
        columns=_COLUMNS,
        rows=rows,
        best={
            key: max((s for row in rows if (s := _score(row, key)) is not None), default=None)
            for key in _COLUMNS
        },
        gain=_gain(rows),
        charts=_charts(report),
        shown_trials=_SHOWN_TRIALS,
        **_sweep_columns(report),
    )
    write_text(path, text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipelines.reports", ""),
        autoescape=True,
        finalize=_clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"in_words": in_words, "score": _score, "setting": _setting}
    environment.tests |= {"media_file": is_media, "video_file": is_video}
    return environment


def _accuracy_rows(report: ReportData) -> list[StageRow]:
    """Returns the stages in order; the last row is the finished system, if it was scored."""
    rows = list(report.stages)
    if report.final is not None:
        rows.append(StageRow("after the sweep" if report.sweep else "final", 0, None, report.final))
    return rows


def _gain(rows: Sequence[StageRow]) -> dict[str, Any] | None:
    """Compares the AP of the first and last scored rows."""
    scored = [(row.name, ap) for row in rows if (ap := _score(row, "ap")) is not None]
    if len(scored) < 2:
        return None
    (first, before), (last, after) = scored[0], scored[-1]
    kind = "gain" if after > before else "loss" if after < before else "same"
    return {"first": first, "last": last, "kind": kind, "change": after - before}


def _charts(report: ReportData) -> list[tuple[str, Markup]]:
    """Draws the curves; groups without a finite value are omitted."""
    charts = []
    for heading, series in report.curves:
        label = f"{heading} over training steps: {', '.join(line.name for line in series)}"
        chart = line_chart(series, label=label, x_label="training step", marks=report.marks)
        if chart:
            charts.append((heading, Markup(_clean(chart))))  # line_chart has escaped the names
    return charts


def _sweep_columns(report: ReportData) -> dict[str, Any]:
    """Returns the keys of all trials, and whether two of them end with the same word."""
    keys = sorted({key for trial in report.sweep for key in trial.values})
    endings = {key.rsplit(".", 1)[-1] for key in keys}
    return {"sweep_keys": keys, "ambiguous_keys": len(endings) < len(keys)}


def _score(row: StageRow, key: str) -> float | None:
    """Returns the score under ``ap`` or ``val/ap``, or None if it is missing, -1 or NaN."""
    value = row.metrics.get(key, row.metrics.get(f"val/{key}"))
    return None if value is None or not math.isfinite(value) or value < 0 else float(value)


def _setting(value: object) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _clean(value: Any) -> Any:
    """Replaces characters that UTF-8 or a page cannot contain; keeps HTML and other values."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return FORBIDDEN.sub(
        lambda found: found[0] if found[0] in "\n\t" else "\N{REPLACEMENT CHARACTER}", value
    )
