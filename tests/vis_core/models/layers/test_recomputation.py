"""Layers that compute their activations twice: the same gradient with less memory."""

import pytest
import torch

from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.systems import AnySystemConfig
from vis_core.config.tiny import tiny_minvis
from vis_core.models.layers.recomputation import recompute_layers, repeated_layers
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system

BATCH = collate_clips([render_scene(SceneSettings(height=64, width=96), 2, 5)])


def system(config: AnySystemConfig) -> System:
    torch.manual_seed(0)
    return build_system(config, len(CLASS_NAMES)).train()


def gradient(made: System) -> tuple[torch.Tensor, int]:
    """Returns the gradient of all losses, and the bytes stored for it."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in made.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = torch.stack(list(made(BATCH, torch.Generator().manual_seed(0)).values())).sum()
    held = sum(kept.values())
    total.backward()
    found = [p.grad.flatten() for p in made.parameters() if p.grad is not None]
    return torch.cat(found), held


@pytest.mark.parametrize("name", ["idol", "minvis"])
def test_the_gradient_is_the_same_and_half_is_kept(name: str) -> None:
    plain, thrifty = system(tiny_config(name)), system(tiny_config(name))
    assert recompute_layers(thrifty) >= 5
    wanted, much = gradient(plain)
    found, little = gradient(thrifty)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert little < 0.6 * much


def test_layers_whose_batch_norms_count_are_left_alone() -> None:
    frozen = repeated_layers(system(tiny_config("minvis")))
    learning = repeated_layers(system(tiny_minvis()))
    assert len(frozen) == len(learning) + 4, "the stages of the backbone"


def test_evaluation_is_as_before() -> None:
    plain, thrifty = system(tiny_config("minvis")).eval(), system(tiny_config("minvis")).eval()
    recompute_layers(thrifty)
    image = BATCH.images[0, 0].permute(1, 2, 0).numpy()
    for one, other in zip(plain.segment([image]), thrifty.segment([image]), strict=True):
        assert torch.equal(one.scores, other.scores)
