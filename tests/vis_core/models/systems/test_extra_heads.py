"""Boundary head and quality module: in training only by default, and nothing else changes."""

from pathlib import Path

import pytest
import torch

from tests.helpers.presets import combined_config, tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.criterion import BoundaryConfig, QualityConfig
from vis_core.config.systems import AnySystemConfig, CtvisConfig
from vis_core.errors import CheckpointError
from vis_core.formats.categories import numbered
from vis_core.geometry.masks import mask_boundary
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system, load_system, save_system
from vis_core.models.systems.extra_heads import ExtraHeads, MatchedFrame
from vis_core.models.systems.idol import Idol
from vis_core.models.systems.query_system import QuerySystem

CATEGORIES = numbered(CLASS_NAMES)
EXTRA_HEADS = {"boundary": BoundaryConfig(weight=0.5), "quality": QualityConfig()}
RESCORED = QualityConfig(rescore=True)
CONFIGS: dict[str, AnySystemConfig] = {
    "idol": tiny_config("idol"),
    "ctvis": CtvisConfig(segmentor=tiny_config("minvis").segmentor, test_short_side=128),
    "minvis": tiny_config("minvis"),
    "ctvis_on_deformable_detr": combined_config("ctvis"),
    "idol_on_mask2former": combined_config("idol"),
}
every_system = pytest.mark.parametrize("name", CONFIGS)


def build(name: str, **extra_heads: object) -> Idol | QuerySystem:
    torch.manual_seed(4)
    system = build_system(CONFIGS[name].model_copy(update=extra_heads), len(CLASS_NAMES))
    assert isinstance(system, (Idol, QuerySystem))
    return system


def losses(system: System) -> dict[str, torch.Tensor]:
    scene = SceneSettings(height=64, width=96)
    batch = collate_clips([render_scene(scene, 2, seed) for seed in (3, 4)])
    return system.train()(batch, torch.Generator().manual_seed(0))


@every_system
def test_switched_off_nothing_changes_and_on_only_their_losses_are_added(name: str) -> None:
    plain, rich = build(name), build(name, **EXTRA_HEADS)
    theirs = rich.state_dict()
    assert all(torch.equal(weight, theirs[key]) for key, weight in plain.state_dict().items())
    before, after = losses(plain), losses(rich)
    assert after.keys() - before.keys() == {"boundary", "quality"}
    assert all(torch.equal(loss, after[key]) for key, loss in before.items())
    assert rich.loss_weights == plain.loss_weights | {"boundary": 0.5, "quality": 1.0}
    assert 0 < after["boundary"].item() < 3
    assert 0 < after["quality"].item() < 1


@every_system
@pytest.mark.parametrize("one", EXTRA_HEADS)
def test_each_stands_alone(name: str, one: str) -> None:
    found = losses(build(name, **{one: EXTRA_HEADS[one]}))
    assert one in found
    assert not (EXTRA_HEADS.keys() - {one}) & found.keys()


@every_system
def test_the_quality_module_does_not_teach_the_masks_and_the_boundary_head_does(name: str) -> None:
    system = build(name, **EXTRA_HEADS)
    found = losses(system)
    found["quality"].backward(retain_graph=True)
    made_of = _mask_features_weight(system)
    assert made_of.grad is None
    assert all(p.grad is not None for p in system.addons.quality_head.parameters())
    found["boundary"].backward()
    assert made_of.grad is not None
    assert made_of.grad.any()


def _mask_features_weight(system: System) -> torch.Tensor:
    """Returns a weight used only for masks."""
    names = ("segmentor.mask_branch.", "segmentor.network.model.pixel_level_module.decoder.mask_")
    return next(p for key, p in system.named_parameters() if key.startswith(names))


def test_rims_come_from_the_truth_and_the_iou_from_the_masks() -> None:
    """Checks that a frame without a match changes nothing."""
    truth = torch.zeros(1, 32, 32, dtype=torch.bool)
    truth[:, 8:24, 8:24] = True
    logits = torch.where(truth[:, 2::4, 2::4], 20.0, -20.0)
    logits[0, 2, 2:6] = -20.0  # 12 of 16 cells are found
    extra_heads = ExtraHeads(tiny_config("idol").model_copy(update=EXTRA_HEADS), 4, 3)
    frame = MatchedFrame(torch.zeros(1, 4), lambda _: logits, truth)
    nothing = MatchedFrame(torch.zeros(0, 4), lambda _: logits[:0], truth[:0])
    found = extra_heads.losses([frame, nothing])
    quality = torch.sigmoid(extra_heads.quality_head(torch.zeros(4)))
    assert found["quality"].item() == pytest.approx((quality.item() - 0.75) ** 2)
    rims = mask_boundary(truth[:, 2::4, 2::4], 0.1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, rims.float())
    overlap = 2 * (logits.sigmoid() * rims).sum()
    dice = 1 - overlap / (logits.sigmoid().square().sum() + rims.sum() + 1e-5)
    assert found["boundary"].item() == pytest.approx((expected + dice).item())


@every_system
def test_a_model_that_annotates_has_no_part_of_the_training(name: str, tmp_path: Path) -> None:
    trained = build(name, **EXTRA_HEADS)
    save_system(tmp_path / "stage", trained, CATEGORIES)
    again = load_system(tmp_path / "stage", for_training=True)
    assert again.state_dict().keys() == trained.state_dict().keys()
    lean = load_system(tmp_path / "stage")
    assert lean.config == CONFIGS[name]
    assert lean.state_dict().keys() == build(name).state_dict().keys()
    save_system(tmp_path / "final", lean, CATEGORIES)
    assert load_system(tmp_path / "final").config == CONFIGS[name]
    image = render_scene(SceneSettings(), 1, 5).images[0]
    (with_them,), (without,) = again.segment([image]), lean.segment([image])
    assert torch.equal(with_them.mask_logits, without.mask_logits)
    assert without.qualities is None


@every_system
def test_rescoring_keeps_the_quality_module_alone_and_predicts(name: str, tmp_path: Path) -> None:
    trained = build(name, boundary=BoundaryConfig(), quality=RESCORED)
    save_system(tmp_path, trained, CATEGORIES)
    kept = load_system(tmp_path)
    added = kept.state_dict().keys() - build(name).state_dict().keys()
    assert {key.split(".")[1] for key in added} == {"quality_head"}
    assert kept.config.for_inference() == kept.config
    image = render_scene(SceneSettings(), 1, 5).images[0]
    (found,) = kept.segment([image])
    (plain,) = build(name).eval().segment([image])
    assert torch.equal(found.scores, plain.scores)
    assert found.qualities is not None
    assert found.qualities.shape == found.scores.shape
    assert ((found.qualities > 0) & (found.qualities < 1)).all()


def test_a_rescoring_model_without_its_head_is_refused(tmp_path: Path) -> None:
    save_system(tmp_path, build("idol"), CATEGORIES)
    config = CONFIGS["idol"].model_copy(update={"quality": RESCORED})
    (tmp_path / "config.json").write_text(config.model_dump_json(by_alias=True))
    with pytest.raises(CheckpointError, match=r"addons.quality_head.layers.0.weight is missing"):
        load_system(tmp_path)
