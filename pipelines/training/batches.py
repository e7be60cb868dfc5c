"""Ray Data between clip sources and the training loop: one row is one batch.

Every batch is a function of (seed, stage, rank, step), whatever the cluster does. So a stage that
is resumed sees the batches that it would have seen, and two runs with one seed see the same.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from pipelines.config.loading import digest
from vis_core.clips.collate import collate_clips
from vis_core.clips.sources import ClipSource
from vis_core.structures import ClipBatch

# Blocks of about 8 steps are small enough to stream, and few enough to schedule.
_STEPS_PER_BLOCK = 8
_MAX_BLOCKS = 1000
_LEAVE_S = 10.0  # for the item that is being made when a stream is left
_REST_S = 0.05  # in each round of the executor, which may hand out many blocks
_sources: dict[str, ClipSource] = {}
Item = TypeVar("Item")


@dataclass(frozen=True)
class BatchPlan:
    """Says which batches a stage sees.

    Attributes:
        make_source: Opens the clips; called once in each process that needs them.
        key: Names the source; equal keys mean equal clips.
        seed: Of the order and of everything random in clips.
        num_steps: Batches a worker.
        batch_size: Clips a batch.
        world_size: Workers; each sees clips of its own.
    """

    make_source: Callable[[], ClipSource]
    key: str
    seed: int
    num_steps: int
    batch_size: int
    world_size: int

    def batch(self, rank: int, step: int) -> ClipBatch:
        """Makes one batch."""
        source = self._source()
        first = (step * self.world_size + rank) * self.batch_size
        clips = [self._clip(source, first + offset) for offset in range(self.batch_size)]
        return collate_clips(clips)

    def _clip(self, source: ClipSource, draw: int) -> Any:
        """Gives the clip of one draw: epochs are permutations, each draw has a seed of its own."""
        epoch, place = divmod(draw, len(source))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(source))
        return source.clip(int(order[place]), int(digest(self.seed, draw), 16))

    def _source(self) -> ClipSource:
        if self.key not in _sources:
            _sources.clear()
            _sources[self.key] = self.make_source()
        return _sources[self.key]


def stream_batches(
    plan: BatchPlan, rank: int, first_step: int, tasks: int
) -> Iterator[tuple[int, ClipBatch]]:
    """Makes the batches of one worker with Ray Data, ahead of it, in the order of steps.

    Nothing is made again of what a resumed stage has seen. The worker calls this itself, so the
    stream ends with it.

    Args:
        plan: Says which batches.
        rank: Of the worker.
        first_step: The first that is wanted.
        tasks: Processes that make batches at the same time, half a logical CPU each.

    Yields:
        The step and its batch.
    """
    import ray.data

    num_steps = plan.num_steps - first_step
    if num_steps == 0:
        return
    blocks = max(1, min(_MAX_BLOCKS, num_steps // _STEPS_PER_BLOCK))
    # a range would be read by tasks, in processes of their own
    steps = [{"step": step} for step in range(first_step, plan.num_steps)]
    rows = ray.data.from_items(steps, override_num_blocks=blocks).map(
        BatchMaker,
        fn_constructor_args=(plan, rank),
        compute=ray.data.ActorPoolStrategy(size=tasks),
        num_cpus=0.5,
    )
    rows.context.execution_options.preserve_order = True
    rows.context.custom_execution_callback_classes = [ThrottledExecutor]
    # the split runs in an actor of its own: the executor's threads stay out of this process
    (stream,) = rows.streaming_split(1)
    yield from prefetch((int(row["step"]), row_to_batch(row)) for row in stream.iter_rows())


class BatchMaker:
    """Makes the rows of one worker's batches, in a process that stays.

    An actor and not a task: Ray ends a process that waits a second for its next task if there are
    more of them than CPUs, and a new one imports and opens for six seconds what makes eight batches
    in a tenth of one.

    Args:
        plan: Says which batches.
        rank: Of the worker.
    """

    def __init__(self, plan: BatchPlan, rank: int) -> None:
        self._plan, self._rank = plan, rank

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Adds to a row with a ``step`` the batch of it."""
        return row | batch_to_row(self._plan.batch(self._rank, int(row["step"])))


class ThrottledExecutor:
    """Lets the executor of Ray Data rest a little each time it has looked round.

    While finished batches wait for a slow consumer, its wait for tasks returns at once, and it
    takes a whole core from the training (Ray 2.60). Is an ``ExecutionCallback``, of a module that
    is not public.
    """

    def before_execution_starts(self, executor: Any) -> None:
        """Does nothing."""

    def on_execution_step(self, executor: Any) -> None:  # noqa: ARG002
        """Rests."""
        time.sleep(_REST_S)

    def after_execution_succeeds(self, executor: Any) -> None:
        """Does nothing."""

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        """Does nothing."""


def prefetch(items: Iterator[Item], count: int = 2) -> Iterator[Item]:
    """Computes up to ``count`` items ahead in a thread; its errors come out here."""
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(count)
    stopped = threading.Event()

    def put(entry: tuple[bool, Any]) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(entry, timeout=0.5)
                return

    def work() -> None:
        try:
            for item in items:
                put((True, item))
                if stopped.is_set():
                    return
            put((False, None))
        except BaseException as error:  # whatever it is, the caller must see it
            put((False, error))

    thread = threading.Thread(target=work, daemon=True, name="batches")
    thread.start()
    try:
        while True:
            more, value = ready.get()
            if more:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        stopped.set()
        # Ray ends a process that asks it for anything once it has ended. Threads of Ray Data's own
        # may still do so, if a stream is left in its middle and Ray ends right after.
        thread.join(_LEAVE_S)


def batch_to_row(batch: ClipBatch) -> dict[str, Any]:
    """Packs a batch into plain bytes and lists, masks as single bits."""
    masks = [mask.numpy() for mask in batch.masks]
    return {
        "images": batch.images.numpy().tobytes(),
        "shape": list(batch.images.shape),
        "masks": [np.packbits(mask).tobytes() for mask in masks],
        "labels": [label.tolist() for label in batch.labels],
        "sizes": batch.sizes.flatten().tolist(),
        "clip_ids": list(batch.clip_ids),
    }


def row_to_batch(row: dict[str, Any]) -> ClipBatch:
    """Unpacks what ``batch_to_row`` packed."""
    shape = [int(size) for size in row["shape"]]
    frames, height, width = shape[1], shape[3], shape[4]
    labels = [np.asarray(values, dtype=np.int64) for values in row["labels"]]
    masks = []
    for packed, label in zip(row["masks"], labels, strict=True):
        count = frames * len(label) * height * width
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count)
        masks.append(torch.from_numpy(bits.reshape(frames, len(label), height, width).view(bool)))
    images = np.frombuffer(row["images"], dtype=np.uint8).reshape(shape).copy()
    return ClipBatch(
        images=torch.from_numpy(images),
        masks=masks,
        labels=[torch.from_numpy(label) for label in labels],
        sizes=torch.tensor(row["sizes"], dtype=torch.int64).reshape(shape[0], frames, 2),
        clip_ids=tuple(row["clip_ids"]),
    )
