"""Batches of synthetic still scenes, rendered in a data loader's worker process."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.structures import ClipBatch

_FIRST_SEED = 1_000_000_000  # demonstrations and tests use scene seeds below this number


class SceneBatches(Dataset[ClipBatch]):
    """A data set of batches; batch i depends only on i, ``batch`` and ``first_seed``."""

    def __init__(self, num_steps: int, batch: int, first_seed: int) -> None:
        self.num_steps, self.batch, self.first_seed = num_steps, batch, first_seed

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, index: int) -> ClipBatch:
        if index >= self.num_steps:
            raise IndexError(index)
        first = self.first_seed + index * self.batch
        clips = [render_scene(SceneSettings(), 1, first + k) for k in range(self.batch)]
        images = torch.stack([torch.from_numpy(clip.images) for clip in clips])
        return ClipBatch(
            images=images.permute(0, 1, 4, 2, 3).contiguous(),
            masks=[torch.from_numpy(clip.masks) for clip in clips],
            labels=[torch.from_numpy(clip.labels) for clip in clips],
            sizes=torch.stack([torch.from_numpy(clip.frame_sizes) for clip in clips]),
        )


def first_scene(seed: int) -> int:
    """Returns the first scene seed of a pretraining run, beyond all seeds used elsewhere."""
    return _FIRST_SEED + seed * 10_000_000


def scene_batches(num_steps: int, batch: int, first_seed: int) -> Iterator[ClipBatch]:
    """Yields one batch of still scenes per step, rendered in a worker process."""
    yield from DataLoader(
        SceneBatches(num_steps, batch, first_seed),
        batch_size=None,
        num_workers=1,
        prefetch_factor=8,
    )
