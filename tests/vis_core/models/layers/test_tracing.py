"""A traced network finds what the eager one finds, bit by bit."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.vis_core.models.systems.test_every_weight_learns import BACKBONES, SYSTEMS
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.formats.categories import numbered
from vis_core.inference.frame_predictor import View
from vis_core.models.layers.tracing import TRACED_AFTER, TracedNetwork
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system, load_system, save_system
from vis_core.structures import Instances


def system_of(name: str, backbone: str = "resnet", seed: int = 0) -> System:
    """A system with random weights that looks at frames in a size close to their own."""
    torch.manual_seed(seed)
    config = SYSTEMS[name]
    segmentor = config.segmentor.model_copy(update={"backbone": BACKBONES[backbone]})
    sizes = {"segmentor": segmentor, "test_short_side": 90, "test_max_long_side": 200}
    return build_system(config.model_copy(update=sizes), 3).eval()


def frames_of(seed: int, height: int = 60, width: int = 100, count: int = 2) -> list[np.ndarray]:
    """Frames of a scene; of seed 0 nothing but black."""
    clip = render_scene(SceneSettings(height=height, width=width), count, seed)
    return list(clip.images * bool(seed))


def assert_equal(found: list[Instances], wanted: list[Instances]) -> None:
    """All tensors of all frames are the same."""
    for own, other in zip(found, wanted, strict=True):
        tensors, others = own.tensors(), other.tensors()
        assert tensors.keys() == others.keys()
        for name in tensors:
            assert torch.equal(tensors[name], others[name]), name


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_it_finds_what_the_eager_one_finds(
    name: str, backbone: str, caplog: pytest.LogCaptureFixture
) -> None:
    system = system_of(name, backbone)
    batches = [frames_of(seed) for seed in (1, 2, 0, 3, 4)]
    wanted = [system.segment(batch) for batch in batches]
    traced = system._traced = TracedNetwork(system, traced_after=1)
    with (
        caplog.at_level(logging.WARNING, "vis_core.models.layers.tracing"),
        torch.inference_mode(),
    ):
        found = [system.segment(batch) for batch in batches]
    for own, other in zip(found, wanted, strict=True):
        assert_equal(own, other)
    assert len(traced._programs) == 1
    assert all(program is not None for program in traced._programs.values()), caplog.text


def test_sizes_that_differ_only_in_padding_have_programs_of_their_own() -> None:
    system = system_of("ctvis")
    sizes = [(60, 100), (60, 104)]
    padded = {system.input_frames(frames_of(1, *size))[0].shape for size in sizes}
    assert len(padded) == 1
    wanted = [system.segment(frames_of(5, *size)) for size in sizes]
    traced = system._traced = TracedNetwork(system, traced_after=1)
    for size in sizes:
        for seed in (1, 2, 3):
            system.segment(frames_of(seed, *size))
    assert len(traced._programs) == 2
    for size, instances in zip(sizes, wanted, strict=True):
        assert_equal(system.segment(frames_of(5, *size)), instances)


def test_weights_are_those_of_now() -> None:
    system, other = system_of("stc"), system_of("stc", seed=1)
    traced = system._traced = TracedNetwork(system, traced_after=0)
    system.segment(frames_of(1))
    assert len(traced._programs) == 1
    system.load_state_dict(other.state_dict())
    assert_equal(system.segment(frames_of(2)), other.segment(frames_of(2)))


class _Choosing(nn.Module):
    """Does other operations from call to call, or refuses to be traced."""

    def untraceable(self, frames: Tensor, sizes: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("it has no such operation")
        return frames + sizes.sum()

    def look(self, frames: Tensor, sizes: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return frames + sizes.sum() * (self.calls % 2)


def test_a_program_that_differs_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    module = _Choosing()
    traced = TracedNetwork(module, traced_after=0)
    frames, sizes = torch.zeros(1, 3, 32, 64, dtype=torch.uint8), torch.tensor([[30, 60]])
    with caplog.at_level(logging.WARNING, "vis_core.models.layers.tracing"):
        for _ in range(4):
            traced.run(module.look, frames, sizes)
    assert list(traced._programs.values()) == [None]
    assert caplog.text.count("32 x 64 pixels: the network stays eager, since traced it finds") == 1
    assert module.calls == 6  # compared once, traced once, and eager from then on


def test_what_cannot_be_traced_stays_eager(caplog: pytest.LogCaptureFixture) -> None:
    module = _Choosing()
    traced = TracedNetwork(module, traced_after=0)
    frames, sizes = torch.zeros(1, 3, 32, 64, dtype=torch.uint8), torch.tensor([[30, 60]])
    for _ in range(2):
        assert torch.equal(traced.run(module.untraceable, frames, sizes), frames + 90)
    assert caplog.text.count("since traced it has no such operation") == 1


def test_views_of_other_sizes_are_traced_apart() -> None:
    system = system_of("idol")
    traced = system._traced = TracedNetwork(system, traced_after=0)
    seen = View(short_side=64).applied_to(system)
    for seed in (1, 2):
        for viewed in (system, seen):
            found = viewed.segment(frames_of(seed))
            eager = View(viewed.config.test_short_side).applied_to(system_of("idol"))  # type: ignore[attr-defined]
            assert_equal(found, eager.segment(frames_of(seed)))
    assert len(traced._programs) == 2


def test_only_sizes_that_come_often_are_traced(tmp_path: Path) -> None:
    save_system(tmp_path, system_of("minvis"), numbered(("a", "b", "c")))
    system = load_system(tmp_path)
    system.trace_network()
    traced = system._traced
    assert traced is not None
    for _ in range(TRACED_AFTER):
        system.segment(frames_of(1, count=1))
    assert not traced._programs
    system.segment(frames_of(1))
    assert not traced._programs
    system.segment(frames_of(1, count=1))
    assert len(traced._programs) == 1
