"""A pool of actors that annotates videos, largest first, and replaces lost actors.

The pool uses Ray Core instead of Ray Data, because a video that kills its worker must be identified
and, after three lost workers, quarantined, so that it does not end the job.
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

POLL_EVERY_S = 1.0
OnWait = Callable[[int, list[WorkerStatus]], None]
_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """An actor and its pending calls."""

    actor: Any
    works: dict[Any, Work | None]  # work item of each pending call; None while the model is loading
    num_frames: int = 0  # frames annotated as of its last report
    frames_before: int = 0  # frames annotated before its newest work item began
    count_call: Any = None  # pending call for the frame count, or None

    @property
    def current(self) -> list[Work]:
        """The work items in progress."""
        return [work for work in self.works.values() if work is not None]


@dataclass
class AnnotatorPool:
    """A fixed number of actors that process a work queue.

    An actor call ends with an answer, with an error in the work (which the actor survives), or with
    the loss of the actor. Failed work is repeated; a video that has failed ``MAX_DEATHS`` times is
    quarantined.
    """

    job: AnnotateJob
    num_workers: int  # number of actors, each with one CPU
    works_at_once: int = 1  # concurrent work items per actor, which share network batches
    _calls: dict[Any, _Worker] = field(default_factory=dict)
    _deaths: Counter[str] = field(default_factory=Counter)
    _frames_of_former: int = 0

    def run(self, queue: WorkQueue, on_wait: OnWait) -> Generator[VideoRow, None, None]:
        """Yields the outcome of each video as soon as it is known.

        Calls ``on_wait`` at least once a second with the frame count and the workers' activity.
        Raises VisError if the model cannot be loaded or a store cannot be reached.
        """
        try:
            for _ in range(min(self.num_workers, len(queue))):
                self._start_worker()
            while self._calls:
                ended, _ = ray.wait(list(self._calls), num_returns=1, timeout=POLL_EVERY_S)
                for call in ended:
                    row = self._end_call(call, queue)
                    if row is not None:
                        yield row
                on_wait(self._count_frames(), self._statuses())
        finally:
            for worker in self._workers():
                ray.kill(worker.actor)
            self._calls.clear()

    def _start_worker(self) -> None:
        """Starts an actor, whose first call loads the model."""
        actor = (
            ray.remote(VideoAnnotator)
            # one thread per work item, and one that reports the frame count
            .options(
                num_cpus=1,
                num_gpus=self.job.options.gpus_per_worker,
                max_restarts=0,
                max_concurrency=self.works_at_once + 1,
            )
            .remote(self.job)
        )
        loading = actor.load.remote()
        self._calls[loading] = _Worker(actor, {loading: None})

    def _end_call(self, call: Any, queue: WorkQueue) -> VideoRow | None:
        """Handles a finished call; assigns more work to the actor, or replaces a lost actor."""
        worker = self._calls.pop(call)
        work = worker.works.pop(call)
        row: VideoRow | None = None
        is_alive = True
        try:
            row = self._after_answer(work, ray.get(call), queue)
        except RayTaskError as error:
            if isinstance(error.cause, VisError):
                raise error.cause from error
            row = self._after_failure(work, _first_line(error.cause), queue)
            is_alive = work is not None  # an actor that cannot load its model is replaced
        except RayError as error:
            row = self._after_loss(worker, work, _first_line(error), queue)
            is_alive = False
        if is_alive:
            self._assign(worker, queue)
        if not worker.works:
            self._frames_of_former += worker.num_frames
            ray.kill(worker.actor)
            if queue:
                self._start_worker()
        return row

    def _assign(self, worker: _Worker, queue: WorkQueue) -> None:
        """Assigns an actor as many work items as it may process at once."""
        while len(worker.works) < self.works_at_once:
            work = queue.take(worker.current)
            if work is None:
                return
            worker.frames_before = worker.num_frames
            call = worker.actor.do.remote(work)
            worker.works[call] = work
            self._calls[call] = worker

    def _after_answer(
        self, work: Work | None, row: VideoRow | None, queue: WorkQueue
    ) -> VideoRow | None:
        """Records an actor's answer; returns the video's outcome if it is new."""
        if work is None:  # the model is loaded
            return None
        if row is not None:  # another segment of the video may have answered first
            return row if queue.close(work.video) else None
        if work.segment is None:
            return self._after_failure(work, "predictions of its segments are missing", queue)
        if queue.is_closed(work.video):  # its predictions are no longer needed
            self._clear(work)
        queue.done(work)
        return None

    def _after_loss(
        self, worker: _Worker, work: Work | None, reason: str, queue: WorkQueue
    ) -> VideoRow | None:
        """Handles a lost actor's work items; if there are several, each is repeated alone."""
        if work is None or not worker.works:
            return self._after_failure(work, reason, queue)
        for call in worker.works:
            del self._calls[call]
        works = [work, *worker.current]
        worker.works.clear()
        names = ", ".join(each.shown for each in works)
        _log.warning("worker lost on one of %s (%s): each is repeated alone", names, reason)
        queue.do_alone(works)
        return None

    def _after_failure(self, work: Work | None, reason: str, queue: WorkQueue) -> VideoRow | None:
        """Repeats failed work or quarantines its video; raises if the model cannot load."""
        name = "loading the model" if work is None else work.video.shown
        self._deaths[name] += 1
        is_last = self._deaths[name] >= MAX_DEATHS
        _log.warning(
            "worker lost on %s (%s), %d of %d", name, reason, self._deaths[name], MAX_DEATHS
        )
        if work is None:
            if not is_last:
                return None
            raise CheckpointError(
                f"{self.job.model}: {MAX_DEATHS} workers were lost while they loaded the model"
                f" ({reason}); is there memory for {self.num_workers} of them?"
            )
        if not is_last:
            queue.again(work)
            return None
        if not queue.close(work.video):
            return None
        reason = f"lost its worker {MAX_DEATHS} times ({reason}); out of memory?"
        row = self.job.ledger.fail(work.video, "quarantined", reason, "killed its worker")
        self._clear(work)
        return row

    def _clear(self, work: Work) -> None:
        clear_unfinished(self.job.ledger.storage, self.job.ledger.result_name(work.video))

    def _count_frames(self) -> int:
        """Returns the frame count so far, without waiting for any actor."""
        workers = self._workers()
        for worker in workers:
            if worker.count_call is not None:
                answered, _ = ray.wait([worker.count_call], timeout=0)
                if not answered:
                    continue
                with suppress(RayError):  # the lost actor is handled when its call ends
                    worker.num_frames = ray.get(worker.count_call)
            worker.count_call = worker.actor.num_frames.remote()
        return self._frames_of_former + sum(worker.num_frames for worker in workers)

    def _workers(self) -> list[_Worker]:
        """Returns each worker once."""
        return list({id(worker): worker for worker in self._calls.values()}.values())

    def _statuses(self) -> list[WorkerStatus]:
        """Returns each worker's activity, ordered by video; loading workers come last."""
        workers = self._workers()
        busy = [
            WorkerStatus(
                ", ".join(work.shown for work in works), each.num_frames - each.frames_before
            )
            for each in workers
            if (works := each.current)
        ]
        loading = [WorkerStatus()] * (len(workers) - len(busy))
        return sorted(busy, key=lambda status: status.video) + loading


def _first_line(error: BaseException) -> str:
    """Returns an error's class and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
