"""Boundary head and quality module: in training only, and nothing else changes with them."""

from pathlib import Path

import pytest
import torch

from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.clips.settings import SceneSettings
from vis_core.config import IdolConfig, tiny_idol
from vis_core.criterion.settings import BoundaryConfig, QualityConfig
from vis_core.formats.categories import numbered
from vis_core.systems.build import load_system, save_system
from vis_core.systems.idol import Idol

CATEGORIES = numbered(CLASS_NAMES)
ADD_ONS = {"boundary": BoundaryConfig(weight=0.5), "quality": QualityConfig()}


def idol(**add_ons: object) -> Idol:
    torch.manual_seed(4)
    config: IdolConfig = tiny_idol().model_copy(update=add_ons)
    return Idol(config, len(CLASS_NAMES))


def losses(system: Idol) -> dict[str, torch.Tensor]:
    scene = SceneSettings(height=64, width=96)
    batch = collate_clips([render_scene(scene, 2, seed) for seed in (3, 4)])
    return system.train()(batch, torch.Generator().manual_seed(0))


def test_switched_off_nothing_changes_and_on_only_their_losses_are_added() -> None:
    plain, rich = idol(), idol(**ADD_ONS)
    theirs = rich.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in plain.state_dict().items())
    before, after = losses(plain), losses(rich)
    assert after.keys() - before.keys() == {"boundary", "quality"}
    assert all(torch.equal(loss, after[name]) for name, loss in before.items())
    assert rich.loss_weights == plain.loss_weights | {"boundary": 0.5, "quality": 1.0}
    assert 0 < after["boundary"].item() < 3
    assert 0 < after["quality"].item() < 1


@pytest.mark.parametrize("name", ADD_ONS)
def test_each_stands_alone(name: str) -> None:
    found = losses(idol(**{name: ADD_ONS[name]}))
    assert name in found
    assert not (ADD_ONS.keys() - {name}) & found.keys()


def test_the_quality_module_does_not_teach_the_masks() -> None:
    system = idol(**ADD_ONS)
    losses(system)["quality"].backward()
    assert all(p.grad is None for p in system.segmentor.mask_branch.parameters())
    assert all(p.grad is not None for p in system.addons.quality_head.parameters())


def test_a_model_that_annotates_has_no_part_of_the_training(tmp_path: Path) -> None:
    trained = idol(**ADD_ONS)
    save_system(tmp_path / "stage", trained, CATEGORIES)
    again = load_system(tmp_path / "stage", for_training=True)
    assert again.state_dict().keys() == trained.state_dict().keys()
    lean = load_system(tmp_path / "stage")
    assert lean.config == tiny_idol()
    assert lean.state_dict().keys() == idol().state_dict().keys()
    save_system(tmp_path / "final", lean, CATEGORIES)
    assert load_system(tmp_path / "final").config == tiny_idol()
    image = render_scene(SceneSettings(), 1, 5).images[0]
    (with_them,), (without,) = again.segment([image]), lean.segment([image])
    assert torch.equal(with_them.mask_logits, without.mask_logits)
