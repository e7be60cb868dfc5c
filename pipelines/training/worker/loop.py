"""One worker's training loop for a stage: restore, step, save. This module needs no Ray.

The result depends only on the settings, because batches, sampled points and noise are drawn from
(seed, rank, step) and a checkpoint contains everything that a later step needs. So a run that is
killed and resumed ends with the same weights and loss lines as an uninterrupted one.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pipelines.training.worker.checkpoints import CheckpointWriter
from pipelines.training.worker.divergence import BadSteps
from pipelines.training.worker.ema import AveragedWeights, load_averaged
from pipelines.training.worker.job import StageJob, candidate_folder, read_scores
from pipelines.training.worker.loss_log import LossLog
from pipelines.training.worker.machine_use import MachineUse
from pipelines.training.worker.notes import add_note
from pipelines.training.worker.optimizers import build_optimizer, rate_factor, set_rate
from pipelines.training.worker.step import StepOutcome, StepSettings, train_step
from vis_core.config.model_files import CATEGORIES_FILE
from vis_core.models.layers.recomputation import recompute_layers
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system, load_system, save_system
from vis_core.models.systems.transfer import start_from
from vis_core.structures import ClipBatch

_STATE_FILE = "optimizer.pt"
Batches = Iterator[tuple[int, ClipBatch]]


class StageLoop:
    """The training of one stage in one worker.

    Args:
        rank: Rank of this worker; rank 0 writes losses and checkpoints.
        wrap: Function that makes the trained system data-parallel.
    """

    def __init__(
        self,
        job: StageJob,
        rank: int,
        device: torch.device,
        wrap: Callable[[System], Any] = lambda system: system,
    ) -> None:
        self._job, self._rank, self._device = job, rank, device
        torch.set_num_threads(job.threads)
        if device.type == "cpu":
            repeat_sums_exactly()
        torch.manual_seed(job.config.seed)
        self._system = first_weights(job).to(device).train()
        self._optimizer = build_optimizer(self._system, job.stage.optimizer)
        self._weights = stage_loss_weights(self._system, job.stage.loss_weights)
        decay = job.stage.ema_decay
        self._averaged = AveragedWeights(self._system, decay) if decay is not None else None
        self._writer = CheckpointWriter(job.checkpoints) if rank == 0 else None
        self.first_step, log_state = self._restore()
        if job.stage.recompute_activations:
            recompute_layers(self._system)
        self._wrapped = wrap(self._system)
        self._losses = (
            LossLog(job.losses_path, job.stage.name, self.first_step, log_state)
            if rank == 0
            else None
        )
        self._bad_steps = BadSteps(job.skipped_path, job.stage.name, rank, job.stage.max_bad_steps)

    def run(self, batches: Batches) -> None:
        """Runs the remaining steps on numbered batches, starting at ``first_step``.

        Raises:
            TrainingDivergedError: Losses or gradients were not finite in several consecutive steps.
            StorageError: A checkpoint cannot be stored.
        """
        stage = self._job.stage
        settings = StepSettings(stage.optimizer.clip_norm, stage.precision, stage.parts)
        use = MachineUse(self._device)
        for step, batch, wait_s in _timed(batches):
            rate = set_rate(self._optimizer, rate_factor(step, stage.num_steps, stage.optimizer))
            outcome = self._step(step, batch, settings)
            done = step + 1
            self._bad_steps.add(done, outcome, batch.clip_ids)
            if self._losses:
                self._losses.add(done, outcome, rate, wait_s, last=done == stage.num_steps, use=use)
            self._save_if_due(done)
        if self._writer:
            self._writer.wait()

    def _step(self, step: int, batch: ClipBatch, settings: StepSettings) -> StepOutcome:
        generator = step_generator(self._job.config.seed, self._rank, step)
        # dropout and drop path use the global generator
        torch.manual_seed(generator.initial_seed())
        outcome = train_step(
            self._wrapped,
            batch.to(self._device),
            self._optimizer,
            self._weights,
            settings,
            generator,
        )
        if self._averaged and not outcome.reason:
            self._averaged.update(self._system)
        return outcome

    def _save_if_due(self, done: int) -> None:
        """Saves a checkpoint and a model for scoring, each at the steps where it is due."""
        stage = self._job.stage
        ends = done == stage.num_steps
        if self._writer is None:
            return
        if stage.evaluate_every and (ends or done % stage.evaluate_every == 0):
            model = self._averaged.system if self._averaged else self._system
            save_candidate(self._job, done, model)
        if ends or done % stage.checkpoint_every == 0:
            self._writer.save(done, lambda folder: self._write_checkpoint(folder, done))

    def _write_checkpoint(self, folder: Path, done: int) -> None:
        assert self._losses is not None, "rank 0 has both"
        save_system(folder, self._system, self._job.categories)
        state: dict[str, Any] = {"optimizer": self._optimizer.state_dict(), "step": done}
        state["losses"] = self._losses.state
        if self._averaged:
            state["averaged"] = self._averaged.save(folder)
        torch.save(state, folder / _STATE_FILE)

    def _restore(self) -> tuple[int, dict[str, Any] | None]:
        """Loads the newest checkpoint, if any; returns the next step and the loss log's state."""
        with self._job.checkpoints.newest(self._note) as found:
            if found is None:
                return 0, None
            step, folder = found
            state = torch.load(folder / _STATE_FILE, map_location="cpu", weights_only=True)
            self._system.load_state_dict(load_system(folder, for_training=True).state_dict())
            self._optimizer.load_state_dict(state["optimizer"])
            if self._averaged:
                self._averaged.restore(folder, state["averaged"])
        stage = self._job.stage
        self._note(f"stage {stage.name}: resuming after step {step} of {stage.num_steps}")
        return step, state["losses"]

    def _note(self, text: str) -> None:
        if self._rank == 0:
            add_note(self._job.notes_path, text)


def trained_system(folder: Path) -> System:
    """Reads a checkpoint's model, with the mean weights if there are any."""
    system = load_system(folder, for_training=True)
    load_averaged(system, folder)
    return system


def save_candidate(job: StageJob, done: int, system: System) -> None:
    """Saves a model for scoring, unless it was saved before the worker restarted."""
    folder = candidate_folder(job.candidates, done)
    # a model is complete once its last file, the classes, exists
    if done not in read_scores(job.candidates) and not (folder / CATEGORIES_FILE).is_file():
        save_system(folder, system, job.categories)


def first_weights(job: StageJob) -> System:
    """Builds a stage's system with its start weights."""
    system = build_system(job.config.system, len(job.categories))
    if job.start is not None:
        start_from(system, job.start, None if job.fresh_classes else job.categories)
    return system


def stage_loss_weights(system: System, changed: dict[str, float]) -> dict[str, float]:
    """Returns a stage's loss weights: the system's, with the given changes."""
    unknown = sorted(changed.keys() - system.loss_weights.keys())
    assert not unknown, f"{unknown} are no losses of the system; checked at the start"
    return system.loss_weights | changed


def repeat_sums_exactly() -> None:
    """Makes sums on the CPU deterministic, so that a resumed run equals an uninterrupted one.

    By default, threads add the gradients of indexing (``index_put_`` with ``accumulate``) in random
    order. Operations without a deterministic form cause a warning.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    # this mode would fill new tensors with NaN, but no code here reads uninitialized memory
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def step_generator(seed: int, rank: int, step: int) -> torch.Generator:
    """Returns a step's own generator, so that a resumed run draws the same points and noise."""
    mixed = (seed * 1_000_003 + rank) * 10_000_019 + step
    return torch.Generator().manual_seed(mixed % (1 << 63))


def _timed(batches: Batches) -> Iterator[tuple[int, ClipBatch, float]]:
    """Yields each batch with the seconds that the loop waited for it."""
    with suppress(StopIteration):
        while True:
            started = time.monotonic()
            step, batch = next(batches)
            yield step, batch, time.monotonic() - started
