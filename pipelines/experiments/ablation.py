"""Ablation tables, whose rows are trained, annotated and scored once per seed.

<out>/seed_<s>/<training>/      a run folder (see ``pipelines/run/steps.py``)
<out>/seed_<s>/<training>/models/<digest>, evaluation/<digest>    digest of a row's settings
<out>/table.json, table.md
Finished parts are not repeated, so the same command resumes after an interruption.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config.loading import digest, load_run_config
from pipelines.config.run import RunConfig
from pipelines.data.given_data import GivenData
from pipelines.data.run_classes import ClassTable
from pipelines.data.run_data import RunData
from pipelines.experiments.ablation_tables import AblationRow, AblationTable, Overrides
from pipelines.progress import Progress
from pipelines.results.ensemble_files import fuse_files
from pipelines.results.score import LabelledVideos, evaluate_file, score_model
from pipelines.run.folder import Run, check_settings, open_run
from pipelines.run.steps import make_pseudo_videos, prepare, save_changed, train
from vis_core.files import write_json, write_text

COLUMNS = ("ap", "ap50", "ap75", "ar1", "ar10")


@dataclass(frozen=True)
class AblationJob:
    """A table with its run files, seeds and data."""

    table: AblationTable
    sources: Mapping[str, Path]  # the run files that the rows change, by their names in the table
    overrides: tuple[str, ...]  # changes that all rows share
    seeds: tuple[int, ...]  # for data, weights and order; every row runs once per seed
    given: GivenData
    out: Path

    def config(self, row: AblationRow, seed: int, *, inference: bool) -> RunConfig:
        """Returns a row's settings, or its training settings if ``inference`` is False."""
        changes = (*self.table.shared, *self.overrides, f"seed={seed}", *row.training)
        source = self.sources[row.run_file]
        return load_run_config(source, (*changes, *(row.inference if inference else ())))


@dataclass(frozen=True)
class RowScores:
    """A row's scores, one dict per seed."""

    name: str
    scores: tuple[dict[str, float], ...]

    def mean(self, column: str) -> float:
        """Returns a column's mean over the seeds."""
        return statistics.fmean(score[column] for score in self.scores)

    def spread(self, column: str) -> float:
        """Returns a column's standard deviation over the seeds; 0 for one seed."""
        values = [score[column] for score in self.scores]
        return statistics.stdev(values) if len(values) > 1 else 0.0


def check(job: AblationJob, classes: ClassTable | None = None) -> None:
    """Checks every row before the first one starts; ``classes`` are from ``check_given``."""
    for row in job.table.rows:
        job.config(row, job.seeds[0], inference=True)
        for seed in () if row.fused else job.seeds:
            check_settings(_run_of(job, row, seed), classes)


def run_ablation(job: AblationJob) -> list[RowScores]:
    """Trains, annotates and scores all unfinished rows, and writes the table; needs Ray."""
    trainings = {(row.run_file, row.training) for row in job.table.rows if not row.fused}
    scores: dict[str, list[dict[str, float]]] = {row.name: [] for row in job.table.rows}
    with Progress(len(job.seeds) * len(trainings), "trainings", "ablation") as progress:
        for seed in job.seeds:
            trained: dict[tuple[str, Overrides], _Trained] = {}
            results: dict[str, Path] = {}
            for row in job.table.rows:
                key = row.run_file, row.training
                if not row.fused and key not in trained:
                    trained[key] = _train(job, row, seed)
                    progress.update(1)
                model = next(iter(trained.values())) if row.fused else trained[key]
                results[row.name] = _result(job, row, seed, model, results)
                test = model.data.videos.test
                scores[row.name].append(evaluate_file(test, results[row.name]))
    rows = [RowScores(name, tuple(of_seeds)) for name, of_seeds in scores.items()]
    write_json(job.out / "table.json", to_json(job, rows))
    write_text(job.out / "table.md", markdown(job.table, rows, job.seeds))
    return rows


def markdown(table: AblationTable, rows: Sequence[RowScores], seeds: Sequence[int]) -> str:
    """Formats the table as Markdown, with mean and standard deviation over the seeds."""
    lines = [
        f"{table.title}; {len(seeds)} seed{'s' if len(seeds) > 1 else ''}, mean ± deviation",
        "",
        "| | " + " | ".join(column.upper() for column in COLUMNS) + " |",
        "| --- |" + " --- |" * len(COLUMNS),
    ]
    for row in rows:
        cells = [f"{row.mean(column):.3f} ± {row.spread(column):.3f}" for column in COLUMNS]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *(["", table.note] if table.note else []), ""])


@dataclass(frozen=True)
class _Trained:
    """A finished training run with its data and the model of its last stage."""

    run: Run
    data: RunData
    model: Path


def _train(job: AblationJob, row: AblationRow, seed: int) -> _Trained:
    """Trains a row's stages; rows with equal training settings share one model."""
    run = _run_of(job, row, seed)
    open_run(run)
    data = prepare(run)
    stages = train(run, data, make_pseudo_videos(run, data))
    return _Trained(run, data, stages[-1].model)


def _run_of(job: AblationJob, row: AblationRow, seed: int) -> Run:
    config = job.config(row, seed, inference=False)
    name = _folder_name(row.training)
    if row.run_file != job.table.run_file:
        name = f"{Path(row.run_file).stem}_{name}"
    return Run(job.out / f"seed_{seed}" / name, config, job.given)


def _result(
    job: AblationJob, row: AblationRow, seed: int, trained: _Trained, earlier: dict[str, Path]
) -> Path:
    """Annotates the test videos or fuses earlier results, and returns the results file."""
    config = job.config(row, seed, inference=True)
    if row.fused:
        fused = job.out / f"seed_{seed}" / f"fused-{digest(row.fused)}.json"
        fuse_files([earlier[name] for name in row.fused], fused, config.inference.fusion)
        return fused
    name, folder = digest(config.system, config.inference), trained.run.folder
    out = folder / "evaluation" / name
    finished = out / "row.json"
    if not finished.is_file():
        changed = folder / "models" / name
        save_changed(trained.model, changed, config.system)
        videos = LabelledVideos(
            trained.data.videos.test, trained.data.videos.frames_of(trained.data.videos.test)
        )
        write_json(finished, score_model(changed, videos, out, config.inference, row.name))
    return out / "results.json"


def _folder_name(training: Overrides) -> str:
    """Returns a folder name made of the changed keys and values, or else a digest."""
    changes = [change.partition("=") for change in training]
    pairs = [f"{key.rpartition('.')[2]}-{value}" for key, _, value in changes]
    readable = "_".join(pairs) or "unchanged"
    is_plain = readable.replace("-", "").replace("_", "").isalnum()
    return readable if is_plain and len(readable) <= 60 else digest(training)


def to_json(job: AblationJob, rows: Sequence[RowScores]) -> dict[str, Any]:
    """Returns the table as JSON values."""
    return {
        "title": job.table.title,
        "seeds": list(job.seeds),
        "rows": [{"name": row.name, "scores": list(row.scores)} for row in rows],
    }
