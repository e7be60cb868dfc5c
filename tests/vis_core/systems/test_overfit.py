"""CTVIS learns: on the two clips that it trains on, its video AP is all but perfect."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.optimization import build_optimizer, rate_factor, set_rate, train_step
from pipelines.optimizer_settings import OptimizerSettings
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.clips.settings import SceneSettings
from vis_core.config import CtvisConfig, tiny_minvis
from vis_core.evaluation.tables import ground_truth_of, results_of
from vis_core.evaluation.video_ap import evaluate
from vis_core.formats.categories import numbered
from vis_core.formats.rle import encode_masks
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord, result_entries
from vis_core.inference.online import annotate_video
from vis_core.structures import Clip, Frame
from vis_core.systems.build import start_from
from vis_core.systems.ctvis import Ctvis

WEIGHTS = Path(__file__).resolve().parents[3] / "vis_core" / "weights" / "tiny"
CATEGORIES = numbered(CLASS_NAMES)
FRAMES, STEPS = 4, 100


def record(video_id: int, clip: Clip) -> VideoRecord:
    """The truth of a clip as an annotation file would state it."""
    tracks = []
    for row, label in enumerate(clip.labels):
        rles = encode_masks(clip.masks[:, row])
        shown = clip.present[:, row]
        kept = tuple(rle if there else None for rle, there in zip(rles, shown, strict=True))
        if shown.any():
            tracks.append(TrackRecord(10 * video_id + row, int(label), kept, False, ()))
    height, width = clip.images.shape[1:3]
    names = tuple(f"{video_id}/{t}.jpg" for t in range(len(clip)))
    return VideoRecord(video_id, height, width, names, tuple(tracks))


def video_ap(system: Ctvis, clips: list[Clip]) -> float:
    system.eval()
    truth = ground_truth_of([record(i + 1, clip) for i, clip in enumerate(clips)], CATEGORIES)
    entries = []
    for index, clip in enumerate(clips):
        frames = (Frame(image, t, float(t)) for t, image in enumerate(clip.images))
        entries += result_entries(annotate_video(system, frames), index + 1, CATEGORIES)
    return evaluate(truth, results_of(entries, truth)).stats["AP"]


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
