"""Weight updates: groups of parameters, and a step in half precision."""

import copy
import math
import re
from pathlib import Path

import pytest
import torch

from pipelines.config.optimizer import OptimizerSettings, Precision
from pipelines.training.worker.optimizers import AnyOptimizer, build_optimizer, rate_factor
from pipelines.training.worker.step import StepSettings, train_step
from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.segmentors import BackboneName, Mask2FormerSettings
from vis_core.config.systems import AnySystemConfig, CtvisConfig
from vis_core.config.tiny import tiny_minvis
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system
from vis_core.models.systems.ctvis import Ctvis
from vis_core.structures import ClipBatch

RATE, FACTOR, DECAY = 1e-4, 0.1, 0.05
SPARED = re.compile(  # norms, also those of convolution blocks, embeddings, tables of positions
    r"norm|relative_position_bias|queries_|transformer_module\.level_embed"
    r"|decoder\.(input_projections\.\d+|adapter_\d|layer_\d)\.1\."
)


def system_of(backbone: BackboneName) -> Ctvis:
    """Builds a full-size CTVIS whose tensors take no memory."""
    with torch.device("meta"):
        return Ctvis(CtvisConfig(segmentor=Mask2FormerSettings(backbone=backbone)), 40)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101", "swin_t", "swin_l", "convnext_l"])
def test_every_weight_that_learns_is_in_one_group(backbone: BackboneName) -> None:
    system = system_of(backbone)
    optimizer = build_optimizer(system, OptimizerSettings())
    grouped = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(grouped) == sorted(id(w) for w in system.parameters() if w.requires_grad)


@pytest.mark.parametrize("backbone", ["resnet50", "swin_l"])
def test_the_backbone_is_slow_and_norms_do_not_decay(backbone: BackboneName) -> None:
    system = system_of(backbone)
    optimizer = build_optimizer(system, OptimizerSettings(learning_rate=RATE))
    found = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    for name, weight in system.named_parameters():
        if id(weight) not in found:
            # FrozenBN, or the norm that no module reads
            assert ("normalization" if backbone == "resnet50" else "swin.layernorm") in name
            continue
        spared = SPARED.search(name) is not None
        rate = RATE * FACTOR if ".pixel_level_module.encoder." in name else RATE
        if spared:
            assert found[id(weight)] == (rate, 0.0), name
        elif weight.ndim > 1:
            assert found[id(weight)] == (rate, DECAY), name


def test_all_weights_decay_where_that_is_asked_for() -> None:
    settings = OptimizerSettings(decay_norms_and_embeddings=True, weight_decay=1e-4)
    optimizer = build_optimizer(system_of("swin_l"), settings)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}
    assert len(optimizer.param_groups) == 2


CONFIGS: dict[str, AnySystemConfig] = {
    "ctvis": tiny_config("ctvis"),
    "idol": tiny_config("idol"),
    "stc": tiny_config("stc"),
}


def batch_and_system(name: str) -> tuple[ClipBatch, System]:
    torch.manual_seed(0)
    batch = collate_clips([render_scene(SceneSettings(), 3, seed) for seed in (1, 2)])
    return batch, build_system(CONFIGS[name], len(CLASS_NAMES)).train()


@pytest.mark.parametrize("name", ["ctvis", "idol", "stc"])
def test_a_step_in_half_precision_is_close_to_one_in_full(name: str) -> None:
    values = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        batch, system = batch_and_system(name)
        optimizer = build_optimizer(system, OptimizerSettings())
        generator = torch.Generator().manual_seed(3)
        weights = system.loss_weights
        how = StepSettings(1.0, precision)
        outcome = train_step(system, batch, optimizer, weights, how, generator)
        assert not outcome.reason
        values[precision] = outcome.values
        assert all(weight.dtype == torch.float32 for weight in system.parameters())
        assert all(torch.isfinite(weight).all() for weight in system.parameters())
    full, half = values["float32"], values["bfloat16"]
    assert all(map(math.isfinite, half.values()))
    assert half["total"] == pytest.approx(full["total"], rel=0.05)
    assert half["class"] != full["class"]  # the network did run in half precision


def test_sgd_moves_by_its_momentum() -> None:
    """Checks two steps of a constant gradient: 1 and 1 + 0.9 of the rate, plus the decay."""
    torch.manual_seed(0)
    system = Ctvis(tiny_config("ctvis"), 2)
    settings = OptimizerSettings(name="sgd", learning_rate=0.1, backbone_factor=1, weight_decay=0)
    optimizer = build_optimizer(system, settings)
    weight = system.embedding_head.layers[0].weight
    before = weight.detach().clone()
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    torch.testing.assert_close(weight.detach(), before - 0.1 * (1 + 1.9))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0}


def test_warm_up_may_start_above_nothing() -> None:
    settings = OptimizerSettings(warmup_steps=4, warmup_from=0.2, decay_at=(0.5,))
    found = [rate_factor(step, 20, settings) for step in (0, 1, 3, 9, 10)]
    assert found == pytest.approx([0.4, 0.6, 1.0, 1.0, 0.1])
    plain = settings.model_copy(update={"warmup_from": 0.0})
    assert rate_factor(0, 20, plain) == pytest.approx(0.25)


def test_muon_moves_matrices_and_kernels_along_orthogonal_ones() -> None:
    """Checks that a direction with a gradient a hundred times as large does not dominate."""
    torch.manual_seed(0)
    system = Ctvis(CtvisConfig(segmentor=tiny_minvis().segmentor), 2)
    settings = OptimizerSettings(
        name="muon", learning_rate=0.1, backbone_factor=1, weight_decay=0, clip_norm=1.0
    )
    optimizer = build_optimizer(system, settings)
    kernel = next(w for w in system.parameters() if w.ndim == 4 and w.shape[2] == 3)
    matrix = system.embedding_head.layers[0].weight
    before = {id(weight): weight.detach().clone() for weight in (kernel, matrix)}
    for weight in (kernel, matrix):
        weight.grad = torch.randn_like(weight)
        weight.grad[0] *= 100
    optimizer.step()
    for weight in (kernel, matrix):
        moved = (before[id(weight)] - weight.detach()).flatten(1)
        assert weight.grad is not None
        slopes = torch.linalg.svdvals(weight.grad.flatten(1))
        assert slopes[0] / slopes[-1] > 50
        # torch's five Newton-Schulz iterations leave singular values near 1, not exactly 1
        found = torch.linalg.svdvals(moved) / (0.1 * 0.2 * max(moved.shape) ** 0.5)
        assert float(found.min()) > 0.4 and float(found.max()) < 1.3
    optimizer.zero_grad()
    assert kernel.grad is None and matrix.grad is None


def test_muon_leaves_vectors_norms_and_embeddings_to_adamw() -> None:
    system = Ctvis(CtvisConfig(segmentor=tiny_minvis().segmentor), 2)
    optimizer = build_optimizer(system, OptimizerSettings(name="muon", learning_rate=RATE))
    by_adamw = {
        weight.data_ptr()
        for group in optimizer.param_groups
        if "betas" in group
        for weight in group["params"]
    }
    turned = {
        weight.data_ptr()
        for group in optimizer.param_groups
        if "momentum" in group
        for weight in group["params"]
    }
    assert not by_adamw & turned
    assert by_adamw | turned == {w.data_ptr() for w in system.parameters() if w.requires_grad}
    for name, weight in system.named_parameters():
        if weight.requires_grad and (SPARED.search(name) or weight.ndim == 1):
            assert weight.data_ptr() in by_adamw, name
        elif weight.requires_grad:
            assert weight.data_ptr() in turned, name


def test_muon_goes_on_from_its_state(tmp_path: Path) -> None:
    settings = OptimizerSettings(name="muon", learning_rate=RATE)
    batch, system = batch_and_system("ctvis")
    optimizer = build_optimizer(system, settings)

    def take(system: System, optimizer: AnyOptimizer, step: int) -> None:
        generator = torch.Generator().manual_seed(step)
        how = StepSettings(1.0)
        outcome = train_step(system, batch, optimizer, system.loss_weights, how, generator)
        assert not outcome.reason

    take(system, optimizer, 0)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    again = copy.deepcopy(system)
    restored = build_optimizer(again, settings)
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    take(system, optimizer, 1)
    take(again, restored, 1)
    wanted = system.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())
