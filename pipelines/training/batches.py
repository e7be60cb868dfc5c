"""Training batches, built by Ray Data ahead of the training loop, one batch per row.

Every batch depends only on (seed, stage, rank, step), whatever the cluster does. So a resumed stage
has the same batches as an uninterrupted one, and two runs with equal settings have equal batches.
A clip with a damaged image is replaced by another one, which also depends only on these.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch

from pipelines.config.loading import digest
from vis_core.clips.collate import collate_clips
from vis_core.clips.sampling import group_by_aspect
from vis_core.clips.sources import ClipSource
from vis_core.errors import ImageError, error_from_text, error_to_text
from vis_core.structures import Clip, ClipBatch

# Blocks of about 8 steps are small enough to stream, and few enough to schedule.
_STEPS_PER_BLOCK = 8
_MAX_BLOCKS = 1000
_JOIN_S = 10.0  # seconds that a closed stream waits for its item in progress
_PAUSE_S = 0.05  # per executor round, which may hand out many blocks
# A clip with a damaged image is replaced up to four times. One in a hundred images may be damaged
# in a run of a million clips; of one in three, a few hundred clips are enough to end the run.
_TRIES = 5
_sources: dict[str, ClipSource] = {}
Item = TypeVar("Item")
_NO_BATCH: dict[str, Any] = {"images": b""} | {
    key: [] for key in ("shape", "masks", "labels", "sizes", "clip_ids", "instance_ids")
}


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a stage.

    Attributes:
        make_source: Function that opens the clips, called once in each process that needs them.
        key: Identifies the source; equal keys mean equal clips.
        num_steps: Batches per worker.
        world_size: Number of workers; each gets different clips.
        group_by_aspect: Whether clips that are taller than wide have batches of their own.
        on_damage: Receives the reason why a clip was replaced, in the process that replaced it.
    """

    make_source: Callable[[], ClipSource]
    key: str
    seed: int
    num_steps: int
    batch_size: int
    world_size: int
    group_by_aspect: bool = False
    on_damage: Callable[[str], None] | None = None

    def batch(self, rank: int, step: int) -> ClipBatch:
        """Builds one batch; raises an ImageError if images for one clip are damaged in a row."""
        source = self._source()
        first = (step * self.world_size + rank) * self.batch_size
        return collate_clips([self._clip(source, first + n) for n in range(self.batch_size)])

    def _clip(self, source: ClipSource, draw: int) -> Clip:
        """Returns the clip of a draw, which has its own seed; each epoch permutes all clips.

        If an image is damaged, the clip is replaced by one from elsewhere in the epoch.
        """
        epoch, place = divmod(draw, len(source))
        grouped = self.batch_size if self.group_by_aspect else None
        order = _epoch_order(self.key, len(source), self.seed, epoch, grouped)
        stride = max(1, len(source) // _TRIES)
        reasons: list[str] = []
        for attempt in range(_TRIES):
            seed = digest(self.seed, draw, *([attempt] if attempt else []))
            index = int(order[(place + attempt * stride) % len(source)])
            try:
                return source.clip(index, int(seed, 16))
            except ImageError as error:
                reasons.append(str(error))
                if self.on_damage:
                    self.on_damage(str(error))
        raise ImageError(
            f"{reasons[0]}; all of {_TRIES} images drawn for one clip are damaged: run longtake "
            "validate with --images to find the others"
        )

    def _source(self) -> ClipSource:
        if self.key not in _sources:
            _sources.clear()
            _sources[self.key] = self.make_source()
        return _sources[self.key]


@lru_cache(maxsize=2)
def _epoch_order(key: str, count: int, seed: int, epoch: int, grouped: int | None) -> np.ndarray:
    """Draws the order of an open source's clips; ``grouped`` is a batch size, None: no grouping."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    if grouped is None:
        return order
    # stored and mixed clips are not known before they are read
    is_portrait = getattr(_sources[key], "is_portrait", lambda index: False)  # noqa: ARG005
    portrait = np.array([is_portrait(index) for index in range(count)])
    return group_by_aspect(order, portrait[order], grouped, begun=-epoch * count % grouped)


def stream_batches(
    plan: BatchPlan, rank: int, first_step: int, tasks: int
) -> Iterator[tuple[int, ClipBatch]]:
    """Builds one worker's batches with Ray Data, ahead of use and in step order.

    The worker itself calls this function, so the stream ends when the worker ends. A resumed stage
    skips the steps before ``first_step``. ``tasks`` processes build batches in parallel, and each
    reserves half a logical CPU.
    """
    import ray.data

    num_steps = plan.num_steps - first_step
    if num_steps == 0:
        return
    blocks = max(1, min(_MAX_BLOCKS, num_steps // _STEPS_PER_BLOCK))
    # Ray would read a ``range`` in tasks, each in its own process
    steps = [{"step": step} for step in range(first_step, plan.num_steps)]
    rows = ray.data.from_items(steps, override_num_blocks=blocks).map(
        BatchMaker,
        fn_constructor_args=(plan, rank),
        compute=ray.data.ActorPoolStrategy(size=tasks),
        num_cpus=0.5,
    )
    rows.context.execution_options.preserve_order = True
    rows.context.custom_execution_callback_classes = [ThrottledExecutor]
    # the split runs in its own actor, which keeps the executor's threads out of this process
    (stream,) = rows.streaming_split(1)
    yield from prefetch((int(row["step"]), _batch_of(row)) for row in stream.iter_rows())


def _batch_of(row: dict[str, Any]) -> ClipBatch:
    """Returns a row's batch; raises the error that prevented it."""
    if row["error"]:
        raise error_from_text(row["error"])
    return row_to_batch(row)


class BatchMaker:
    """A builder of one worker's batch rows, in a long-lived process.

    The builder is a Ray actor, because Ray ends idle processes for tasks after a second if there
    are more processes than CPUs. A new process takes six seconds to import modules and open its
    data, while building eight batches takes only a tenth of a second.
    """

    def __init__(self, plan: BatchPlan, rank: int) -> None:
        self._plan, self._rank = plan, rank

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Adds the batch of a row's ``step`` to the row, or the error that prevented it.

        An error is a value here, since Ray Data keeps only the text of raised errors.
        """
        try:
            batch = self._plan.batch(self._rank, int(row["step"]))
        except Exception as error:
            return row | _NO_BATCH | {"error": error_to_text(error)}
        return row | batch_to_row(batch) | {"error": ""}


class ThrottledExecutor:
    """A callback that briefly pauses Ray Data's executor in each of its rounds.

    Without the pause, the executor polls in a busy loop while finished batches wait for a slow
    consumer, and this loop takes a whole core from training (Ray 2.60). The class implements
    ``ExecutionCallback``, an interface in a private module of Ray.
    """

    def on_execution_step(self, executor: Any) -> None:  # noqa: ARG002
        """Pauses the executor."""
        time.sleep(_PAUSE_S)

    def before_execution_starts(self, *_: object) -> None:
        """Does nothing."""

    after_execution_succeeds = after_execution_fails = before_execution_starts


def prefetch(items: Iterator[Item], count: int = 2) -> Iterator[Item]:
    """Computes up to ``count`` items ahead in a thread; raises its errors in the caller."""
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
        except BaseException as error:  # re-raised in the caller's thread
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
        # Ray ends a process that calls it after shutdown, as Ray Data's threads may do if a stream
        # is closed halfway and Ray is shut down right after.
        thread.join(_JOIN_S)


def batch_to_row(batch: ClipBatch) -> dict[str, Any]:
    """Packs a batch into plain bytes and lists, with one bit per pixel of a mask."""
    return {
        "images": batch.images.numpy().tobytes(),
        "shape": list(batch.images.shape),
        "masks": [np.packbits(mask.numpy()).tobytes() for mask in batch.masks],
        "labels": [label.tolist() for label in batch.labels],
        "sizes": batch.sizes.flatten().tolist(),
        "clip_ids": list(batch.clip_ids),
        "instance_ids": [ids.tolist() for ids in batch.instance_ids],
    }


def row_to_batch(row: dict[str, Any]) -> ClipBatch:
    """Unpacks a row from ``batch_to_row``."""
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
        instance_ids=tuple(torch.tensor(ids, dtype=torch.int64) for ids in row["instance_ids"]),
    )
