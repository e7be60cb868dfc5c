"""One training stage under Ray Train; ``worker/loop.py`` contains the training loop."""

import logging
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.cluster import kept_interrupts, require_resources
from pipelines.config.run import RunConfig
from pipelines.training.batches import BatchPlan, stream_batches
from pipelines.training.monitor import OnLosses, StageWatch
from pipelines.training.worker.job import StageJob
from pipelines.training.worker.loop import StageLoop, trained_system
from pipelines.training.worker.notes import add_note
from vis_core.errors import (
    CheckpointError,
    ClusterError,
    TrainingDivergedError,
    VisError,
    error_from_text,
    error_to_text,
    last_line,
)
from vis_core.files import write_text
from vis_core.models.systems.build import save_system

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

# Default limit on the processes that build a worker's batches, about 600 MiB each.
_MAX_DATA_TASKS = 8
# Training fails after this many worker deaths without a new checkpoint in between.
_MAX_DEATHS = 3
# After the first error of a chain, Ray adds errors of its own and advice on retries.
_ADDED_BY_RAY = re.compile("The above exception was the direct cause|To change retry attempts")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """A worker's return value; Ray retries after a raised error, but not after a returned one."""

    error: VisError | None = None


def run_stage(
    job: StageJob,
    plan: BatchPlan,
    model_folder: Path,
    on_losses: OnLosses = lambda row: None,  # noqa: ARG005
) -> None:
    """Trains one stage and writes its model folder; a killed stage resumes from its checkpoint.

    Training survives dead workers and nodes unless several die without a new checkpoint in between.
    ``on_losses`` receives every loss line once, in order.

    Raises:
        TrainingDivergedError: Losses or gradients were not finite in several consecutive steps.
        ClusterError: Workers died several times without a new checkpoint.
    """
    require_resources(job.config.ray.num_workers, gpus=job.config.ray.use_gpu)
    job.error_path.unlink(missing_ok=True)
    store = job.checkpoints
    store.storage.remove_stale_partials()
    with StageWatch(job, on_losses):
        while True:
            before = store.steps()
            try:
                _fit(job, plan)
                break
            except ClusterError:
                if store.steps()[-1:] == before[-1:]:
                    raise
                _log.warning("workers died after a new checkpoint; restarting them")
    with store.newest(_log.warning) as found:
        if found is None or found[0] != job.stage.num_steps:
            raise CheckpointError(f"{job.work}: stage {job.stage.name} ended without a checkpoint")
        save_system(model_folder, trained_system(found[1]), job.categories)


def train_worker(arguments: dict[str, Any]) -> _Outcome:
    """Trains a stage; runs in every Ray Train worker.

    If one of several workers raises, the others wait for it until Ray restarts all of them. Then
    they return an error that the user must correct, instead of meeting it again.
    """
    import ray.train
    from ray.train.torch import get_device, prepare_model

    job, plan, tasks = arguments["job"], arguments["plan"], arguments["tasks"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if refusal := _last_error(job):
        if refusal.exit_code == 2:
            return _Outcome(refusal)
        job.error_path.unlink(missing_ok=True)
    try:
        loop = StageLoop(job, rank, get_device(), prepare_model)
        loop.run(stream_batches(plan, rank, loop.first_step, tasks))
    except TrainingDivergedError as error:
        return _Outcome(error)  # every rank skips the same steps, so all ranks return here
    except Exception as error:
        if isinstance(error, VisError):
            if context.get_world_size() == 1:
                return _Outcome(error)
            write_text(job.error_path, error_to_text(error))
        add_note(job.notes_path, f"worker {rank}: {_reason(error)}")
        raise  # other ranks wait for this one; they end only if its process ends
    return _Outcome()


def stage_threads(config: RunConfig) -> int:
    """Returns the CPU threads per worker: this machine's cores, divided among the workers."""
    return max(1, (os.cpu_count() or 1) // config.ray.num_workers)


def data_tasks(config: RunConfig) -> int:
    """Returns the number of processes that build one worker's batches."""
    import ray

    if config.ray.data_tasks is not None:
        return config.ray.data_tasks
    workers = config.ray.num_workers
    # a local cluster has more logical CPUs than the machine has cores
    cores = int(sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]))
    if len(ray.nodes()) == 1:
        cores = min(cores, os.cpu_count() or 1)
    return max(1, min(_MAX_DATA_TASKS, (cores - workers) // workers))


def _fit(job: StageJob, plan: BatchPlan) -> None:
    """Runs the workers until the stage ends; a restart can only help after a ClusterError."""
    from ray.train import TrainingFailedError

    # checkpoints are stored by ``checkpoints.py``; Ray's files belong to this attempt only
    attempt = job.work / "ray" / uuid.uuid4().hex[:8]
    try:
        with kept_interrupts():
            outcome = _trainer(job, plan, attempt).fit().return_value
    except TrainingFailedError as error:
        if known := _last_error(job):
            raise known from error
        failures = [*getattr(error, "worker_failures", {}).values()]
        reason = _reason(failures[0] if failures else error)
        raise ClusterError(
            f"stage {job.stage.name}: its workers died {_MAX_DEATHS} times in a row without a new "
            f"checkpoint, last with: {reason}; the same command resumes from the last checkpoint"
        ) from error
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    if outcome is not None and outcome.error is not None:
        raise outcome.error


def _trainer(job: StageJob, plan: BatchPlan, storage: Path) -> "TorchTrainer":
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    sizes = job.config.ray
    return TorchTrainer(
        train_worker,
        train_loop_config={"job": job, "plan": plan, "tasks": data_tasks(job.config)},
        scaling_config=ScalingConfig(num_workers=sizes.num_workers, use_gpu=sizes.use_gpu),
        run_config=RunConfig(
            name=job.stage.name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=_MAX_DEATHS - 1),
        ),
    )


def _last_error(job: StageJob) -> VisError | None:
    """Returns the VisError that ended a worker of this attempt, if any."""
    if not job.error_path.is_file():
        return None
    error = error_from_text(job.error_path.read_text())
    return error if isinstance(error, VisError) else None


def _reason(error: BaseException) -> str:
    """Returns the last line of the first error in the text of a chain."""
    return last_line(_ADDED_BY_RAY.split(str(error))[0].strip() or error)[:300]
