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

from pipelines.annotation.ledger import VideoRow, clear_unfinished
from pipelines.annotation.status import WorkerStatus
from pipelines.annotation.work_queue import Work, WorkQueue
from pipelines.annotation.worker import MAX_DEATHS, AnnotateJob, VideoAnnotator
from vis_core.errors import CheckpointError, VisError

ASK_EVERY_S = 1.0
OnWait = Callable[[int, list[WorkerStatus]], None]
_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """Is one actor and what it does.

    Attributes:
        actor: The handle.
        works: What it does, by the answer that it owes; None while it loads the model.
        num_frames: Frames that it has annotated, when it was last asked.
        frames_before: Of these, those before its newest work.
        question: The answer that it owes on how far it is, or None.
    """

    actor: Any
    works: dict[Any, Work | None]
    num_frames: int = 0
    frames_before: int = 0
    question: Any = None

    @property
    def shown(self) -> str:
        """What it does, in words."""
        return ", ".join(work.shown for work in self.works.values() if work is not None)


@dataclass
class AnnotatorPool:
    """Runs videos through a number of actors.

    Attributes:
        job: What every worker is told.
        num_workers: Actors, each with one CPU.
        works_at_once: Of each actor: videos, or segments, whose frames share its batches.
    """

    job: AnnotateJob
    num_workers: int
    works_at_once: int = 1
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
            for worker in self._workers():
                ray.kill(worker.actor)
            self._running.clear()

    def _hire(self) -> None:
        """Starts an actor; it loads the model first."""
        actor = (
            ray.remote(VideoAnnotator)
            # A thread for each work, and one that answers how far it is.
            .options(
                num_cpus=1,
                num_gpus=self.job.options.gpus_per_worker,
                max_restarts=0,
                max_concurrency=self.works_at_once + 1,
            )
            .remote(self.job)
        )
        loaded = actor.load.remote()
        self._running[loaded] = _Worker(actor, {loaded: None})

    def _conclude(self, ref: Any, queue: WorkQueue) -> VideoRow | None:
        """Takes what an actor answered, and gives it or its successor the next work."""
        worker = self._running.pop(ref)
        work = worker.works.pop(ref)
        row: VideoRow | None = None
        usable = True
        try:
            row = self._answered(work, ray.get(ref), queue)
        except RayTaskError as error:
            if isinstance(error.cause, VisError):
                raise error.cause from error
            row = self._after_trouble(work, _short(error.cause), queue)
            usable = work is not None
        except RayError as error:
            row = self._after_death(worker, work, _short(error), queue)
            usable = False
        if usable:
            self._occupy(worker, queue)
        if not worker.works:
            self._frames_of_former += worker.num_frames
            ray.kill(worker.actor)
            if queue:
                self._hire()
        return row

    def _occupy(self, worker: _Worker, queue: WorkQueue) -> None:
        """Gives an actor as much work as it may do at once."""
        while len(worker.works) < self.works_at_once:
            work = queue.take([work for work in worker.works.values() if work is not None])
            if work is None:
                return
            worker.frames_before = worker.num_frames
            ref = worker.actor.do.remote(work)
            worker.works[ref] = work
            self._running[ref] = worker

    def _after_death(
        self, worker: _Worker, work: Work | None, reason: str, queue: WorkQueue
    ) -> VideoRow | None:
        """Deals with all that an actor did when it was lost; if it was much, nobody is to blame."""
        if work is None or not worker.works:
            return self._after_trouble(work, reason, queue)
        for ref in worker.works:
            del self._running[ref]
        works = [work, *(other for other in worker.works.values() if other is not None)]
        worker.works.clear()
        names = ", ".join(one.shown for one in works)
        _log.warning("worker lost on one of %s (%s): each is done alone", names, reason)
        queue.do_alone(works)
        return None

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
        row = self.job.ledger.fail(work.video, "quarantined", reason, "killed its worker")
        clear_unfinished(self.job.ledger.storage, self.job.ledger.name(work.video))
        return row

    def _count_frames(self) -> int:
        """Asks every actor how far it is, without waiting for the answer."""
        workers = self._workers()
        for worker in workers:
            if worker.question is not None:
                answered, _ = ray.wait([worker.question], timeout=0)
                if not answered:
                    continue
                with suppress(RayError):  # its death is dealt with where its video is
                    worker.num_frames = ray.get(worker.question)
            worker.question = worker.actor.num_frames.remote()
        return self._frames_of_former + sum(worker.num_frames for worker in workers)

    def _workers(self) -> list[_Worker]:
        """All actors, each once."""
        return list({id(worker): worker for worker in self._running.values()}.values())

    def _doing(self) -> list[WorkerStatus]:
        """What each worker does, in the order of their videos."""
        workers = self._workers()
        doing = [
            WorkerStatus(worker.shown, worker.num_frames - worker.frames_before)
            for worker in workers
            if worker.shown
        ]
        loading = [WorkerStatus()] * (len(workers) - len(doing))
        return sorted(doing, key=lambda status: status.video) + loading


def _short(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
