"""Training of the small start weights that the project ships (``make tiny-weights``).

A Mask2Former learns slowly from scratch, and hub weights are not available everywhere. So the tiny
segmentor is trained once, on synthetic scenes whose seeds no demonstration or test uses. The
segmentor is shipped without an embedding head, because the demonstration itself must learn to link
instances.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.config.optimizer import OptimizerSettings
from pipelines.experiments.backbone_pretraining import pretrained_segmentor
from pipelines.training.worker.optimizers import build_optimizer, rate_factor, set_rate
from pipelines.training.worker.step import StepSettings, train_step
from vis_core.clips.scene_batches import first_scene, scene_batches
from vis_core.clips.scenes import CLASS_NAMES
from vis_core.config.clips import SceneSettings
from vis_core.errors import TrainingDivergedError
from vis_core.files import write_json
from vis_core.formats.categories import numbered
from vis_core.models.systems.base import System
from vis_core.models.systems.build import save_system

_OPTIMIZER = OptimizerSettings(
    learning_rate=6e-4, backbone_factor=1.0, clip_norm=5.0, warmup_steps=300, schedule="cosine"
)
_SMOOTHING = 0.98  # for the displayed losses


@dataclass(frozen=True)
class TinyTraining:
    """The settings for training the tiny weights; ``batch`` is the number of images per step."""

    out: Path
    steps: int
    batch: int
    seed: int
    backbone_steps: int
    save_every: int


def train_tiny_weights(training: TinyTraining) -> Iterator[str]:
    """Trains the tiny weights and saves them with a config and a card; yields progress lines.

    Raises TrainingDivergedError if a loss or a gradient is not finite.
    """
    started = time.monotonic()
    system = pretrained_segmentor(training.backbone_steps, 2 * training.batch, training.seed)
    optimizer = build_optimizer(system, _OPTIMIZER)
    generator = torch.Generator().manual_seed(training.seed)
    step_settings = StepSettings(_OPTIMIZER.clip_norm)
    smoothed: dict[str, float] = {}
    batches = scene_batches(training.steps, training.batch, first_scene(training.seed))
    for done, batch in enumerate(batches, 1):
        set_rate(optimizer, rate_factor(done - 1, training.steps, _OPTIMIZER))
        outcome = train_step(
            system, batch, optimizer, system.loss_weights, step_settings, generator
        )
        if outcome.reason:
            raise TrainingDivergedError(f"{outcome.reason} in step {done}")
        for name, value in outcome.values.items():
            former = smoothed.get(name, value)
            smoothed[name] = _SMOOTHING * former + (1 - _SMOOTHING) * value
        seconds = time.monotonic() - started
        if done % 100 == 0:
            losses = " ".join(f"{name} {value:.3f}" for name, value in smoothed.items())
            yield f"step {done}/{training.steps}  {losses}  {done / seconds:.2f} it/s"
        if done % training.save_every == 0 or done == training.steps:
            _save(training, system, smoothed, done, seconds)


def _save(
    training: TinyTraining, system: System, losses: dict[str, float], steps: int, seconds: float
) -> None:
    save_system(training.out, system, numbered(CLASS_NAMES))
    card = {
        "what": "tiny Mask2Former, start weights for demonstrations and tests",
        "trained_on": "synthetic still scenes (vis_core/clips/scenes.py), one new scene an image",
        "scene_settings": SceneSettings().model_dump(),
        "first_scene_seed": first_scene(training.seed),
        "images_seen": training.batch * (steps + 2 * training.backbone_steps),
        "backbone_steps": training.backbone_steps,
        "steps": steps,
        "seconds": round(seconds),
        "seed": training.seed,
        "smoothed_losses": {name: round(value, 4) for name, value in losses.items()},
        "command": "make tiny-weights",
    }
    write_json(training.out / "card.json", card, indent=2)
