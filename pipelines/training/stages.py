"""Runs the stages of a training: stage k starts from the weights of stage k - 1."""

import json
import logging
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipelines.config.loading import digest
from pipelines.config.run import RunConfig, StageConfig
from pipelines.data.run_data import RunData
from pipelines.registry.start_weights import START, start_folder
from pipelines.results.score import LabelledVideos, score_model
from pipelines.storage.open import absolute_uri
from pipelines.training.batches import BatchPlan
from pipelines.training.clip_sources import clip_source
from pipelines.training.listener import StageResult, TrainingListener
from pipelines.training.ray_trainer import run_stage, stage_threads
from pipelines.training.validation import StageScores
from pipelines.training.worker.job import StageJob, scores_file
from vis_core.errors import ConfigError
from vis_core.files import write_json
from vis_core.models.systems.build import build_system

# In the evaluation folder of a stage: its scores on validation videos, by step.
ON_THE_WAY = "on_the_way.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlace:
    """Says where a training reads and writes.

    Attributes:
        folder: Of the run.
        data: What is trained and scored on.
        pseudo: Folder of the pseudo-videos.
    """

    folder: Path
    data: RunData
    pseudo: Path

    @property
    def losses(self) -> Path:
        """Where the losses of all stages go."""
        return self.folder / "losses.jsonl"

    def model(self, stage: str) -> Path:
        """Where the model of a stage goes."""
        return self.folder / "models" / stage


def run_stages(
    config: RunConfig,
    place: TrainingPlace,
    listener: TrainingListener | None = None,
    only: str | None = None,
) -> list[StageResult]:
    """Trains and scores every stage that is not finished yet.

    Args:
        config: Of the run.
        place: Where to read and write.
        listener: Is told of losses, scores and finished stages, also of one finished before.
        only: Name of the one stage that is trained, those before it being finished; None for all.

    Raises:
        ConfigError: There is no such stage, or one before it is not finished.
    """
    names = [stage.name for stage in config.stages]
    if only is not None and only not in names:
        raise ConfigError(f"--stage {only}: no such stage; the run has {', '.join(names)}")
    listener = listener or TrainingListener()
    check_losses(config, len(place.data.categories))
    start = start_folder(config, place.folder / START)
    results: list[StageResult] = []
    key = digest(
        config.seed,
        config.system,
        config.augment,
        config.pairs,
        config.supervision,
        config.pseudo,
        config.clips_per_image,
        config.stream_pseudo,
        str(start),
        place.data.categories.names,
    )
    for stage in config.stages:
        key = digest(key, stage)
        result = _finished(place, stage, key)
        if result is None:
            if only not in (None, stage.name):
                raise ConfigError(
                    f"--stage {only}: stage {stage.name} before it is not finished; train it first"
                )
            if stage.start_from is not None:
                start = start_folder(config, place.folder / START, stage)
            result = _train_and_score(config, stage, place, start, key, listener)
        else:
            _log.info("stage %s is finished, nothing to do", stage.name)
        results.append(result)
        start = result.model
        listener.finished(result)
        if stage.name == only:
            break
    _write_table(place.folder / "stages.json", results)
    return results


def check_losses(config: RunConfig, num_classes: int) -> None:
    """Refuses weights of losses that the system does not have.

    Raises:
        ConfigError: With the key and the losses that there are.
    """
    if not any(stage.loss_weights for stage in config.stages):
        return
    with torch.device("meta"):
        known = sorted(build_system(config.system, num_classes).loss_weights)
    for number, stage in enumerate(config.stages):
        for name in stage.loss_weights:
            if name not in known:
                raise ConfigError(
                    f"stages.{number}.loss_weights.{name}: {config.system.name} has no such loss; "
                    f"it has {', '.join(known)}"
                )


def batch_plan(config: RunConfig, stage: StageConfig, place: TrainingPlace, key: str) -> BatchPlan:
    """Says which batches a stage sees.

    Args:
        config: Of the run.
        stage: The stage.
        place: Where its data is.
        key: Names the stage with its settings and all before it.
    """
    return BatchPlan(
        make_source=clip_source(config, stage, place.data, place.pseudo),
        key=key,
        seed=int(digest(config.seed, stage.name), 16),
        num_steps=stage.steps,
        batch_size=stage.batch_size,
        world_size=config.ray.num_workers,
    )


def _train_and_score(
    config: RunConfig,
    stage: StageConfig,
    place: TrainingPlace,
    start: Path | None,
    key: str,
    listener: TrainingListener,
) -> StageResult:
    started = time.monotonic()
    plan = batch_plan(config, stage, place, key)
    job = StageJob(
        config,
        stage,
        place.data.categories,
        start,
        place.folder,
        key,
        stage_threads(config),
        absolute_uri(config.checkpoints.storage),
    )
    model = place.model(stage.name)
    frames = place.data.videos.frames
    scores = StageScores(
        job, LabelledVideos(place.data.videos.val, frames), partial(listener.scored, stage.name)
    )
    with scores:
        run_stage(job, plan, model, listener.losses)
    best = scores.best()
    evaluation = place.folder / "evaluation" / stage.name
    if best is not None:
        evaluation.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scores_file(job.candidates), evaluation / ON_THE_WAY)
        _log.info("stage %s: the model of step %d is the best", stage.name, best[0])
        if stage.keep == "best":
            shutil.copytree(best[1], model, dirs_exist_ok=True)
    seconds = time.monotonic() - started
    videos = LabelledVideos(place.data.videos.test, frames)
    metrics = score_model(
        model,
        videos,
        evaluation,
        config.inference,
        f"score {stage.name}",
    )
    result = StageResult(stage.name, stage.steps, seconds, metrics, model)
    _mark_finished(place, result, key)
    # the model folder holds what is needed
    job.checkpoints.remove()
    shutil.rmtree(job.work, ignore_errors=True)
    return result


def _marker(place: TrainingPlace, stage: str) -> Path:
    return place.folder / "evaluation" / stage / "finished.json"


def _mark_finished(place: TrainingPlace, result: StageResult, key: str) -> None:
    write_json(_marker(place, result.name), _row(result) | {"key": key}, indent=2)


def _finished(place: TrainingPlace, stage: StageConfig, key: str) -> StageResult | None:
    """Reads the result of a stage that was finished with the same settings, if there is one."""
    path = _marker(place, stage.name)
    if not path.is_file():
        return None
    row = json.loads(path.read_text())
    if row["key"] != key or not place.model(stage.name).is_dir():
        return None
    return StageResult(
        row["name"], row["steps"], row["seconds"], row["metrics"], place.model(stage.name)
    )


def _row(result: StageResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "metrics": result.metrics,
    }


def _write_table(path: Path, results: list[StageResult]) -> None:
    write_json(path, [_row(result) for result in results], indent=2)
