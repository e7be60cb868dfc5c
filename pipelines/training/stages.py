"""Training stages in sequence, each starting from the weights of the previous one."""

import json
import logging
import shutil
import time
from dataclasses import dataclass, replace
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
from pipelines.training.clip_sources import clip_source, in_steps, with_instances_counted
from pipelines.training.listener import StageResult, TrainingListener
from pipelines.training.ray_trainer import run_stage, stage_threads
from pipelines.training.validation import StageScores
from pipelines.training.worker.job import StageJob, scores_file
from pipelines.training.worker.notes import BadImages
from vis_core.errors import ConfigError
from vis_core.files import write_json
from vis_core.models.systems.build import build_system
from vis_core.models.systems.transfer import planned_transfer

# File in a stage's evaluation folder with the stage's validation scores by step.
ON_THE_WAY = "on_the_way.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlace:
    """The training files in a run folder; ``pseudo`` is the folder of pseudo-videos."""

    folder: Path
    data: RunData
    pseudo: Path

    @property
    def losses(self) -> Path:
        """The file with the losses of all stages."""
        return self.folder / "losses.jsonl"

    @property
    def validation_videos(self) -> LabelledVideos:
        """The videos on which models are scored while a stage runs."""
        return LabelledVideos(
            self.data.videos.val, self.data.videos.frames_of(self.data.videos.val)
        )

    @property
    def test_videos(self) -> LabelledVideos:
        """The videos on which finished stages are scored."""
        return LabelledVideos(
            self.data.videos.test, self.data.videos.frames_of(self.data.videos.test)
        )

    def model(self, stage: str) -> Path:
        """Returns a stage's model folder."""
        return self.folder / "models" / stage

    def evaluation(self, stage: str) -> Path:
        """Returns the folder with a stage's scores."""
        return self.folder / "evaluation" / stage


def run_stages(
    config: RunConfig, place: TrainingPlace, listener: TrainingListener, only: str | None = None
) -> list[StageResult]:
    """Trains and scores every stage that is not finished yet.

    Args:
        listener: Receives losses, scores and finished stages, including those finished earlier.
        only: Name of the only stage to train, whose predecessors must be finished; None means all.

    Raises:
        ConfigError: The stage does not exist, or an earlier one is not finished.
    """
    if only is not None:
        config.stages_before(only)
    check_losses(config, len(place.data.categories))
    config = with_instances_counted(config, place.data)
    start = start_folder(config, place.folder / START)
    key = _start_key(config, start, place.data)
    results: list[StageResult] = []
    start_classes = None  # of the previous stage; None for models from elsewhere
    for stage in config.stages:
        key = digest(key, stage)
        classes = place.data.stage_categories(stage.classes).names
        result = _finished_result(place, stage, key)
        if result is not None:
            _log.info("stage %s is finished, nothing to do", stage.name)
        elif only not in (None, stage.name):
            raise ConfigError(
                f"--stage {only}: stage {stage.name} before it is not finished; train it first"
            )
        else:
            if stage.start_from is not None:
                start = start_folder(config, place.folder / START, stage)
                start_classes = None
            if start is not None and (stage.start_from is not None or not results):
                categories = place.data.stage_categories(stage.classes)
                transfer = planned_transfer(config.system, start, categories)[1]
                _log.info("stage %s: of the start weights, %s", stage.name, transfer.describe())
            fresh = start_classes not in (None, classes)
            result = _train_and_score(
                config, stage, place, start, key, listener, fresh_classes=fresh
            )
        results.append(result)
        start, start_classes = result.model, classes
        listener.finished(result)
        if stage.name == only:
            break
    write_json(place.folder / "stages.json", [_row(result) for result in results], indent=2)
    return results


def with_steps(config: RunConfig, place: TrainingPlace) -> RunConfig:
    """Converts the epochs of all stages to steps, for which the data must exist."""
    stages = []
    for stage in config.stages:
        if stage.epochs is not None:
            clips = len(clip_source(config, stage, place.data, place.pseudo)())
            counted = in_steps(stage, clips, config.ray.num_workers)
            _log.info(
                "stage %s: %d steps (epochs: %g, clips: %d)",
                *(stage.name, counted.num_steps, stage.epochs, clips),
            )
            stage = counted
        stages.append(stage)
    return config.model_copy(update={"stages": tuple(stages)})


def check_losses(config: RunConfig, num_classes: int) -> None:
    """Raises a ConfigError if a stage sets weights for losses that the system lacks."""
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
    """Returns the plan for a stage's batches; ``key`` is that of the ``StageJob``."""
    return BatchPlan(
        make_source=clip_source(config, stage, place.data, place.pseudo),
        key=key,
        seed=int(digest(config.seed, stage.name), 16),
        num_steps=stage.num_steps,
        batch_size=stage.batch_size,
        world_size=config.ray.num_workers,
        group_by_aspect=stage.group_by_aspect,
    )


def _train_and_score(
    config: RunConfig,
    stage: StageConfig,
    place: TrainingPlace,
    start: Path | None,
    key: str,
    listener: TrainingListener,
    *,
    fresh_classes: bool,
) -> StageResult:
    started = time.monotonic()
    categories = place.data.stage_categories(stage.classes)
    job = StageJob(
        config,
        stage,
        categories,
        start,
        place.folder,
        key,
        stage_threads(config),
        absolute_uri(config.checkpoints.storage),
        fresh_classes,
    )
    plan = batch_plan(config, stage, place, key)
    plan = replace(plan, on_damage=BadImages(job.bad_images_path, job.notes_path).add)
    _train(job, plan, place, listener)
    seconds = time.monotonic() - started
    model, evaluation = place.model(stage.name), place.evaluation(stage.name)
    metrics: dict[str, float] = {}
    if set(categories.names) == set(place.data.categories.names):
        metrics = score_model(
            model, place.test_videos, evaluation, config.inference, f"score {stage.name}"
        )
    result = StageResult(stage.name, stage.num_steps, seconds, metrics, model)
    if not metrics:
        _log.info("stage %s is %s", stage.name, result.score)
    write_json(_marker(place, stage.name), _row(result) | {"key": key}, indent=2)
    # the model folder is complete, so checkpoints and candidates can be removed
    job.checkpoints.remove()
    shutil.rmtree(job.work, ignore_errors=True)
    return result


def _train(
    job: StageJob, plan: BatchPlan, place: TrainingPlace, listener: TrainingListener
) -> None:
    """Trains a stage, scores models meanwhile, and writes the stage's model folder."""
    stage, model = job.stage, place.model(job.stage.name)
    on_scores = partial(listener.scored, stage.name)
    with StageScores(job, place.validation_videos, on_scores) as scores:
        run_stage(job, plan, model, listener.losses)
    best = scores.best()
    if best is None:
        return
    step, folder = best
    _log.info("stage %s: the model of step %d is the best", stage.name, step)
    evaluation = place.evaluation(stage.name)
    evaluation.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(scores_file(job.candidates), evaluation / ON_THE_WAY)
    if stage.keep == "best":
        shutil.copytree(folder, model, dirs_exist_ok=True)


def _start_key(config: RunConfig, start: Path | None, data: RunData) -> str:
    """Returns a digest of the start weights, classes and settings on which every stage depends."""
    return digest(
        config.seed,
        config.system,
        config.augment,
        config.pairs,
        config.supervision,
        config.pseudo,
        config.clips_per_image,
        config.stream_pseudo,
        str(start),
        config.left_out,
        data.categories.names,
        data.stage_categories("images").names,
        data.class_map and dict(data.class_map.names),
    )


def _finished_result(place: TrainingPlace, stage: StageConfig, key: str) -> StageResult | None:
    """Reads the result of a stage finished with the same settings, or returns None."""
    path = _marker(place, stage.name)
    if not path.is_file():
        return None
    row = json.loads(path.read_text())
    if row["key"] != key or not place.model(stage.name).is_dir():
        return None
    return StageResult(
        row["name"], row["steps"], row["seconds"], row["metrics"], place.model(stage.name)
    )


def _marker(place: TrainingPlace, stage: str) -> Path:
    return place.evaluation(stage) / "finished.json"


def _row(result: StageResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "metrics": result.metrics,
    }
