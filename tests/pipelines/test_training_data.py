"""A batch is a function of the seed and its place, whoever makes it and whenever."""

from functools import partial

import torch

from pipelines.training_data import BatchPlan, batch_to_row, row_to_batch
from vis_core.clips.scenes import render_scene
from vis_core.clips.settings import SceneSettings
from vis_core.structures import Clip


class Scenes:
    """A clip source of six scenes."""

    def __len__(self) -> int:
        return 6

    def clip(self, index: int, seed: int) -> Clip:
        return render_scene(SceneSettings(height=64, width=96), 2, seed % 1000 + index)


def plan(seed: int = 3, key: str = "scenes", world_size: int = 1) -> BatchPlan:
    return BatchPlan(partial(Scenes), key, seed, 10, 2, world_size)


def test_the_same_place_gives_the_same_batch() -> None:
    first, again = plan().batch(0, 4), plan(key="reopened").batch(0, 4)
    assert torch.equal(first.images, again.images)
    other = plan(seed=4, key="other").batch(0, 4)
    assert not torch.equal(first.images, other.images)


def test_two_ranks_share_the_draws_of_one() -> None:
    alone = [plan().batch(0, step) for step in (2, 3)]
    together = [plan(key="two", world_size=2).batch(rank, 1) for rank in (0, 1)]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.images, other.images)


def test_rows_hold_batches_exactly() -> None:
    batch = plan().batch(0, 0)
    back = row_to_batch(batch_to_row(batch))
    assert torch.equal(batch.images, back.images)
    assert torch.equal(batch.sizes, back.sizes)
    for one, other in zip(batch.masks, back.masks, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(batch.labels, back.labels, strict=True):
        assert torch.equal(one, other)
