"""What makes training repeatable."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipelines.optimization import build_optimizer
from pipelines.optimizer_settings import OptimizerSettings
from pipelines.train import _restore, repeat_sums_exactly
from vis_core.clips.scenes import CLASS_NAMES
from vis_core.config import tiny_idol
from vis_core.criterion.settings import BoundaryConfig, QualityConfig
from vis_core.formats.categories import numbered
from vis_core.systems.base import System
from vis_core.systems.build import build_system, save_system


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.mark.usefixtures("two_threads")
def test_the_gradient_of_indexing_is_the_same_each_time() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(80, 64, generator=generator, requires_grad=True)
    chosen = torch.randint(0, 80, (30, 40), generator=generator)
    weights = torch.randn(30, 40, 64, generator=generator)
    repeat_sums_exactly()

    def gradient() -> torch.Tensor:
        (found,) = torch.autograd.grad((values[chosen] * weights).sum(), values)
        return found

    first = gradient()
    assert all(torch.equal(first, gradient()) for _ in range(200))


def test_a_checkpoint_gives_back_all_weights_of_training_and_the_open_line_of_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a system with parts that only training has, too."""
    import ray.train

    def system(seed: int) -> System:
        torch.manual_seed(seed)
        added = {"boundary": BoundaryConfig(), "quality": QualityConfig()}
        return build_system(tiny_idol().model_copy(update=added), len(CLASS_NAMES))

    trained = system(1)
    optimizer = build_optimizer(trained, OptimizerSettings())
    save_system(tmp_path, trained, numbered(CLASS_NAMES))
    losses = {"sums": {"mask": 2.5}, "count": 3, "skipped": 1, "seconds": 0.5}
    state = {"optimizer": optimizer.state_dict(), "step": 13, "losses": losses}
    torch.save(state, tmp_path / "optimizer.pt")
    checkpoint = ray.train.Checkpoint.from_directory(tmp_path)
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: checkpoint)
    other = system(2)
    assert _restore(other, build_optimizer(other, OptimizerSettings())) == (13, losses)
    wanted = trained.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in other.state_dict().items())
    assert any(name.startswith("addons.") for name in wanted)
