"""A small training in a child process that can be killed at any of its steps."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipelines.config.optimizer import OptimizerSettings
from pipelines.config.run import CheckpointConfig, RunConfig, StageConfig
from pipelines.storage.local import LocalStorage
from pipelines.storage.s3 import S3Storage
from pipelines.training.batches import BatchPlan
from pipelines.training.worker import loop as train_loop
from pipelines.training.worker.job import StageJob
from pipelines.training.worker.loss_log import LossLog
from tests.helpers.killing import Events, num_events, run_child
from tests.helpers.presets import tiny_config
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.formats.categories import numbered
from vis_core.structures import Clip

STEPS = 9
# the training's steps before, after, or (by file size) inside which a kill may come
_EVENTS: tuple[tuple[Any, str], ...] = (
    (train_loop, "train_step"),
    (LossLog, "_write"),
    (LocalStorage, "_write_partial"),
    (LocalStorage, "delete"),
    (S3Storage, "_put"),
    (S3Storage, "delete"),
)


class Scenes:
    """A clip source of six scenes of two frames."""

    def __len__(self) -> int:
        return 6

    def clip(self, index: int, seed: int) -> Clip:
        return render_scene(SceneSettings(height=32, width=64), 2, seed % 1000 + index)


@dataclass(frozen=True)
class Training:
    """A run in a folder: the parameters of a child process.

    Attributes:
        folder: The run's folder.
        storage: The checkpoints' storage; None means in the folder.
        environment: The child's environment variables.
        changes: Settings of the stage that differ.
    """

    folder: Path
    storage: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def job(self) -> StageJob:
        stage = StageConfig(
            name="videos",
            clips="videos",
            steps=STEPS,
            batch_size=1,
            checkpoint_every=2,
            ema_decay=0.8,
            optimizer=OptimizerSettings(learning_rate=1e-3),
        ).model_copy(update=self.changes)
        config = RunConfig(
            system=tiny_config("stc"),
            stages=(stage,),
            checkpoints=CheckpointConfig(storage=self.storage),
        )
        categories = numbered(CLASS_NAMES)
        return StageJob(config, stage, categories, None, self.folder, "key", 1, self.storage)

    def run(self, kill_at: int | None = None) -> int:
        """Trains in a child; returns its exit code (-9 if it was killed)."""
        return run_child(_train, self, kill_at)

    def run_to_the_end(self, kill_at: int) -> None:
        """Trains, is killed once, and continues to the end."""
        assert self.run(kill_at) == -signal.SIGKILL
        assert self.run() == 0

    def in_(self, folder: Path) -> "Training":
        """Returns the same training in another folder."""
        return replace(self, folder=folder)

    def num_events(self) -> int:
        """Returns the number of places to kill it, after an undisturbed run."""
        return num_events(self.folder)


def _train(training: Training, kill_at: int | None) -> None:
    os.environ.update(training.environment)
    training.folder.mkdir(parents=True, exist_ok=True)
    events = Events(kill_at, _EVENTS)
    job = training.job
    loop = train_loop.StageLoop(job, 0, torch.device("cpu"))
    loop.run(_batches(loop.first_step))
    events.write(training.folder)


def _batches(first_step: int) -> Iterator[Any]:
    plan = BatchPlan(partial(Scenes), "scenes", 3, STEPS, 1, 1)
    return ((step, plan.batch(0, step)) for step in range(first_step, STEPS))
