"""One stage of training with Ray Train: the only Ray around the loop, and what the driver does."""

import logging
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.cluster import kept_interrupts, require_resources
from pipelines.config.run import RunConfig
from pipelines.training.batches import BatchPlan, stream_batches
from pipelines.training.monitor import OnLosses, StageWatch
from pipelines.training.worker.job import StageJob
from pipelines.training.worker.loop import StageLoop, trained_system
from pipelines.training.worker.notes import add_note
from vis_core.errors import CheckpointError, ClusterError, TrainingDivergedError, VisError
from vis_core.models.systems.build import save_system

# Processes that make the batches of a worker, some 600 MiB each, unless somebody asks for more.
_MOST_DATA_TASKS = 8
# Deaths of workers without a new checkpoint in between that end the training.
_MAX_DEATHS = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """Is what a worker gives back; an error here, unlike one that is raised, is not tried again."""

    error: VisError | None = None


def run_stage(
    job: StageJob,
    plan: BatchPlan,
    model_folder: Path,
    on_losses: OnLosses = lambda row: None,  # noqa: ARG005
) -> None:
    """Trains one stage and writes its model folder; a killed stage goes on where it was.

    Workers and nodes may die as often as they like while checkpoints come in between.

    Args:
        job: The stage.
        plan: Its batches.
        model_folder: Where the finished model goes.
        on_losses: Is told of every line of losses, once, in order.

    Raises:
        TrainingDivergedError: Losses or gradients of several steps in a row were not finite.
        ClusterError: Workers died again and again at the same place.
    """
    require_resources(job.config.ray.num_workers, gpus=job.config.ray.use_gpu)
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
                _log.warning("workers died, but the training got on: starting them again")
    with store.newest(_log.warning) as found:
        if found is None or found[0] != job.stage.steps:
            raise CheckpointError(f"{job.work}: stage {job.stage.name} ended without a checkpoint")
        save_system(model_folder, trained_system(found[1]), job.categories)


def train_worker(arguments: dict[str, Any]) -> _Outcome:
    """Runs on every worker."""
    import ray.train
    from ray.train.torch import get_device, prepare_model

    job, plan, tasks = arguments["job"], arguments["plan"], arguments["tasks"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    try:
        loop = StageLoop(job, rank, get_device(), prepare_model)
        loop.run(stream_batches(plan, rank, loop.first_step, tasks))
    except TrainingDivergedError as error:
        return _Outcome(error)  # every rank skips the same steps, so all of them end here
    except Exception as error:
        cause = _own_error(error)
        if cause and context.get_world_size() == 1:
            return _Outcome(cause)
        add_note(job.notes_path, f"worker {rank}: {_short(cause or error)}")
        raise  # other ranks wait for this one: only the end of its process ends theirs
    return _Outcome()


def stage_threads(config: RunConfig) -> int:
    """Shares this machine's cores among local workers."""
    return max(1, (os.cpu_count() or 1) // config.ray.num_workers)


def data_tasks(config: RunConfig) -> int:
    """Says how many processes make the batches of one worker."""
    import ray

    if config.ray.data_tasks is not None:
        return config.ray.data_tasks
    workers = config.ray.num_workers
    # not the logical CPUs of a local cluster, which are more than there are
    cores = int(sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]))
    if len(ray.nodes()) == 1:
        cores = min(cores, os.cpu_count() or 1)
    return max(1, min(_MOST_DATA_TASKS, (cores - workers) // workers))


def _fit(job: StageJob, plan: BatchPlan) -> None:
    """Runs the workers to the end of the stage.

    Raises:
        VisError: A worker gave up for a reason that a new start would not mend.
        ClusterError: Workers died several times.
    """
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )
    from ray.train.torch import TorchTrainer

    ray_config = job.config.ray
    # checkpoints are ours (``checkpoints.py``); what Ray keeps is of this attempt alone
    attempt = job.work / "ray" / uuid.uuid4().hex[:8]
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job, "plan": plan, "tasks": data_tasks(job.config)},
        scaling_config=ScalingConfig(
            num_workers=ray_config.num_workers, use_gpu=ray_config.use_gpu
        ),
        run_config=RunConfig(
            name=job.stage.name,
            storage_path=str(attempt),
            failure_config=FailureConfig(max_failures=_MAX_DEATHS - 1),
            checkpoint_config=CheckpointConfig(),
        ),
    )
    try:
        with kept_interrupts():
            outcome = trainer.fit().return_value
    except TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {})
        for failure in failures.values():
            cause = _own_error(failure)
            if cause:
                raise cause from error
        reason = next((_short(failure) for failure in failures.values()), _short(error))
        raise ClusterError(
            f"stage {job.stage.name}: its workers died {_MAX_DEATHS} times in a row without a new "
            f"checkpoint, last with: {reason}; the same command goes on from the last checkpoint"
        ) from error
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    if outcome is not None and outcome.error is not None:
        raise outcome.error


def _own_error(error: BaseException | None) -> VisError | None:
    """Finds an error of our own kind behind what Ray makes of it."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        found = queue.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        inner = getattr(found, "cause", None)  # Ray's errors are of two kinds at once
        if isinstance(found, VisError) and not isinstance(inner, VisError):
            return type(found)(str(found).strip().splitlines()[-1])
        queue += [found.__context__, found.__cause__, inner]
    return None


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[-1]:.300}"
