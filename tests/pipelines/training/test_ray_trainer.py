"""Everything that makes training repeatable."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipelines.config.run import RunConfig, StageConfig
from pipelines.training.worker.job import StageJob
from pipelines.training.worker.loop import StageLoop, repeat_sums_exactly
from pipelines.training.worker.optimizers import build_optimizer
from tests.helpers.presets import tiny_config
from vis_core.clips.scenes import CLASS_NAMES
from vis_core.config.criterion import BoundaryConfig, QualityConfig
from vis_core.formats.categories import numbered
from vis_core.models.systems.build import build_system, save_system


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
    tmp_path: Path,
) -> None:
    """Covers a system with training-only parts, too."""
    added = {"boundary": BoundaryConfig(), "quality": QualityConfig()}
    stage = StageConfig(name="pairs", clips="pairs", steps=20)
    config = RunConfig(system=tiny_config("idol").model_copy(update=added), stages=(stage,))
    job = StageJob(config, stage, numbered(CLASS_NAMES), None, tmp_path, "key", 1)
    torch.manual_seed(1)
    trained = build_system(config.system, len(CLASS_NAMES))
    losses = {"sums": {"mask": 2.5}, "count": 3, "skipped": 1, "seconds": 0.5, "waited": 0.1}
    state = {
        "optimizer": build_optimizer(trained, stage.optimizer).state_dict(),
        "step": 13,
        "losses": losses,
    }
    folder = tmp_path / "checkpoint"
    save_system(folder, trained, job.categories)
    torch.save(state, folder / "optimizer.pt")
    job.checkpoints.save(13, folder)
    loop = StageLoop(job, 0, torch.device("cpu"))
    assert loop.first_step == 13
    assert loop._losses is not None
    kept = loop._losses.state
    assert {name: kept[name] for name in ("sums", "count", "skipped", "waited")} == {
        name: losses[name] for name in ("sums", "count", "skipped", "waited")
    }
    wanted = trained.state_dict()
    found = loop._system.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    assert any(name.startswith("addons.") for name in wanted)
