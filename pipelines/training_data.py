"""Ray Data between clip sources and the training loop: one row is one batch.

Every batch is a function of (seed, stage, rank, step), whatever the cluster does. So a stage that
is resumed sees the batches that it would have seen, and two runs with one seed see the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipelines.config import digest
from vis_core.clips.collate import collate_clips
from vis_core.clips.sources import ClipSource
from vis_core.structures import ClipBatch

_sources: dict[str, ClipSource] = {}


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


def batch_dataset(plan: BatchPlan, rank: int, first_step: int = 0) -> Any:
    """Streams the batches of one worker as a Ray dataset in the order of steps."""
    import ray.data

    steps = ray.data.range(plan.num_steps - first_step, override_num_blocks=_blocks(plan))
    return steps.map(
        _make_row, fn_kwargs={"plan": plan, "rank": rank, "first_step": first_step}, num_cpus=0.5
    )


def read_batches(shard: Any, first_step: int) -> Iterator[tuple[int, ClipBatch]]:
    """Yields (step, batch) from a worker's shard, from ``first_step`` on."""
    for row in shard.iter_rows():
        step = int(row["step"])
        if step >= first_step:
            yield step, row_to_batch(row)


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


def _make_row(row: dict[str, Any], plan: BatchPlan, rank: int, first_step: int) -> dict[str, Any]:
    step = first_step + int(row["id"])
    return {"step": step} | batch_to_row(plan.batch(rank, step))


def _blocks(plan: BatchPlan) -> int:
    """Cuts a stage into blocks of about 8 steps: small enough to stream, few enough to schedule."""
    return max(1, min(1000, plan.num_steps // 8))
