"""Reads a report page's contents from a run folder, and lists the missing parts.

stages.json               [{name, steps, seconds, metrics}]
losses.jsonl              one {stage, step, train/loss/<name>…} per line; steps count from 1
sweep.json                {best, start, best_ap, trials: [{values, ap}], failed_trials}
evaluation.json           scores of the finished system
data/data.json            {notes: [sentence]}
annotations/summary.json  {videos: [{name, status, reason, frames, tracks, seconds, overlay}]}
overlays/                 the files in ``overlay``, otherwise <video name>.mp4, .png or .jpg
config.yaml               the resolved run
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.config.strict_yaml import read_yaml_mapping
from pipelines.progress import in_words
from pipelines.redaction import mask_secrets, mask_value
from pipelines.reports.charts import Mark, Series
from pipelines.reports.page_data import (
    Curves,
    Fact,
    FailureRow,
    ReportData,
    StageRow,
    TrialRow,
    VideoCard,
)
from pipelines.training.worker.loss_log import LOSS_PREFIX, NOT_LOSSES
from vis_core.errors import ConfigError

_MEDIA = (".mp4", ".png", ".jpg", ".jpeg")


def collect_report(run_dir: Path) -> ReportData:
    """Reads a run folder, finished or not; raises ConfigError if it has no run files."""
    if not run_dir.is_dir():
        raise ConfigError(f"{run_dir}: expected a run folder, found no folder")
    absent: list[str] = []
    stages = _stages(run_dir, absent)
    curves, marks = _curves(run_dir, absent)
    sweep = _sweep(run_dir, absent)
    final = _final(run_dir, absent)
    videos, failures, archive = _annotations(run_dir, absent)
    config = _config(run_dir, absent)
    if not (stages or curves or sweep or videos or failures or final or config):
        raise ConfigError(
            f"{run_dir}: contains no file of a run (stages.json, losses.jsonl, annotations/…); "
            "pass the folder that `longtake demo`, `train` or `annotate` wrote"
        )
    return ReportData(
        title=f"{config.get('model_name', 'longtake')}: {run_dir.resolve().name}",
        facts=_facts(run_dir, config, stages),
        headlines=_headlines(stages, final, videos, failures),
        notes=_notes(run_dir),
        stages=stages,
        final=final,
        curves=curves,
        marks=marks,
        sweep=sweep,
        videos=videos,
        failures=failures,
        archive=archive,
        absent=tuple(absent),
    )


def _read_json(run_dir: Path, name: str, absent: list[str], part: str) -> Any:
    """Reads a JSON file of the run; if that fails, adds the part to ``absent``."""
    path = run_dir / name
    try:
        if path.is_file():
            return json.loads(path.read_bytes())
        absent.append(f"{part} (no {name})")
    except (ValueError, RecursionError) as error:
        absent.append(f"{part} ({name} is damaged: {mask_secrets(str(error))})")
    return None


def _stages(run_dir: Path, absent: list[str]) -> tuple[StageRow, ...]:
    rows = _read_json(run_dir, "stages.json", absent, "accuracy by stage")
    return tuple(
        StageRow(
            str(row.get("name", "stage")),
            int(_number(row.get("steps")) or 0),
            _number(row.get("seconds")),
            _numbers(row.get("metrics")),
        )
        for row in _dicts(rows)
    )


def _notes(run_dir: Path) -> tuple[str, ...]:
    data = _read_json(run_dir, "data/data.json", [], "notes")
    notes = data.get("notes") if isinstance(data, dict) else None
    return tuple(map(str, notes)) if isinstance(notes, list) else ()


def _final(run_dir: Path, absent: list[str]) -> dict[str, float] | None:
    stats = _read_json(run_dir, "evaluation.json", absent, "scores of the finished system")
    if isinstance(stats, dict):
        inner = stats.get("metrics", stats.get("stats"))
        return _numbers(inner if isinstance(inner, dict) else stats) or None
    return None


def _curves(run_dir: Path, absent: list[str]) -> tuple[Curves, tuple[Mark, ...]]:
    """Reads the losses of all stages, with steps counted across stages."""
    path = run_dir / "losses.jsonl"
    if not path.is_file():
        absent.append("loss curves (no losses.jsonl)")
        return (), ()
    points: dict[str, list[tuple[float, float]]] = {}
    marks: list[Mark] = []
    last = 0.0
    for stage, step, losses in _loss_rows(path):
        if not marks or stage != marks[-1].name:
            marks.append(Mark(last, stage))
        last = marks[-1].x + step
        for name, value in losses.items():
            points.setdefault(name, []).append((last, value))
    series = {
        name: Series(name, tuple(x for x, _ in line), tuple(y for _, y in line))
        for name, line in points.items()
    }
    total = tuple(series[name] for name in series if name == "total")
    parts = tuple(series[name] for name in sorted(series) if name not in NOT_LOSSES)
    groups = (("Total loss", total), ("Losses, unweighted", parts))
    return tuple(group for group in groups if group[1]), tuple(marks)


def _loss_rows(path: Path) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Yields the stage, step and losses; skips damaged lines, which a killed worker may leave."""
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        numbers = _numbers(row)
        if "step" in numbers:
            losses = {
                name.removeprefix(LOSS_PREFIX): value
                for name, value in numbers.items()
                if name.startswith(LOSS_PREFIX)
            }
            yield str(row.get("stage") or "training"), numbers["step"], losses


def _sweep(run_dir: Path, absent: list[str]) -> tuple[TrialRow, ...]:
    name = "sweep.json" if (run_dir / "sweep.json").is_file() else "sweep/sweep.json"
    table = _read_json(run_dir, name, absent, "threshold sweep")
    if not isinstance(table, dict):
        return ()
    rows = [
        TrialRow(
            trial["values"],
            _number(trial.get("ap")),
            "before the sweep" if trial["values"] == table.get("start") else "",
        )
        for trial in _dicts(table.get("trials"))
        if isinstance(trial.get("values"), dict)
    ]
    return tuple(sorted(rows, key=lambda row: -(row.score if row.score is not None else -1.0)))


def _annotations(
    run_dir: Path, absent: list[str]
) -> tuple[tuple[VideoCard, ...], tuple[FailureRow, ...], tuple[Fact, ...]]:
    summary = _read_json(run_dir, "annotations/summary.json", absent, "annotated videos")
    rows = _dicts(summary.get("videos") if isinstance(summary, dict) else summary)
    media = {p.stem: p for p in sorted((run_dir / "overlays").glob("*")) if p.suffix in _MEDIA}
    cards, failures = [], []
    for row in rows:
        name = str(row.get("name", row.get("video", "video")))
        reason = row.get("reason") or row.get("error")
        if row.get("status") == "failed" or (reason and row.get("status") != "done"):
            failures.append(FailureRow(name, mask_secrets(str(reason or "no reason recorded"))))
            continue
        overlay = run_dir / str(row["overlay"]) if row.get("overlay") else None
        if overlay is None or not overlay.is_file():
            overlay = media.get(name) or media.get(Path(name).stem)
        cards.append(VideoCard(name, overlay, _card_facts(row, reason)))
    if not rows:
        cards = [VideoCard(name, path) for name, path in media.items()]
    if without := sum(card.media is None for card in cards):
        absent.append(f"the overlays of {without} of {len(cards)} annotated videos")
    return tuple(cards), tuple(failures), _archive_facts(rows, len(failures))


def _card_facts(row: Mapping[str, Any], warning: object) -> tuple[Fact, ...]:
    facts = [
        Fact(name if row[name] != 1 else name.removesuffix("s"), f"{row[name]:,}")
        for name in ("frames", "tracks")
        if isinstance(row.get(name), int)
    ]
    if (seconds := _number(row.get("seconds"))) is not None:
        facts.append(Fact("", in_words(seconds)))
    return (*facts, Fact("", mask_secrets(str(warning)))) if warning else tuple(facts)


def _archive_facts(rows: list[dict[str, Any]], failed: int) -> tuple[Fact, ...]:
    if not rows:
        return ()
    counts = {"files": len(rows), "annotated": len(rows) - failed, "failed": failed}
    for name in ("frames", "tracks"):
        counts[name] = sum(row[name] for row in rows if isinstance(row.get(name), int))
    return tuple(Fact(name, f"{count:,}") for name, count in counts.items())


def _config(run_dir: Path, absent: list[str]) -> dict[str, Any]:
    path = run_dir / "config.yaml"
    if not path.is_file():
        absent.append("the config of the run (no config.yaml)")
        return {}
    return read_yaml_mapping(path)


def _facts(
    run_dir: Path, config: Mapping[str, Any], stages: tuple[StageRow, ...]
) -> tuple[Fact, ...]:
    facts = []
    system, inference = config.get("system"), config.get("inference")
    if isinstance(system, dict) and "name" in system:
        facts.append(Fact("system", str(system["name"])))
    if "seed" in config:
        facts.append(Fact("seed", mask_value("seed", config["seed"])))
    views = inference.get("views") if isinstance(inference, dict) else None
    if isinstance(views, list) and views:
        facts.append(Fact("views", mask_secrets(", ".join(map(str, views)))))
    if config:
        digest = hashlib.sha256((run_dir / "config.yaml").read_bytes()).hexdigest()
        facts.append(Fact("config.yaml sha256", digest[:12]))
    if stages:
        finished = datetime.fromtimestamp((run_dir / "stages.json").stat().st_mtime, tz=UTC)
        facts.append(Fact("trained", f"{finished:%Y-%m-%d %H:%M} UTC"))
        facts.append(Fact("training steps", f"{sum(stage.steps for stage in stages):,}"))
    return tuple(facts)


def _headlines(
    stages: tuple[StageRow, ...],
    final: Mapping[str, float] | None,
    videos: tuple[VideoCard, ...],
    failures: tuple[FailureRow, ...],
) -> tuple[Fact, ...]:
    metrics = final or (stages[-1].metrics if stages else {})
    facts = [
        Fact(name, f"{value:.3f}")
        for key, name in (("ap", "video AP"), ("ap50", "AP50"))
        if (value := metrics.get(key, metrics.get(f"val/{key}", -1.0))) >= 0
    ]
    times = [stage.seconds for stage in stages if stage.seconds is not None]
    if times:
        facts.append(Fact("training time", in_words(sum(times))))
    if videos or failures:
        facts.append(Fact("videos annotated", f"{len(videos):,}"))
    if failures:
        facts.append(Fact("failed", f"{len(failures):,}"))
    return tuple(facts)


def _dicts(rows: object) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _numbers(values: object) -> dict[str, float]:
    items = values.items() if isinstance(values, dict) else ()
    return {str(key): value for key, found in items if (value := _number(found)) is not None}
