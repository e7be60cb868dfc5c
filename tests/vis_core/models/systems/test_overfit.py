"""Systems learn: on the two clips of their training, their video AP is nearly perfect."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from pipelines.config.optimizer import OptimizerSettings
from pipelines.training.worker.optimizers import build_optimizer, rate_factor, set_rate
from pipelines.training.worker.step import StepSettings, train_step
from tests.helpers.overfitting import CATEGORIES, video_ap
from tests.helpers.presets import combined_config, tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.inference import TrackConfig
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system
from vis_core.models.systems.ctvis import Ctvis
from vis_core.models.systems.idol import Idol
from vis_core.models.systems.stc import Stc
from vis_core.models.systems.transfer import start_from
from vis_core.structures import Clip, ClipBatch

WEIGHTS = Path(__file__).resolve().parents[4] / "vis_core" / "weights" / "tiny"
FRAMES = 4
# Masks made at an eighth of the resolution must overlap the truth by more than 0.95 for an AP
# above 0.9 under any order of additions.
LARGE = SceneSettings(height=256, width=384)
SHOWN_WHOLE = {"test_short_side": LARGE.height, "test_max_long_side": LARGE.width}
pytestmark = pytest.mark.slow


def scenes(settings: SceneSettings, seeds: tuple[int, int]) -> list[Clip]:
    clips = [render_scene(settings, FRAMES, seed) for seed in seeds]
    assert all(np.unique(clip.labels).size > 1 for clip in clips)
    return clips


def learn(
    system: System,
    batches: Iterator[ClipBatch],
    steps: int,
    rate: float,
    optimizer_name: Literal["adamw", "muon"] = "adamw",
) -> None:
    """Trains for the given number of steps on the output of ``batches``."""
    settings = OptimizerSettings(
        name=optimizer_name,
        learning_rate=rate,
        backbone_factor=0.5,
        clip_norm=5.0,
        weight_decay=1e-4,
        warmup_steps=5,
        schedule="cosine",
    )
    optimizer = build_optimizer(system.train(), settings)
    for step in range(steps):
        set_rate(optimizer, rate_factor(step, steps, settings))
        generator = torch.Generator().manual_seed(step)
        weights = system.loss_weights
        how = StepSettings(settings.clip_norm)
        outcome = train_step(system, next(batches), optimizer, weights, how, generator)
        assert not outcome.reason


def test_ctvis_learns_two_clips_by_heart() -> None:
    torch.manual_seed(0)
    clips = scenes(SceneSettings(), (71, 72))
    system = Ctvis(tiny_config("ctvis"), len(CLASS_NAMES))
    start_from(system, WEIGHTS, CATEGORIES)
    before = video_ap(system, clips)
    batch = collate_clips(clips)
    learn(system, iter(lambda: batch, None), steps=100, rate=6e-4)
    after = video_ap(system, clips)
    assert after >= 0.9, f"video AP {before:.3f} -> {after:.3f}"


def test_idol_learns_two_clips_by_heart() -> None:
    """Uses large, smooth objects: IDOL creates its masks at an eighth of the resolution."""
    torch.manual_seed(0)
    clips = scenes(LARGE, (89, 121))
    config = tiny_config("idol").model_copy(update=SHOWN_WHOLE)
    system = Idol(config, len(CLASS_NAMES))
    start_from(system, WEIGHTS, CATEGORIES)  # of a Mask2Former: its backbone
    learn(system, pairs(clips), steps=200, rate=3e-3, optimizer_name="muon")
    assert (after := video_ap(system, clips)) >= 0.9, f"video AP {after:.3f}"


def test_stc_learns_two_clips_by_heart() -> None:
    """Uses the same clips, for the same reason."""
    torch.manual_seed(0)
    clips = scenes(LARGE, (89, 121))
    config = tiny_config("stc").model_copy(update=SHOWN_WHOLE)
    system = Stc(config, len(CLASS_NAMES))
    start_from(system, WEIGHTS, CATEGORIES)
    learn(system, pairs(clips), steps=200, rate=1e-3, optimizer_name="muon")
    tracks = TrackConfig(labels="majority")
    assert (after := video_ap(system, clips, tracks)) >= 0.9, f"video AP {after:.3f}"


def test_idol_on_mask2former_learns_two_clips_by_heart() -> None:
    torch.manual_seed(0)
    clips = scenes(SceneSettings(), (71, 72))
    system = build_system(combined_config("idol"), len(CLASS_NAMES))
    start_from(system, WEIGHTS, CATEGORIES)
    learn(system, pairs(clips), steps=150, rate=6e-4)
    assert (after := video_ap(system, clips)) >= 0.9, f"video AP {after:.3f}"


def test_ctvis_on_deformable_detr_learns_two_clips_by_heart() -> None:
    """Uses clips of three frames, as the memory then holds more than the latest embedding."""
    torch.manual_seed(0)
    clips = scenes(LARGE, (89, 121))
    config = combined_config("ctvis").model_copy(update=SHOWN_WHOLE)
    system = build_system(config, len(CLASS_NAMES))
    start_from(system, WEIGHTS, CATEGORIES)

    def batches() -> Iterator[ClipBatch]:
        for key in count():
            shown = [(key + apart) % FRAMES for apart in range(3)]
            yield collate_clips(
                [Clip(c.clip_id, c.images[shown], c.masks[shown], c.labels) for c in clips]
            )

    learn(system, batches(), steps=200, rate=3e-3, optimizer_name="muon")
    assert (after := video_ap(system, clips)) >= 0.9, f"video AP {after:.3f}"


def pairs(clips: list[Clip]) -> Iterator[ClipBatch]:
    """Yields every ordered pair of two frames of the clips, repeatedly."""
    while True:
        for apart in range(1, FRAMES):
            for key in range(FRAMES):
                shown = [key, (key + apart) % FRAMES]
                yield collate_clips(
                    [
                        Clip(clip.clip_id, clip.images[shown], clip.masks[shown], clip.labels)
                        for clip in clips
                    ]
                )
