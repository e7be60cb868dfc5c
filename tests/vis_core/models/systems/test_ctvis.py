"""The losses of CTVIS as a whole: paper and release, still images, more instances than queries."""

import numpy as np
import pytest
import torch

from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.contrastive import CtvisItemsConfig
from vis_core.config.systems import CtvisConfig
from vis_core.models.systems.ctvis import Ctvis
from vis_core.structures import Clip, ClipBatch

SCENE = SceneSettings(height=64, width=96)


def system(items: CtvisItemsConfig | None = None, num_queries: int = 20) -> Ctvis:
    torch.manual_seed(0)
    segmentor = tiny_config("ctvis").segmentor.model_copy(update={"num_queries": num_queries})
    config = CtvisConfig(segmentor=segmentor, embedding_width=16, items=items or CtvisItemsConfig())
    return Ctvis(config, 8).train()


def batch(frames: int, clips: int = 2) -> ClipBatch:
    return collate_clips([render_scene(SCENE, frames, seed) for seed in range(clips)])


@pytest.mark.parametrize("items", [CtvisItemsConfig(), CtvisItemsConfig.released()])
def test_every_form_teaches_the_embedding_head(items: CtvisItemsConfig) -> None:
    model = system(items)
    losses = model(batch(3), torch.Generator().manual_seed(1))
    assert losses.keys() == model.loss_weights.keys()
    assert all(torch.isfinite(loss) for loss in losses.values())
    (losses["embed"] + losses["embed_cosine"]).backward()
    for name, parameter in model.embedding_head.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("items", [CtvisItemsConfig(), CtvisItemsConfig.released()])
def test_the_generator_decides_everything(items: CtvisItemsConfig) -> None:
    model = system(items)
    clips = batch(3)
    first, again, other = (
        model(clips, torch.Generator().manual_seed(seed))["embed"] for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_still_images_leave_the_embeddings_alone() -> None:
    model = system()
    losses = model(batch(1), None)
    assert losses["embed"] == 0
    losses["embed"].backward()
    assert all(p.grad.abs().sum() == 0 for p in model.embedding_head.parameters())


@pytest.mark.parametrize("items", [CtvisItemsConfig(), CtvisItemsConfig.released()])
def test_clips_may_show_more_than_there_are_queries(items: CtvisItemsConfig) -> None:
    masks = np.zeros((2, 6, 64, 96), dtype=bool)
    for row in range(6):
        masks[:, row, 8 * row : 8 * row + 8, 10 * row : 10 * row + 20] = True
    images = np.full((2, 64, 96, 3), 90, dtype=np.uint8)
    clip = Clip("crowd", images, masks, np.arange(6, dtype=np.int64))
    losses = system(items, num_queries=4)(collate_clips([clip]), torch.Generator().manual_seed(0))
    assert all(torch.isfinite(loss) for loss in losses.values())
