"""One stage of training with Ray Train: the worker's loop and what the driver does around it."""

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.bad_steps import BadSteps
from pipelines.config import RunConfig, StageConfig
from pipelines.loss_log import LossLog, loss_note, read_losses
from pipelines.optimization import build_optimizer, rate_factor, set_rate
from pipelines.runtime import kept_interrupts, require_cpus
from pipelines.train_step import StepSettings, train_step
from pipelines.training_data import BatchPlan, batch_dataset, read_batches
from vis_core.errors import CheckpointError, TrainingDivergedError
from vis_core.formats.categories import Categories
from vis_core.progress import Progress
from vis_core.systems.base import System
from vis_core.systems.build import build_system, load_system, save_system, start_from

_STATE_FILE = "optimizer.pt"


@dataclass(frozen=True)
class StageJob:
    """Is all that a worker must know of its stage.

    Attributes:
        config: The whole run.
        stage: This stage.
        categories: Classes to learn.
        start: Model folder to start from, or None for random weights.
        losses_path: Where rank 0 appends one JSON line of losses each few steps.
        threads: CPU threads of one worker.
    """

    config: RunConfig
    stage: StageConfig
    categories: Categories
    start: Path | None
    losses_path: Path
    threads: int

    @property
    def skipped_path(self) -> Path:
        """Where every rank notes the steps that it skipped."""
        return self.losses_path.with_name("skipped_steps.jsonl")


def run_stage(job: StageJob, plan: BatchPlan, storage: Path, model_folder: Path) -> None:
    """Trains one stage and writes its model folder; a killed stage goes on where it was.

    Args:
        job: The stage.
        plan: Its batches.
        storage: Folder of Ray Train's checkpoints.
        model_folder: Where the finished model goes.

    Raises:
        TrainingDivergedError: Losses or gradients of several steps in a row were not finite.
    """
    from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    workers = job.config.ray.num_workers
    require_cpus(workers)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=job.config.ray.use_gpu),
        run_config=RunConfig(
            name=job.stage.name,
            storage_path=str(storage.absolute()),
            failure_config=FailureConfig(max_failures=2),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
        datasets={f"rank{rank}": batch_dataset(plan, rank) for rank in range(workers)},
        # each worker reads the whole of its own dataset
        dataset_config=DataConfig(datasets_to_split=[], execution_options=_in_order()),
    )
    with _watch(job.losses_path, job.stage):
        result = _fit(trainer)
    if result.checkpoint is None:
        raise CheckpointError(f"{storage}: stage {job.stage.name} ended without a checkpoint")
    with result.checkpoint.as_directory() as folder:
        trained = load_system(Path(folder), for_training=True)
    save_system(model_folder, trained, job.categories)


def train_worker(arguments: dict[str, Any]) -> None:
    """Runs on every worker: restore, step, report (the only Ray in the loop)."""
    import ray.train
    from ray.train.torch import get_device, prepare_model

    job: StageJob = arguments["job"]
    torch.set_num_threads(job.threads)
    if get_device().type == "cpu":
        repeat_sums_exactly()
    rank = ray.train.get_context().get_world_rank()
    torch.manual_seed(job.config.seed)
    system = first_weights(job)
    optimizer = build_optimizer(system, job.stage.optimizer)
    first_step, kept = _restore(system, optimizer)
    wrapped: Any = prepare_model(system.to(get_device()).train())
    stage = job.stage
    losses = LossLog(job.losses_path, stage.name, first_step, kept) if rank == 0 else None
    bad_steps = BadSteps(job.skipped_path, stage.name, rank, stage.max_bad_steps)
    how = StepSettings(stage.optimizer.clip_norm, stage.precision, stage.parts)
    shard = ray.train.get_dataset_shard(f"rank{rank}")
    for step, batch in read_batches(shard, first_step):
        rate = set_rate(optimizer, rate_factor(step, job.stage.steps, job.stage.optimizer))
        generator = step_generator(job.config.seed, rank, step)
        # dropout and dropped paths draw from the global generator
        torch.manual_seed(generator.initial_seed())
        outcome = train_step(
            wrapped, batch.to(get_device()), optimizer, system.loss_weights, how, generator
        )
        bad_steps.note(step + 1, outcome, batch.clip_ids)
        ends = step + 1 == stage.steps
        if losses:
            losses.add(step + 1, outcome, rate, last=ends)
        if (step + 1) % stage.checkpoint_every == 0 or ends:
            state = {"optimizer": optimizer.state_dict(), "step": step + 1}
            if losses:
                state["losses"] = losses.state
            _report(system, state, job, rank, outcome.values)


def first_weights(job: StageJob) -> System:
    """Makes the system of a stage with the weights that it starts from."""
    system = build_system(job.config.system, len(job.categories))
    if job.start is not None:
        start_from(system, job.start, job.categories)
    return system


def repeat_sums_exactly() -> None:
    """Makes sums on the CPU come out alike each time: a resumed run ends like a calm one.

    The gradient of indexing (``index_put_`` with ``accumulate``) is otherwise added up by threads
    in the order in which they come. What has no exact form warns.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    # new tensors would be filled with NaN; nothing here reads what it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def step_generator(seed: int, rank: int, step: int) -> torch.Generator:
    """Makes the generator of one step, so that a resumed run draws the same points and noise."""
    mixed = (seed * 1_000_003 + rank) * 10_000_019 + step
    return torch.Generator().manual_seed(mixed % (1 << 63))


def _in_order() -> Any:
    from ray.data import ExecutionOptions

    return ExecutionOptions(preserve_order=True)


def _fit(trainer: Any) -> Any:
    """Runs the trainer; an error of a worker's own kind comes out as itself."""
    from ray.train import TrainingFailedError

    try:
        with kept_interrupts():
            return trainer.fit()
    except TrainingFailedError as error:
        causes = getattr(error, "worker_failures", {})
        for cause in causes.values():
            if "TrainingDivergedError" in repr(cause):
                raise TrainingDivergedError(str(cause).strip().splitlines()[-1]) from error
        raise


def _restore(system: System, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any] | None]:
    """Loads the newest checkpoint of this stage, if there is one.

    Returns:
        The next step, and the state of the log of losses.
    """
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0, None
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder) / _STATE_FILE, weights_only=True)
        system.load_state_dict(load_system(folder, for_training=True).state_dict())
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), state.get("losses")


def _report(
    system: System,
    state: dict[str, Any],
    job: StageJob,
    rank: int,
    values: dict[str, float],
) -> None:
    """Reports to Ray Train; rank 0 brings the checkpoint. A barrier: every rank must call it."""
    import ray.train

    metrics = {f"train/loss/{name}": value for name, value in values.items()}
    if rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_system(Path(folder), system, job.categories)
        torch.save(state, Path(folder) / _STATE_FILE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


class _watch:  # noqa: N801 (reads as a verb: ``with _watch(...)``)
    """Shows the progress of a stage from the losses that rank 0 writes."""

    def __init__(self, path: Path, stage: StageConfig) -> None:
        self.path, self.stage = path, stage
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _follow(self) -> None:
        with Progress(self.stage.steps, "steps", f"train {self.stage.name}") as progress:
            done = 0
            while True:
                ended = self.stop.wait(1.0)
                rows = [r for r in read_losses(self.path) if r["stage"] == self.stage.name]
                if rows and rows[-1]["step"] > done:
                    progress.update(rows[-1]["step"] - done, note=loss_note(rows[-1]))
                    done = rows[-1]["step"]
                if ended:
                    return


def stage_threads(config: RunConfig) -> int:
    """Shares this machine's cores among local workers."""
    return max(1, (os.cpu_count() or 1) // config.ray.num_workers)


StageSource = Callable[[], Any]
