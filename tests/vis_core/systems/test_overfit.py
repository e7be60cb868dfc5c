"""CTVIS learns: on the two clips that it trains on, its video AP is all but perfect."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.optimization import build_optimizer, rate_factor, set_rate, train_step
from pipelines.optimizer_settings import OptimizerSettings
from tests.vis_core.systems.by_heart import CATEGORIES, video_ap
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.clips.settings import SceneSettings
from vis_core.config import CtvisConfig, tiny_minvis
from vis_core.systems.build import start_from
from vis_core.systems.ctvis import Ctvis

WEIGHTS = Path(__file__).resolve().parents[3] / "vis_core" / "weights" / "tiny"
FRAMES, STEPS = 4, 100


@pytest.mark.slow
def test_two_clips_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    like = tiny_minvis()
    config = CtvisConfig(
        segmentor=like.segmentor,
        embedding_width=64,
        test_short_side=like.test_short_side,
        test_max_long_side=like.test_max_long_side,
    )
    clips = [render_scene(SceneSettings(), FRAMES, seed) for seed in (71, 72)]
    assert all(np.unique(clip.labels).size > 1 for clip in clips)
    system = Ctvis(config, len(CLASS_NAMES))
    start_from(system, WEIGHTS, CATEGORIES)
    before = video_ap(system, clips)
    settings = OptimizerSettings(
        learning_rate=6e-4, backbone_factor=0.5, clip_norm=5.0, warmup_steps=5, schedule="cosine"
    )
    optimizer = build_optimizer(system.train(), settings)
    batch = collate_clips(clips)
    for step in range(STEPS):
        set_rate(optimizer, rate_factor(step, STEPS, settings))
        generator = torch.Generator().manual_seed(step)
        train_step(system, batch, optimizer, system.loss_weights, settings.clip_norm, generator)
    after = video_ap(system, clips)
    assert after >= 0.9, f"video AP {before:.3f} -> {after:.3f}"
