"""One self-contained HTML page about a run: no network, no script, light and dark.

Everything that comes from a file (names of videos, reasons, settings) is escaped, and the page's
own policy forbids scripts and requests in case something was missed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from pipelines.reports.charts import line_chart
from pipelines.reports.media import MediaBudget, is_media, is_video
from pipelines.reports.page_data import Fact, ReportData, StageRow, TrialRow, VideoCard
from pipelines.reports.style import STYLE
from vis_core.files import whole_file

_COLUMNS = (("ap", "AP"), ("ap50", "AP50"), ("ap75", "AP75"), ("ar1", "AR1"), ("ar10", "AR10"))
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data: file: 'self'; "
_POLICY += "media-src data: file: 'self'; base-uri 'none'; form-action 'none'"
_SHOWN_TRIALS = 8
TOTAL_BYTES = 48 << 20  # of embedded files: mail and browsers still take a page of this size
FILE_BYTES = 8 << 20


def write_report(
    path: Path,
    report: ReportData,
    *,
    total_bytes: int = TOTAL_BYTES,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Writes a report page; it appears only when it is whole.

    Args:
        path: The HTML file.
        report: What it says.
        total_bytes: How much of the page may be embedded pictures and videos, as base64; the
            rest is linked relatively.
        file_bytes: The same for one file.

    Raises:
        StorageError: The file cannot be written.
    """
    media = MediaBudget(path, total_bytes, file_bytes)
    sections = [
        ("accuracy", "Accuracy", _accuracy(report)),
        ("videos", "Annotated videos", _archive(report, media)),
        ("failures", "Failures", _failures(report)),
        ("training", "Training", _training(report)),
        ("sweep", "Threshold sweep", _sweep(report)),
    ]
    parts = [
        _header(report, [(name, heading) for name, heading, content in sections if content]),
        "<main>",
        *(
            f'<section id="{name}"><h2>{heading}</h2>{content}</section>'
            for name, heading, content in sections
            if content
        ),
        _absent(report),
        "</main>",
        "<footer><p>Made by longtake. This page loads nothing from the network.</p></footer>",
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _header(report: ReportData, sections: Sequence[tuple[str, str]]) -> str:
    tiles = f'<dl class="tiles">{_pairs(report.headlines)}</dl>' if report.headlines else ""
    facts = f'<dl class="facts">{_pairs(report.facts)}</dl>' if report.facts else ""
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading in sections)
    nav = f'<nav aria-label="Sections">{links}</nav>' if len(sections) > 1 else ""
    return f"<header><h1>{_text(report.title)}</h1>{facts}{tiles}{nav}</header>"


def _accuracy(report: ReportData) -> str:
    """The AP table: one row a stage, the finished system last, the best of each column bold."""
    rows = list(report.stages)
    if report.final is not None:
        rows.append(StageRow("after the sweep" if report.sweep else "final", 0, None, report.final))
    if not rows:
        return ""
    best = {
        key: max((value for row in rows if (value := _score(row, key)) is not None), default=None)
        for key, _ in _COLUMNS
    }
    head = "".join(f'<th scope="col">{name}</th>' for _, name in _COLUMNS)
    body = "".join(
        _stage_row(row, best, is_final=row is rows[-1] and report.final is not None) for row in rows
    )
    table = (
        '<thead><tr><th scope="col">stage</th><th scope="col">steps</th>'
        f'<th scope="col">time</th>{head}</tr></thead><tbody>{body}</tbody>'
    )
    lead = "Average precision on held-out videos, masks over space and time." + _gain(rows)
    notes = "".join(f"<br>Note: {_text(note)}." for note in report.notes)
    return f'<p class="lead">{lead}{notes}</p>' + _table(table, "Accuracy by stage")


def _gain(rows: Sequence[StageRow]) -> str:
    """Says how AP went from the first to the last row that has one."""
    scored = [(row.name, ap) for row in rows if (ap := _score(row, "ap")) is not None]
    if len(scored) < 2:
        return ""
    (first, before), (last, after) = scored[0], scored[-1]
    word = "gain" if after > before else "loss" if after < before else "same"
    return (
        f" From <b>{_text(first)}</b> to <b>{_text(last)}</b>: "
        f'<b class="{word}">{after - before:+.3f} AP</b>.'
    )


def _stage_row(row: StageRow, best: Mapping[str, float | None], is_final: bool) -> str:
    cells = []
    for key, _ in _COLUMNS:
        value = _score(row, key)
        shown = "–" if value is None else f"{value:.3f}"
        style = ' class="best"' if value is not None and value == best[key] else ""
        meter = ""
        if key == "ap" and value is not None:
            width = min(max(value, 0.0), 1.0) * 100
            meter = f'<span class="meter"><i style="width:{width:.1f}%"></i></span>'
        cells.append(f'<td{style}>{meter}<span class="number">{shown}</span></td>')
    steps = f"{row.steps:,}" if row.steps else "–"
    time = duration(row.seconds) if row.seconds is not None else "–"
    name = f'<th scope="row" class="wide">{_text(row.name)}</th>'
    style = ' class="total"' if is_final else ""
    return f"<tr{style}>{name}<td>{steps}</td><td>{time}</td>{''.join(cells)}</tr>"


def _training(report: ReportData) -> str:
    charts = []
    for heading, series in report.curves:
        label = f"{heading} over training steps: {', '.join(line.name for line in series)}"
        chart = line_chart(series, label=label, x_label="training step", marks=report.marks)
        if chart:
            charts.append(f"<div><h3>{_text(heading)}</h3>{_clean(chart)}</div>")
    if not charts:
        return ""
    lead = "Faint: as logged. Strong: exponential mean. Numbers: where the mean ended."
    return f'<p class="lead">{lead}</p><div class="charts">{"".join(charts)}</div>'


def _sweep(report: ReportData) -> str:
    if not report.sweep:
        return ""
    names = sorted({name for trial in report.sweep for name in trial.values})
    short = {name: name.rsplit(".", 1)[-1] for name in names}
    ambiguous = len(set(short.values())) < len(names)
    head = "".join(
        f'<th scope="col" title="{_text(n)}">{_text(n if ambiguous else short[n])}</th>'
        for n in names
    )
    head = f'<th scope="col">trial</th>{head}<th scope="col">{_text(report.sweep_metric)}</th>'
    rows = [_trial_row(rank, trial, names) for rank, trial in enumerate(report.sweep, 1)]
    lead = f"{len(rows)} settings tried, best first."
    if names and not ambiguous:
        lead += " Keys: " + ", ".join(f"<code>{_text(name)}</code>" for name in names) + "."
    shown = _table(f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows[:_SHOWN_TRIALS])}</tbody>",
                   "Best settings of the sweep")  # fmt: skip
    if rows[_SHOWN_TRIALS:]:
        rest = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows[_SHOWN_TRIALS:])}</tbody>"
        count = len(rows) - _SHOWN_TRIALS
        shown += (
            f"<details><summary>{count} more</summary>{_table(rest, 'Other settings')}</details>"
        )
    return f'<p class="lead">{lead}</p>{shown}'


def _trial_row(rank: int, trial: TrialRow, names: Sequence[str]) -> str:
    cells = "".join(f"<td>{_text(_value(trial.values.get(name)))}</td>" for name in names)
    score = "failed" if trial.score is None else f"{trial.score:.4f}"
    tag = f'<span class="tag">{_text(trial.note)}</span>' if trial.note else ""
    style = ' class="best"' if rank == 1 else ""
    return f'<tr{style}><th scope="row">{rank}{tag}</th>{cells}<td>{score}</td></tr>'


def _archive(report: ReportData, media: MediaBudget) -> str:
    if not report.videos and not report.archive:
        return ""
    facts = f'<dl class="facts">{_pairs(report.archive)}</dl>' if report.archive else ""
    cards = "".join(_card(video, media) for video in report.videos)
    grid = f'<div class="videos">{cards}</div>' if cards else ""
    return facts + grid


def _card(video: VideoCard, media: MediaBudget) -> str:
    caption = ", ".join(f"{_text(fact.value)} {_text(fact.name)}" for fact in video.facts)
    words = f'<b>{_text(video.name)}</b><span class="soft">{caption}</span>'
    shown, kind = "", ""
    name = _text(video.name)
    if video.media is not None and is_media(video.media):
        source = escape(media.source(video.media), quote=True)
        if is_video(video.media):
            still = media.poster(video.media)
            poster = f' poster="{still}"' if still else ""
            shown = (
                f'<video controls muted loop playsinline preload="metadata"{poster} '
                f'aria-label="{name} with its annotations" src="{source}"></video>'
            )
        else:
            kind = " strip"
            shown = (
                f'<div class="frames" tabindex="0" role="region" aria-label="Frames of {name}">'
                f'<img loading="lazy" alt="Frames of {name} with annotations" src="{source}"></div>'
            )
    return f'<figure class="video{kind}">{shown}<figcaption>{words}</figcaption></figure>'


def _failures(report: ReportData) -> str:
    if not report.failures:
        return ""
    rows = "".join(
        f'<tr><th scope="row" class="wide">{_text(failure.name)}</th>'
        f'<td class="text">{_text(failure.reason)}</td></tr>'
        for failure in report.failures
    )
    table = (
        '<thead><tr><th scope="col">file</th><th scope="col" class="text">reason</th></tr></thead>'
        f"<tbody>{rows}</tbody>"
    )
    count = len(report.failures)
    lead = f"{count} file{'s' if count > 1 else ''} without a result. The others are not affected."
    return f'<p class="lead">{lead}</p>' + _table(table, "Failures")


def _absent(report: ReportData) -> str:
    if not report.absent:
        return ""
    items = "".join(f"<li>{_text(part)}</li>" for part in report.absent)
    return f'<section class="note"><p>Not in this report:</p><ul>{items}</ul></section>'


def _table(content: str, label: str) -> str:
    """Wraps a table so that it scrolls by itself on a phone, with the keyboard too."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(label)}">'
        f"<table>{content}</table></div>"
    )


def _pairs(facts: Iterable[Fact]) -> str:
    return "".join(
        f"<div><dt>{_text(fact.name)}</dt><dd>{_text(fact.value)}</dd></div>" for fact in facts
    )


def _score(row: StageRow, key: str) -> float | None:
    """Finds a score under ``ap`` or ``val/ap``; -1 and NaN mean that there is none."""
    value = row.metrics.get(key, row.metrics.get(f"val/{key}"))
    return None if value is None or not math.isfinite(value) or value < 0 else float(value)


def _value(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Writes a time as people say it: ``42 s``, ``3 min 5 s``, ``2 h 14 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _text(value: str) -> str:
    """Escapes text for HTML and drops what UTF-8 or a page cannot hold."""
    return escape(_clean(value), quote=True)


def _clean(value: str) -> str:
    shown = value.encode("utf-8", errors="replace").decode("utf-8")
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in shown
    )
