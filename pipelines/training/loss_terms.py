"""The size of each loss at step 0, to be checked before a long training run."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.config.run import RunConfig, StageConfig
from pipelines.registry.start_weights import start_folder
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system
from vis_core.models.systems.transfer import start_from
from vis_core.structures import ClipBatch

# A loss this many times as large as all others together leaves them a small share of each step,
# since gradients are clipped together.
DOMINANT = 10.0
_NUM_CLASSES = 40  # YouTube-VIS
_SCENE = SceneSettings(height=360, width=640)  # about the papers' training size


@dataclass(frozen=True)
class LossTerm:
    """One loss at step 0, with its weight."""

    name: str
    value: float
    weight: float

    @property
    def weighted(self) -> float:
        """The value times the weight."""
        return self.value * self.weight + 0.0  # never -0


def loss_terms(config: RunConfig, stage: StageConfig) -> list[LossTerm]:
    """Computes a stage's losses on a synthetic clip of 360 x 640 pixels, largest first.

    The network has the run's start weights, or random ones drawn from the run's seed.
    """
    system, batch = _start_system(config), _scene(config, stage)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        losses = system(batch, generator)
    weights = system.loss_weights | stage.loss_weights
    terms = [LossTerm(name, float(loss), weights[name]) for name, loss in losses.items()]
    return sorted(terms, key=lambda term: -term.weighted)


def dominance(terms: list[LossTerm]) -> float:
    """Returns the largest weighted loss divided by the sum of the others."""
    largest, *others = sorted((term.weighted for term in terms), reverse=True)
    return largest / max(sum(others), 1e-12)


def terms_table(config: RunConfig) -> list[str]:
    """Returns the table of each stage's losses at step 0, for ``train --dry-run --terms``."""
    lines = [f"losses at step 0, on a synthetic clip of {_SCENE.height} x {_SCENE.width} pixels"]
    tables: dict[str, list[str]] = {}
    for stage in config.stages:
        key = f"{num_frames(config, stage)} {stage.loss_weights}"
        if key not in tables:
            tables[key] = _table(loss_terms(config, stage))
        lines += [f"stage {stage.name}: clips of {num_frames(config, stage)} frames", *tables[key]]
    return lines


def num_frames(config: RunConfig, stage: StageConfig) -> int:
    """Returns the number of frames in a stage's clips."""
    frames = {"images": 1, "pairs": 2, "pseudo": config.pseudo.num_frames}
    return frames.get(stage.clips, stage.clip_frames)


def _table(terms: list[LossTerm]) -> list[str]:
    total = sum(term.weighted for term in terms)
    rows = [
        f"  {term.name:<14}{term.value + 0.0:>10.3g} x {term.weight:<6g} = {term.weighted:>9.3g}"
        f"   {term.weighted / max(total, 1e-12):4.0%}"
        for term in terms
    ]
    if dominance(terms) > DOMINANT:
        rows.append(
            f"  {terms[0].name} is {dominance(terms):.0f} times the sum of the other losses; since "
            "gradients are clipped together, the others hardly learn: lower its weight"
        )
    return rows


def _start_system(config: RunConfig) -> System:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        system = build_system(config.system, _NUM_CLASSES)
    with tempfile.TemporaryDirectory() as cache:
        folder = start_folder(config, Path(cache))
        if folder is not None:
            start_from(system, folder)
    return system.train()


def _scene(config: RunConfig, stage: StageConfig) -> ClipBatch:
    return collate_clips([render_scene(_SCENE, num_frames(config, stage), config.seed)])
