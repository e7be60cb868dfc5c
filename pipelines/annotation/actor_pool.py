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
from vis_core.errors import MachineError, VisError

POLL_EVERY_S = 1.0
_NODE_WAIT_S = 5.0
_MODEL = "loading the model"
_NODE_DIED = "its node has died"  # Ray's words; it has no class for an actor of a lost node
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
    node_call: Any = None  # call for the id of the actor's node

    @property
    def current(self) -> list[Work]:
        """The work items in progress."""
        return [work for work in self.works.values() if work is not None]


@dataclass
class AnnotatorPool:
    """Actors that process a work queue.

    An actor call ends with an answer, with an error in the work (which the actor survives), or with
    the loss of the actor. Failed work is repeated.

    - A video that has lost ``MAX_DEATHS`` actors is quarantined.
    - A video with as many errors or lost nodes stays pending, since they are no proof against it;
      the job fails once all other videos are done, or after ``MAX_DEATHS`` such videos in a row.
    - An actor whose machine cannot work is not replaced. Its work is repeated while an actor on
      another node is busy; otherwise the job ends at once.
    """

    job: AnnotateJob
    num_workers: int  # number of actors, each with one CPU
    works_at_once: int = 1  # concurrent work items per actor, which share network batches
    _calls: dict[Any, _Worker] = field(default_factory=dict)
    _trouble: Counter[tuple[str, str]] = field(default_factory=Counter)  # kind, video
    _unexplained: dict[str, str] = field(default_factory=dict)  # errors of videos left pending
    _unexplained_in_a_row: int = 0  # since a video was done
    _frames_of_former: int = 0

    def run(self, queue: WorkQueue, on_wait: OnWait) -> Generator[VideoRow, None, None]:
        """Yields the outcome of each video as soon as it is known.

        Calls ``on_wait`` at least once a second with the frame count and the workers' activity.
        Raises VisError if the model cannot be loaded, a store cannot be reached, a machine cannot
        work, or the program failed on some videos.
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
            self._raise_unexplained()
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
        node = actor.__ray_call__.remote(_node_id)
        self._calls[loading] = _Worker(actor, {loading: None}, node_call=node)

    def _end_call(self, call: Any, queue: WorkQueue) -> VideoRow | None:
        """Handles a finished call; assigns more work to the actor, or replaces a lost actor."""
        worker = self._calls.pop(call)
        work = worker.works.pop(call)
        row: VideoRow | None = None
        is_alive, is_replaced = True, True
        try:
            row = self._after_answer(work, ray.get(call), queue)
        except RayTaskError as error:
            if isinstance(error.cause, MachineError):
                self._after_machine_error(worker, work, error.cause, queue)
                is_alive = is_replaced = False
            elif isinstance(error.cause, VisError):
                raise error.cause from error
            else:
                self._after_error(work, _first_line(error.cause), queue)
                is_alive = work is not None  # an actor that cannot load its model is replaced
        except RayError as error:
            row = self._after_loss(worker, work, error, queue)
            is_alive = False
        if is_alive:
            self._assign(worker, queue)
        if not worker.works:
            self._frames_of_former += worker.num_frames
            ray.kill(worker.actor)
            if queue and is_replaced:
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
            self._unexplained_in_a_row = 0
            return row if queue.close(work.video) else None
        if work.segment is None:
            self._after_error(work, "predictions of its segments are missing", queue)
            return None
        if queue.is_closed(work.video):  # its predictions are no longer needed
            self._clear(work)
        queue.done(work)
        return None

    def _after_loss(
        self, worker: _Worker, work: Work | None, error: RayError, queue: WorkQueue
    ) -> VideoRow | None:
        """Handles a lost actor's work items; if there are several, each is repeated alone."""
        reason = _first_line(error)
        if _NODE_DIED in str(error):
            for each in self._withdraw(worker, work):
                self._after_error(each, "its node was lost", queue)
            return None
        if work is None or not worker.works:
            return self._after_failure(work, reason, queue)
        works = self._withdraw(worker, work)
        names = ", ".join(each.shown for each in works if each is not None)
        _log.warning("worker lost on one of %s (%s): each is repeated alone", names, reason)
        queue.do_alone([each for each in works if each is not None])
        return None

    def _withdraw(self, worker: _Worker, work: Work | None) -> list[Work | None]:
        """Takes the work of an actor back: the item whose call has ended, and all others."""
        works = [work, *worker.current]
        for call in worker.works:
            del self._calls[call]
        worker.works.clear()
        return works

    def _after_machine_error(
        self, worker: _Worker, work: Work | None, error: MachineError, queue: WorkQueue
    ) -> None:
        """Repeats an actor's work on other nodes; raises if there is none, or none can do it."""
        name = _MODEL if work is None else work.video.shown
        self._trouble["machine", name] += 1
        node = _node_of(worker, wait_s=_NODE_WAIT_S)
        elsewhere = [each for each in self._workers() if _node_of(each) != node]
        if not elsewhere or (work and self._trouble["machine", name] >= MAX_DEATHS):
            raise error
        _log.warning("%s; its work is repeated on another node", error)
        for each in self._withdraw(worker, work):
            if each is not None:
                queue.again(each)

    def _after_error(self, work: Work | None, reason: str, queue: WorkQueue) -> None:
        """Repeats failed work; leaves its video pending after ``MAX_DEATHS`` errors."""
        if self._is_repeated(work, "error", reason, queue):
            return
        assert work is not None, "a model that cannot be loaded ends the job"
        if queue.close(work.video):
            self._unexplained[work.video.shown] = reason
            self._unexplained_in_a_row += 1
        if self._unexplained_in_a_row >= MAX_DEATHS:
            self._raise_unexplained()

    def _raise_unexplained(self) -> None:
        if self._unexplained:
            name, reason = next(iter(self._unexplained.items()))
            raise MachineError(
                f"{len(self._unexplained)} videos are not annotated because of errors that say"
                f" nothing about them; first {name} ({reason}); run the same command again, or"
                " report the error and leave these videos out"
            )

    def _after_failure(self, work: Work | None, reason: str, queue: WorkQueue) -> VideoRow | None:
        """Repeats the work of a lost actor or quarantines its video."""
        if self._is_repeated(work, "worker lost", reason, queue):
            return None
        assert work is not None, "a model that cannot be loaded ends the job"
        if not queue.close(work.video):
            return None
        reason = f"lost its worker {MAX_DEATHS} times ({reason}); out of memory?"
        row = self.job.ledger.fail(work.video, "quarantined", reason, "killed its worker")
        self._clear(work)
        return row

    def _is_repeated(self, work: Work | None, what: str, reason: str, queue: WorkQueue) -> bool:
        """Returns whether failed work is repeated; raises if the model cannot be loaded."""
        name = _MODEL if work is None else work.video.shown
        self._trouble[what, name] += 1
        count = self._trouble[what, name]
        _log.warning("%s on %s (%s), %d of %d", what, name, reason, count, MAX_DEATHS)
        if count < MAX_DEATHS:
            if work is not None and self.works_at_once > 1 and work.num_segments == 1:
                queue.do_alone([work])  # an error may come from a video in the same batch
            elif work is not None:
                queue.again(work)
            return True
        if work is None:
            raise MachineError(
                f"{self.job.model}: {MAX_DEATHS} workers were lost while they loaded the model"
                f" ({reason}); is there memory for {self.num_workers} of them?"
            )
        return False

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


def _node_id(_: Any) -> str:
    """Returns the id of the node that this actor runs on."""
    return str(ray.get_runtime_context().get_node_id())


def _node_of(worker: _Worker, wait_s: float = 0.0) -> str | None:
    """Returns the id of an actor's node; None if the actor has not answered yet."""
    try:
        return str(ray.get(worker.node_call, timeout=wait_s))
    except RayError:  # GetTimeoutError is one
        return None


def _first_line(error: BaseException) -> str:
    """Returns an error's class and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
