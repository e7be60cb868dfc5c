"""Trains the small start weights that the project ships (``make tiny-weights``).

A Mask2Former learns slowly from nothing, and hub weights cannot be had everywhere. So the tiny
segmentor is trained once on synthetic scenes, whose seeds no demonstration and no test uses, and
is shipped without an embedding head: identity is what the demonstration itself must learn.
"""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vis_core.models.systems.base import System


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--steps", type=int, default=7_000, help="training steps")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order")
    parser.add_argument(
        "--backbone-steps", type=int, default=600, help="steps of dense pretraining"
    )
    parser.add_argument("--save-every", type=int, default=1000, help="steps between snapshots")


def run(args: argparse.Namespace) -> int:
    """Trains, saves ``weights.safetensors`` with its config, and writes the card."""
    import torch

    from pipelines.config.optimizer import OptimizerSettings
    from pipelines.experiments.backbone_pretraining import pretrained_segmentor
    from pipelines.training.worker.optimizers import build_optimizer, rate_factor, set_rate
    from pipelines.training.worker.step import StepSettings, train_step
    from vis_core.clips.scene_batches import first_scene, scene_batches
    from vis_core.errors import TrainingDivergedError

    started = time.monotonic()
    system = pretrained_segmentor(args.backbone_steps, 2 * args.batch, args.seed)
    settings = OptimizerSettings(
        learning_rate=6e-4,
        backbone_factor=1.0,
        clip_norm=5.0,
        warmup_steps=300,
        schedule="cosine",
    )
    optimizer = build_optimizer(system, settings)
    generator = torch.Generator().manual_seed(args.seed)
    running: dict[str, float] = {}
    batches = scene_batches(args.steps, args.batch, first_scene(args.seed))
    for step, batch in enumerate(batches):
        set_rate(optimizer, rate_factor(step, args.steps, settings))
        outcome = train_step(
            system,
            batch,
            optimizer,
            system.loss_weights,
            StepSettings(settings.clip_norm),
            generator,
        )
        if outcome.reason:
            raise TrainingDivergedError(f"{outcome.reason} in step {step + 1}")
        for name, value in outcome.values.items():
            running[name] = 0.98 * running.get(name, value) + 0.02 * value
        done = step + 1
        if done % 100 == 0:
            losses = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            rate = done / (time.monotonic() - started)
            print(f"step {done}/{args.steps}  {losses}  {rate:.2f} it/s", flush=True)
        if done % args.save_every == 0 or done == args.steps:
            seconds = time.monotonic() - started
            _save(args, system, running, done, seconds)
    return 0


def _save(
    args: argparse.Namespace, system: "System", losses: dict[str, float], steps: int, seconds: float
) -> None:
    from vis_core.clips.scene_batches import first_scene
    from vis_core.clips.scenes import CLASS_NAMES
    from vis_core.config.clips import SceneSettings
    from vis_core.formats.categories import numbered
    from vis_core.models.systems.build import save_system

    save_system(args.out, system, numbered(CLASS_NAMES))
    card = {
        "what": "tiny Mask2Former, start weights for demonstrations and tests",
        "trained_on": "synthetic still scenes (vis_core/clips/scenes.py), one new scene an image",
        "scene_settings": SceneSettings().model_dump(),
        "first_scene_seed": first_scene(args.seed),
        "images_seen": steps * args.batch + args.backbone_steps * 2 * args.batch,
        "backbone_steps": args.backbone_steps,
        "steps": steps,
        "seconds": round(seconds),
        "seed": args.seed,
        "smoothed_losses": {name: round(value, 4) for name, value in losses.items()},
        "command": "make tiny-weights",
    }
    (args.out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
