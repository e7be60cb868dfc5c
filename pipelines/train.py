"""One stage of training with Ray Train: the worker's loop and what the driver does around it."""

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.config import RunConfig, StageConfig
from pipelines.optimization import build_optimizer, rate_factor, set_rate, train_step
from pipelines.runtime import kept_interrupts, require_cpus
from pipelines.training_data import BatchPlan, batch_dataset, read_batches
from vis_core.errors import CheckpointError, TrainingDivergedError
from vis_core.formats.categories import Categories
from vis_core.progress import Progress
from vis_core.systems.base import System
from vis_core.systems.build import build_system, load_system, save_system, start_from

_STATE_FILE = "optimizer.pt"
_LOG_EVERY = 10


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


def run_stage(job: StageJob, plan: BatchPlan, storage: Path, model_folder: Path) -> None:
    """Trains one stage and writes its model folder; a killed stage goes on where it was.

    Args:
        job: The stage.
        plan: Its batches.
        storage: Folder of Ray Train's checkpoints.
        model_folder: Where the finished model goes.

    Raises:
        TrainingDivergedError: A loss was not finite.
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
    first_step = _restore(system, optimizer)
    wrapped: Any = prepare_model(system.to(get_device()).train())
    losses = _LossLog(job.losses_path, job.stage.name, first_step) if rank == 0 else None
    shard = ray.train.get_dataset_shard(f"rank{rank}")
    for step, batch in read_batches(shard, first_step):
        rate = set_rate(optimizer, rate_factor(step, job.stage.steps, job.stage.optimizer))
        generator = step_generator(job.config.seed, rank, step)
        # dropout and dropped paths draw from the global generator
        torch.manual_seed(generator.initial_seed())
        values = train_step(
            wrapped,
            batch.to(get_device()),
            optimizer,
            system.loss_weights,
            job.stage.optimizer.clip_norm,
            generator,
            job.stage.precision,
        )
        if losses:
            losses.add(step + 1, values | {"rate": rate}, last=step + 1 == job.stage.steps)
        if (step + 1) % job.stage.checkpoint_every == 0 or step + 1 == job.stage.steps:
            _report(system, optimizer, job, step + 1, rank, values)


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


def _restore(system: System, optimizer: torch.optim.Optimizer) -> int:
    """Loads the newest checkpoint of this stage, if there is one; returns the next step."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder) / _STATE_FILE, weights_only=True)
        system.load_state_dict(load_system(folder).state_dict())
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _report(
    system: System,
    optimizer: torch.optim.Optimizer,
    job: StageJob,
    step: int,
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
        torch.save({"optimizer": optimizer.state_dict(), "step": step}, Path(folder) / _STATE_FILE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


class _LossLog:
    """Appends the mean losses of every few steps to a file that survives the worker."""

    def __init__(self, path: Path, stage: str, first_step: int) -> None:
        self.path, self.stage = path, stage
        self.sums: dict[str, float] = {}
        self.count = 0
        self.started = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_losses(path) if _precedes(row, stage, first_step)]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        temporary.replace(path)

    def add(self, step: int, values: dict[str, float], last: bool) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if last or self.count == _LOG_EVERY:
            row: dict[str, Any] = {"stage": self.stage, "step": step}
            row |= {f"train/loss/{n}": v / self.count for n, v in self.sums.items()}
            row["time/step_s"] = (time.monotonic() - self.started) / self.count
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self.sums, self.count, self.started = {}, 0, time.monotonic()


def read_losses(path: Path) -> list[dict[str, Any]]:
    """Reads the loss lines that are whole; a killed worker may leave half of the last one."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        if line.endswith("}"):
            rows.append(json.loads(line))
    return rows


def _precedes(row: dict[str, Any], stage: str, first_step: int) -> bool:
    return bool(row["stage"] != stage or row["step"] <= first_step)


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


def loss_note(row: dict[str, Any]) -> str:
    """Says the losses of a row in a few words: ``loss 3.41 (class 0.91 mask 1.20)``."""
    prefix = "train/loss/"
    parts = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}
    shown = " ".join(
        f"{name} {value:.2f}"
        for name, value in parts.items()
        if name not in ("total", "gradient_norm", "rate")
    )
    return f"loss {parts.get('total', float('nan')):.2f} ({shown})"


def stage_threads(config: RunConfig) -> int:
    """Shares this machine's cores among local workers."""
    return max(1, (os.cpu_count() or 1) // config.ray.num_workers)


StageSource = Callable[[], Any]
