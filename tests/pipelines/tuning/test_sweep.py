"""The threshold sweep: cached instances reproduce the network's scores; the best is kept."""

import json
from pathlib import Path

import pytest
import torch

from pipelines.config.loading import load_run_config
from pipelines.config.run import RunConfig, SweepConfig
from pipelines.data.synthetic import CATEGORIES, write_clips_as_videos
from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.results.score import LabelledVideos, frames_of, score_model
from pipelines.tuning.instance_cache import (
    CachedSystem,
    _cache_video,
    cache_file,
    cache_instances,
    load_cached,
)
from pipelines.tuning.sweep import (
    MATCH,
    NEW_TRACK,
    SCORE,
    SweepJob,
    pick_best_trial,
    score_cached,
    search_ranges,
    summarize_trials,
    sweep_thresholds,
    with_thresholds,
)
from tests.helpers.presets import tiny_config
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.criterion import QualityConfig
from vis_core.config.inference import InferenceConfig
from vis_core.formats.youtube_vis import read_youtube_vis
from vis_core.inference.online import annotate_video
from vis_core.models.systems.build import build_system, read_system_config, save_system
from vis_core.models.systems.stc import Stc

TINY_RUN = Path(__file__).resolve().parents[3] / "jobs" / "configs" / "tiny.yaml"
FLOOR = 0.01


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> SweepJob:  # noqa: ARG001
    folder = tmp_path_factory.mktemp("sweep")
    scene = run_config().synthetic.scene
    clips = [render_scene(scene, 5, seed) for seed in (901, 902)]
    write_clips_as_videos(folder / "vis", "val", clips, CATEGORIES)
    videos = LabelledVideos(folder / "vis" / "val.json", folder / "vis" / "JPEGImages")
    cache_instances(TINY_WEIGHTS, videos, folder / "cache", FLOOR)
    system = read_system_config(TINY_WEIGHTS)
    return SweepJob(system, CATEGORIES, InferenceConfig(), videos, folder / "cache")


def run_config(trials: int = 3) -> RunConfig:
    return load_run_config(TINY_RUN).model_copy(update={"sweep": SweepConfig(trials=trials)})


def test_cached_instances_score_what_the_network_scores(job: SweepJob, tmp_path: Path) -> None:
    through_network = score_model(
        TINY_WEIGHTS, job.videos, tmp_path / "network", job.inference, "score"
    )
    assert score_cached(job, job.system, tmp_path / "cached.json") == pytest.approx(
        through_network["ap"], abs=1e-3
    )
    assert through_network["ap"] > 0


def test_the_best_of_a_sweep_is_at_least_the_start_and_true(job: SweepJob, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    summary = sweep_thresholds(job, run_config(), tmp_path / "sweep")
    assert len(summary["trials"]) == 3
    assert summary["best_ap"] >= summary["start_ap"]
    scores = [trial["ap"] for trial in summary["trials"]]
    assert scores == sorted(scores, reverse=True)
    again = score_cached(job, with_thresholds(job.system, summary["best"]), tmp_path / "r.json")
    assert again == summary["best_ap"]
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text()) == summary
    # repeating the command resumes from the saved state
    assert sweep_thresholds(job, run_config(), tmp_path / "sweep") == summary


class Grid(list):
    """A replacement for Ray Tune's ResultGrid after a Ctrl-C."""

    num_errors = 0


def test_a_sweep_that_ended_early_is_an_interruption() -> None:
    start = {MATCH: 0.5, NEW_TRACK: 0.1, SCORE: 0.1}
    with pytest.raises(KeyboardInterrupt):
        summarize_trials(Grid(), start, SweepConfig(trials=2))


def test_a_range_holds_the_present_threshold_too() -> None:
    ranges = search_ranges({MATCH: 0.05, SCORE: 0.9}, SweepConfig())
    assert ranges == {MATCH: (0.05, 0.8), SCORE: (0.01, 0.9)}


def test_what_is_kept_of_a_video_is_all_that_association_and_masks_need(tmp_path: Path) -> None:
    """Checks the boxes for STC's cues, predicted qualities, and the geometry of the masks."""
    clip = render_scene(SceneSettings(height=64, width=96), 3, 5)
    write_clips_as_videos(tmp_path / "vis", "val", [clip], CATEGORIES)
    (record,), _ = read_youtube_vis(tmp_path / "vis" / "val.json")
    frames = tmp_path / "vis" / "JPEGImages"
    rated = {"quality": QualityConfig(rescore=True)}
    for config in (tiny_config("stc"), tiny_config("minvis").model_copy(update=rated)):
        torch.manual_seed(0)
        system = build_system(config, len(CATEGORIES))
        if isinstance(system, Stc):
            with torch.no_grad():
                bias = system.segmentor.head.class_head.bias
                assert bias is not None
                bias.fill_(0.0)  # every instance exceeds the threshold
        model = tmp_path / config.name
        save_system(model, system.eval(), CATEGORIES)
        _cache_video(model, record, frames, tmp_path, 0.0)
        kept, geometry = load_cached(cache_file(tmp_path, record))
        assert geometry == system.input_size(64, 96)
        images = [frame.image for frame in frames_of(record, frames)]  # as after JPEG
        for image, own in zip(images, kept, strict=True):
            (found,) = system.segment([image])
            assert (own.boxes is None, own.qualities is None) == (
                config.name != "stc",
                config.name == "stc",
            )
            for name in ("scores", "boxes", "qualities"):
                value = getattr(found, name)
                if value is not None:
                    torch.testing.assert_close(getattr(own, name), value, atol=0.05, rtol=0.05)
        cached = CachedSystem(kept, geometry, config.selection, config.association)
        assert annotate_video(cached, frames_of(record, frames)).num_frames == 3
        cache_file(tmp_path, record).unlink()


@pytest.mark.parametrize("gain, taken", [(0.0, False), (0.009, False), (0.011, True)])
def test_a_setting_is_taken_only_if_it_gains_enough(gain, taken):
    start = {"values": {"a": 1}, "ap": 0.3}
    other = {"values": {"a": 2}, "ap": 0.3 + gain}
    assert (pick_best_trial(other, start, 0.01) is other) == taken
    assert pick_best_trial(other, None, 0.01) is other
