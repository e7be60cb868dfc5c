"""Mask2Former's pixel decoder runs in full precision even where the network does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vis_core
from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system, load_system
from vis_core.models.systems.minvis import Minvis

DECODER = "segmentor.network.model.pixel_level_module.decoder."


def system() -> Minvis:
    torch.manual_seed(0)
    built = build_system(tiny_config("minvis"), len(CLASS_NAMES))
    assert isinstance(built, Minvis)
    return built.train()


def images(height: int, width: int) -> Tensor:
    scene = SceneSettings(height=height, width=width)
    return collate_clips([render_scene(scene, 2, 7)]).images[0]


@pytest.mark.parametrize("height, width", [(64, 96), (96, 64)])
def test_half_precision_leaves_the_pixel_decoder_alone(height: int, width: int) -> None:
    segmentor = system().segmentor
    module = segmentor.network.model.pixel_level_module
    given: list[list[Tensor]] = []
    module.decoder.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    frames = images(height, width)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        halved = segmentor(frames)
    with torch.no_grad():
        wanted = module.decoder([level.float() for level in given[0]])
    assert torch.equal(halved.mask_features, wanted.mask_features)
    assert all(level.dtype == torch.float32 for level in given[0])
    assert not torch.equal(segmentor(frames).mask_features, halved.mask_features)


def offset_gradients(system: System, seed: int, *, half: bool) -> Tensor:
    """Returns the gradients of the pixel decoder's sampling offsets, which suffer most."""
    scene = SceneSettings(height=128, width=192)
    batch = collate_clips([render_scene(scene, 2, seed)])
    system.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        losses = system.losses(batch, torch.Generator().manual_seed(seed))
    torch.stack(
        [system.loss_weights[name] * loss for name, loss in losses.items()]
    ).sum().backward()
    found = [
        parameter.grad.flatten()
        for name, parameter in system.named_parameters()
        if name.startswith(DECODER) and "sampling_offsets" in name and parameter.grad is not None
    ]
    return torch.cat(found)


def test_the_gradient_of_the_pixel_decoder_is_closer_to_that_of_full_precision() -> None:
    """Compares mean relative errors with trained weights (0.07 with, 0.17 without)."""
    weights = Path(vis_core.__file__).parent / "weights" / "tiny"
    trained = load_system(weights, for_training=True).train()
    decoder: Any = trained.get_submodule(DECODER.rstrip("."))
    full: Callable[..., Any] = decoder.forward

    def halved(levels: list[Tensor]) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return full([level.bfloat16() for level in levels])

    errors = []
    for forward in (full, halved):
        error = 0.0
        for seed in range(10, 13):
            decoder.forward = full
            wanted = offset_gradients(trained, seed, half=False)
            decoder.forward = forward
            found = offset_gradients(trained, seed, half=True)
            error += float((found - wanted).norm() / wanted.norm())
        errors.append(error)
    assert errors[0] < 0.7 * errors[1]
