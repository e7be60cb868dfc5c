"""Actors that annotate videos: longest first, a dead actor replaced, its video known by name.

Ray Core and not Ray Data, because a video that kills its worker must be named and put aside
after three deaths, not kill the job.
"""

import logging
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from pipelines.annotate_work import Work, WorkQueue
from pipelines.annotate_worker import MAX_DEATHS, AnnotateJob, VideoAnnotator
from pipelines.job_status import WorkerStatus
from pipelines.ledger import VideoRow, clear_unfinished
from vis_core.errors import CheckpointError, VisError

ASK_EVERY_S = 1.0
OnWait = Callable[[int, list[WorkerStatus]], None]
_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """Is one actor and what it does.

    Attributes:
        actor: The handle.
        work: What it does; None while it loads the model.
        num_frames: Frames that it has annotated, when it was last asked.
        frames_before: Of these, those of the work before.
        question: The answer that it owes, or None.
    """

    actor: Any
    work: Work | None = None
    num_frames: int = 0
    frames_before: int = 0
    question: Any = None


@dataclass
class AnnotatorPool:
    """Runs videos through a number of actors.

    Attributes:
        job: What every worker is told.
        num_workers: Actors, each with one CPU.
        gpus_per_worker: Share of a GPU that each gets.
    """

    job: AnnotateJob
    num_workers: int
    gpus_per_worker: float = 0.0
    _running: dict[Any, _Worker] = field(default_factory=dict)
    _deaths: Counter[str] = field(default_factory=Counter)
    _frames_of_former: int = 0

    def run(self, queue: WorkQueue, on_wait: OnWait) -> Generator[VideoRow, None, None]:
        """Yields the outcome of each video as it is known.

        Args:
            queue: What is to be done.
            on_wait: Is told, about once a second, how many frames are annotated so far, and what
                each worker does.

        Raises:
            VisError: If the model cannot be loaded or a storage cannot be reached.
        """
        try:
            for _ in range(min(self.num_workers, len(queue))):
                self._hire()
            while self._running:
                done, _ = ray.wait(list(self._running), num_returns=1, timeout=ASK_EVERY_S)
                for ref in done:
                    row = self._conclude(ref, queue)
                    if row is not None:
                        yield row
                on_wait(self._count_frames(), self._doing())
        finally:
            for worker in self._running.values():
                ray.kill(worker.actor)
            self._running.clear()

    def _hire(self) -> None:
        """Starts an actor; it loads the model first."""
        actor = (
            ray.remote(VideoAnnotator)
            # Two threads: one annotates, one answers how far it is.
            .options(num_cpus=1, num_gpus=self.gpus_per_worker, max_restarts=0, max_concurrency=2)
            .remote(self.job)
        )
        self._running[actor.load.remote()] = _Worker(actor)

    def _conclude(self, ref: Any, queue: WorkQueue) -> VideoRow | None:
        """Takes what an actor answered, and gives it or its successor the next work."""
        worker = self._running.pop(ref)
        row: VideoRow | None = None
        usable = True
        try:
            row = self._answered(worker.work, ray.get(ref), queue)
        except RayTaskError as error:
            if isinstance(error.cause, VisError):
                raise error.cause from error
            row = self._after_trouble(worker.work, _short(error.cause), queue)
            usable = worker.work is not None
        except RayError as error:
            row = self._after_trouble(worker.work, _short(error), queue)
            usable = False
        if queue and usable:
            worker.work, worker.frames_before = queue.take(), worker.num_frames
            self._running[worker.actor.do.remote(worker.work)] = worker
            return row
        self._frames_of_former += worker.num_frames
        ray.kill(worker.actor)
        if queue:
            self._hire()
        return row

    def _answered(
        self, work: Work | None, row: VideoRow | None, queue: WorkQueue
    ) -> VideoRow | None:
        """Takes what an actor said of its work; None of an actor that has loaded its model."""
        if work is None:
            return None
        if row is not None:  # another segment of the video may have said so before
            return row if queue.close(work.video) else None
        if work.segment is not None:
            if queue.is_closed(work.video):  # what it has seen is of no use
                clear_unfinished(self.job.ledger.storage, self.job.ledger.name(work.video))
            queue.done(work)
            return None
        reason = "what its segments have seen is not whole"
        return self._after_trouble(work, reason, queue)

    def _after_trouble(self, work: Work | None, reason: str, queue: WorkQueue) -> VideoRow | None:
        """Puts work that ended its worker in the queue again, or its video aside for good."""
        name = "loading the model" if work is None else work.video.shown
        self._deaths[name] += 1
        _log.warning(
            "worker lost on %s (%s), %d of %d", name, reason, self._deaths[name], MAX_DEATHS
        )
        if work is None:
            if self._deaths[name] < MAX_DEATHS:
                return None
            raise CheckpointError(
                f"{self.job.model}: {MAX_DEATHS} workers were lost while they loaded the model"
                f" ({reason}); is there memory for {self.num_workers} of them?"
            )
        if self._deaths[name] < MAX_DEATHS:
            queue.again(work)
            return None
        if not queue.close(work.video):
            return None
        reason = f"lost its worker {MAX_DEATHS} times ({reason}); out of memory?"
        return self.job.ledger.fail(work.video, "quarantined", reason, "killed its worker")

    def _count_frames(self) -> int:
        """Asks every actor how far it is, without waiting for the answer."""
        for worker in self._running.values():
            if worker.question is not None:
                answered, _ = ray.wait([worker.question], timeout=0)
                if not answered:
                    continue
                with suppress(RayError):  # its death is dealt with where its video is
                    worker.num_frames = ray.get(worker.question)
            worker.question = worker.actor.num_frames.remote()
        return self._frames_of_former + sum(worker.num_frames for worker in self._running.values())

    def _doing(self) -> list[WorkerStatus]:
        """What each worker does, in the order of their videos."""
        workers = self._running.values()
        doing = [
            WorkerStatus(worker.work.shown, worker.num_frames - worker.frames_before)
            for worker in workers
            if worker.work is not None
        ]
        loading = [WorkerStatus()] * (len(workers) - len(doing))
        return sorted(doing, key=lambda status: status.video) + loading


def _short(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
