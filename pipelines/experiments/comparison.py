"""Comparison of the systems' tiny presets by their settings, scores and learning curves."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.config.run import RunConfig
from pipelines.data.run_data import RunData
from pipelines.reports.charts import Series
from pipelines.reports.page import write_report
from pipelines.reports.page_data import ReportData
from pipelines.run.folder import Run
from pipelines.training.listener import StageResult
from pipelines.training.stages import ON_THE_WAY
from pipelines.training.worker.loss_log import read_losses
from vis_core.errors import ConfigError
from vis_core.evaluation.identity import evaluate_identity
from vis_core.evaluation.loading import load_ground_truth, load_results

# Tracks with lower scores do not count as identities, as in ``longtake evaluate --identity``.
MIN_SCORE = 0.5
_COLUMNS = ("AP", "AP50", "AR10", "HOTA", "IDF1")


@dataclass(frozen=True)
class LearntRow:
    """One system's scores on the held-out videos."""

    system: str
    scores: dict[str, float]  # AP, AP50, AR10, HOTA and IDF1, with swept thresholds
    unswept_ap: float  # AP after the last stage, with the run file's thresholds
    steps: int  # of all stages
    minutes: float  # of training, including validation
    seed: int


def learnt_row(
    system: str, run: Run, data: RunData, stages: Sequence[StageResult], metrics: dict[str, float]
) -> LearntRow:
    """Builds the row for a finished run; ``metrics`` are its scores on the test videos."""
    truth = load_ground_truth(data.videos.test)
    results = load_results(run.folder / "evaluation" / "final" / "results.json", truth)
    identity = evaluate_identity(truth, results, MIN_SCORE)
    scores = {name: metrics[name.lower()] for name in ("AP", "AP50", "AR10")}
    return LearntRow(
        system=system,
        scores={**scores, "HOTA": identity.hota, "IDF1": identity.idf1},
        unswept_ap=stages[-1].metrics["ap"],
        steps=sum(stage.steps for stage in stages),
        minutes=sum(stage.seconds for stage in stages) / 60,
        seed=run.config.seed,
    )


def markdown(rows: Sequence[LearntRow]) -> str:
    """Formats the rows as a Markdown table."""
    names = ("system", "steps", "minutes", *_COLUMNS, "AP unswept", "seed")
    lines = ["| " + " | ".join(names) + " |", "| --- |" + " --- |" * (len(names) - 1)]
    for row in rows:
        cells = [row.system, f"{row.steps:,}", f"{row.minutes:.0f}"]
        cells += [f"{row.scores[name]:.3f}" for name in _COLUMNS]
        lines.append("| " + " | ".join([*cells, f"{row.unswept_ap:.3f}", str(row.seed)]) + " |")
    return "\n".join(lines) + "\n"


def write_learning_curves(path: Path, runs: Sequence[tuple[str, Run]]) -> None:
    """Draws training loss and validation AP over the steps of all stages."""
    losses = tuple(_loss_series(name, run) for name, run in runs)
    scores = tuple(_validation_series(name, run) for name, run in runs)
    curves = (("Training loss, weighted sum", losses), ("AP on validation videos", scores))
    write_report(path, ReportData(f"Learning curves: {path.parent.name}", curves=curves))


def _loss_series(name: str, run: Run) -> Series:
    starts = run.config.stage_starts
    rows = [row for row in read_losses(run.folder / "losses.jsonl") if row["stage"] in starts]
    steps = tuple(starts[row["stage"]] + row["step"] for row in rows)
    return Series(name, steps, tuple(row.get("train/loss/total", math.nan) for row in rows))


def _validation_series(name: str, run: Run) -> Series:
    points: list[tuple[int, float]] = []
    for stage, start in run.config.stage_starts.items():
        path = run.folder / "evaluation" / stage / ON_THE_WAY
        if path.is_file():
            scores = json.loads(path.read_text())
            points += [(start + int(step), score["ap"]) for step, score in scores.items()]
    steps, values = zip(*sorted(points), strict=True) if points else ((), ())
    return Series(name, steps, values, smooth=False)


# Each system's preset and the steps of its stages, for at most an hour of training.
SYSTEMS: dict[str, tuple[str, tuple[int, ...]]] = {
    "ctvis": ("tiny", (1000, 700, 700)),
    "idol": ("idol_tiny", (2200, 2000, 2600)),
    "minvis": ("minvis_tiny", (1000, 1000)),
    "stc": ("stc_tiny", (1500, 1000)),
}

# Learning rates for systems whose preset's rates suit only the demo's few steps.
_RATES = {"ctvis": (5.0e-4, 5.0e-4, 3.0e-4)}

# Steps for training from random weights, mostly on images: masks are learnt slowly from scratch.
FROM_SCRATCH: dict[str, tuple[int, ...]] = {
    "ctvis": (3700, 700, 800),
    "idol": (4000, 1800, 2000),
    "minvis": (4500, 900),
    "stc": (3500, 1000),
}

# Ten times as many scenes as in the demo, where a sweep gained 0.12 AP on the eight validation
# videos but lost 0.11 AP on the twelve test videos.
_SCENES = (
    "synthetic.images=2400",
    "synthetic.train_videos=160",
    "synthetic.val_videos=40",
    "synthetic.test_videos=60",
)

_SCORE_EVERY = 500  # steps between two points of the learning curve


def learning_changes(name: str) -> list[str]:
    """Returns changes to a preset for more steps, more scenes and validation during training."""
    changes = list(_SCENES)
    for number, steps in enumerate(SYSTEMS[name][1]):
        stage = f"stages.{number}"
        changes += [f"{stage}.steps={steps}", f"{stage}.checkpoint_every=100"]
        changes += [f"{stage}.evaluate_every={_SCORE_EVERY}", f"{stage}.keep=last"]
    for number, rate in enumerate(_RATES.get(name, ())):
        changes.append(f"stages.{number}.optimizer.learning_rate={rate:.6f}")
    return changes


def scratch_changes(name: str, backbone: Path) -> list[str]:
    """Returns the additional changes for a system that starts from the backbone of ``learn``."""
    changes = [f"stages.{k}.steps={steps}" for k, steps in enumerate(FROM_SCRATCH[name])]
    changes += [f"start_from={json.dumps(str(backbone))}", "stages.0.evaluate_every=1000"]
    changes.append("synthetic.images=9600")
    if name != "stc":
        changes.append("stages.0.optimizer.backbone_factor=1.0")
    if name in ("ctvis", "minvis"):
        optimizer = {"name": "muon", "learning_rate": "2.0e-3", "warmup_steps": 300}
        changes += [f"stages.0.optimizer.{key}={value}" for key, value in optimizer.items()]
        changes.append("system.segmentor.train_batch_norm=true")
        # queries learn classes slowly, and even more slowly from crops
        changes += ["stages.0.loss_weights={class: 4.0}", "augment.crop_probability=0.0"]
    return changes


def shared_batches(config: RunConfig, workers: int) -> list[str]:
    """Returns the changes that divide each batch among data-parallel workers.

    Raises ConfigError if a batch cannot be divided equally.
    """
    changes = [f"ray.num_workers={workers}"]
    for number, stage in enumerate(config.stages):
        if workers < 1 or stage.batch_size % workers:
            raise ConfigError(
                f"--workers: expected a number that divides the {stage.batch_size} clips of a "
                f"batch of {config.system.name} (stage {stage.name}), found {workers}"
            )
        changes.append(f"stages.{number}.batch_size={stage.batch_size // workers}")
    return changes
