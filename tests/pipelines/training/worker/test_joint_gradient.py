"""The gradient of workers and of parts is that of the joint batch, however uneven the counts are.

Random draws are aligned: every mask is compared at the same points, all places are negatives, and
the first place of an instance is compared. Everything runs in float64, batch norms in evaluation.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from pipelines.training.worker.step import StepSettings, train_step
from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.criterion import QualityConfig
from vis_core.models.contrastive.ctvis import ItemDraws
from vis_core.models.criterion import mask2former_criterion
from vis_core.models.layers.recomputation import recompute_layers
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system
from vis_core.structures import ClipBatch

Change = Callable[[Any], dict[str, Any]]
HEADS = {"quality": QualityConfig()}
# the changes that make a preset's losses draw nothing but what ``align`` aligns
VARIANTS: dict[str, tuple[str, Change]] = {
    "ctvis": ("ctvis", lambda config: {}),  # noqa: ARG005
    "ctvis released": ("ctvis", lambda config: {"items": config.items.released()}),
    "minvis": ("minvis", lambda config: {}),  # noqa: ARG005
    "minvis with an extra head": ("minvis", lambda config: HEADS),  # noqa: ARG005
    "stc": ("stc", lambda config: {"tracking": without_draws(config.tracking)}),
    "stc, other counts": ("stc", lambda config: other_counts(config)),
    "ctvis on still images": ("ctvis", lambda config: {}),  # noqa: ARG005
    "stc on still images": ("stc", lambda config: {}),  # noqa: ARG005
    "ctvis recomputed": ("ctvis", lambda config: {}),  # noqa: ARG005
}
COUNTS = ((0, 0), (6, 6), (2, 0), (1, 5))  # instances of each clip in its two frames


def without_draws(tracking: Any, **changes: Any) -> Any:
    return tracking.model_copy(update={"num_negatives": 9999, "max_positives": None, **changes})


def other_counts(config: Any) -> dict[str, Any]:
    criterion = {"class_normalizer": "places", "box_quality": "iou", "masks_per_image": 8}
    return {
        "segmentor": config.segmentor.model_copy(update={"semantic_loss": True}),
        "criterion": config.criterion.model_copy(update=criterion),
        "tracking": without_draws(config.tracking, loss="classification", both_frames=False),
    }


def batch(variant: str) -> ClipBatch:
    """Builds clips of which one is empty and one loses its instances in the second frame."""
    clips = []
    for seed, every_count in enumerate(COUNTS):
        counts = every_count[:1] if "still" in variant else every_count
        scene = SceneSettings(height=64, width=96, min_objects=6, max_objects=6)
        clip = render_scene(scene, len(counts), seed)
        for masks, count in zip(clip.masks, counts, strict=True):
            masks[count:] = False
        clips.append(clip)
    return collate_clips(clips)


def align(monkeypatch: Any) -> None:
    """Makes random draws equal for every mask, clip and instance, and all numbers float64."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)

    def points(count: int, num_points: int, device: Any, generator: Any) -> Tensor:  # noqa: ARG001
        drawn = torch.rand(1, num_points, 2, generator=torch.Generator().manual_seed(num_points))
        return drawn.expand(count, -1, -1)

    def draws(shape: tuple[int, int, int], *others: Any) -> ItemDraws:  # noqa: ARG001
        numbers = torch.rand(shape[0], 1, generator=torch.Generator().manual_seed(5))
        return ItemDraws(*(numbers.expand(-1, size) for size in (*[shape[1]] * 3, shape[2])))

    monkeypatch.setattr(mask2former_criterion, "random_points", points)
    monkeypatch.setattr(ItemDraws, "random", draws)
    monkeypatch.setattr(torch, "randint", lambda high, size, **how: torch.zeros(size).long())  # noqa: ARG005


def system(variant: str) -> System:
    name, change = VARIANTS[variant]
    config = tiny_config(name)
    torch.manual_seed(0)
    built = build_system(config.model_copy(update=change(config)), len(CLASS_NAMES)).double()
    for norm in built.train().modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.eval()  # the statistics of a batch are not those of its parts
    if "recomputed" in variant:
        recompute_layers(built)
    return built


class Gradient:
    """An optimizer that keeps the gradient of a step."""

    def __init__(self, system: System) -> None:
        self._named = dict(system.named_parameters())

    def zero_grad(self, **how: Any) -> None:  # noqa: ARG002
        for parameter in self._named.values():
            parameter.grad = None

    def step(self) -> None:
        grads = {name: parameter.grad for name, parameter in self._named.items()}
        self.found = {name: grad.clone() for name, grad in grads.items() if grad is not None}


def gradient(variant: str, clips: ClipBatch, parts: int = 1, wrap: Any = None) -> dict[str, Tensor]:
    return step(variant, clips, parts, wrap)[0]


def step(
    variant: str, clips: ClipBatch, parts: int, wrap: Any = None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Takes a step; returns the gradient and the values of the losses."""
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.MonkeyPatch.context() as monkeypatch:
            align(monkeypatch)
            built = system(variant)
            kept: Any = Gradient(built)
            weights = built.loss_weights
            trained = wrap(built) if wrap else built
            settings = StepSettings(clip_norm=1e12, parts=parts)
            outcome = train_step(trained, clips, kept, weights, settings, torch.Generator())
            assert not outcome.reason
    finally:
        torch.set_default_dtype(torch.float32)
    return kept.found, outcome.values


def difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    assert found.keys() == wanted.keys()
    errors = [(found[name] - grad).square().sum() for name, grad in wanted.items()]
    return float(torch.stack(errors).sum().sqrt() / norm(wanted))


def norm(gradients: dict[str, Tensor]) -> Tensor:
    return torch.stack([grad.square().sum() for grad in gradients.values()]).sum().sqrt()


@pytest.mark.parametrize("variant", VARIANTS)
def test_parts_have_the_gradient_of_the_whole_batch(variant: str) -> None:
    wanted, whole = step(variant, batch(variant), 1)
    for parts in (2, 3, 4):
        found, losses = step(variant, batch(variant), parts)
        assert difference(found, wanted) < 1e-5, parts
        assert losses == pytest.approx(whole, rel=1e-6)


def one_worker(rank: int, folder: str, world_size: int, parts: int) -> None:
    """Computes the gradients of its share of the batch, averaged with those of other workers."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size
    )
    size = len(COUNTS) // world_size
    own = slice(rank * size, (rank + 1) * size)
    wrap = torch.nn.parallel.DistributedDataParallel
    found = {name: gradient(name, batch(name)[own], parts, wrap) for name in VARIANTS}
    torch.save(found, Path(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("world_size, parts", [(2, 1), (2, 2), (4, 1)])
def test_workers_have_the_gradient_of_the_joint_batch(
    world_size: int, parts: int, tmp_path: Path
) -> None:
    arguments = (str(tmp_path), world_size, parts)
    spawn(one_worker, arguments, nprocs=world_size)
    wanted = {name: gradient(name, batch(name)) for name in VARIANTS}
    for rank in range(world_size):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for variant, gradients in wanted.items():
            assert difference(found[variant], gradients) < 1e-5, variant
