"""A system tracks the instances of a video."""

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.presets import tiny_config
from tests.helpers.toy_system import ToySystem, square_frames
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.inference import InferenceConfig
from vis_core.errors import ConfigError, VideoDecodeError
from vis_core.geometry.masks import InputSize
from vis_core.inference.frame_predictor import View
from vis_core.inference.online import annotate_video, annotate_views
from vis_core.models.systems.build import build_system
from vis_core.rle.segmentation import decode_rle
from vis_core.structures import Frame, Instances


def test_tracks_follow_the_squares():
    result = annotate_video(ToySystem(), square_frames(10))
    assert [track.label for track in result.tracks] == [0, 1]
    assert (result.height, result.width, result.num_frames) == (32, 48, 10)
    for track in result.tracks:
        for index, rle in enumerate(track.segmentations(result.size, 10)):
            rows, columns = np.nonzero(decode_rle(rle))
            assert abs(rows.mean() - (8 * track.label + 3.5)) < 2
            assert abs(columns.mean() - (4 * index + 3.5)) < 2


@pytest.mark.parametrize("chunk_frames", [1, 3, 10, 50])
def test_the_result_does_not_depend_on_the_chunks(chunk_frames):
    whole = annotate_video(ToySystem(), square_frames(10), chunk_frames=4)
    system = ToySystem()
    assert annotate_video(system, square_frames(10), chunk_frames=chunk_frames) == whole
    assert max(system.chunk_sizes) == min(chunk_frames, 10)


def test_frames_without_instances_give_a_result_without_tracks():
    result = annotate_video(ToySystem(), square_frames(5, labels=()))
    assert result.num_frames == 5
    assert result.tracks == []


def test_frames_are_read_while_the_network_looks() -> None:
    reading = threading.Event()

    class Waiting(ToySystem):
        def segment(self, images: list[np.ndarray]) -> list[Instances]:
            assert reading.wait(30), "the frames that follow were not asked for"
            return super().segment(images)

    def frames() -> Iterator[Frame]:
        for frame in square_frames(4):
            if frame.index == 2:
                reading.set()
            yield frame

    assert annotate_video(Waiting(), frames(), chunk_frames=2).num_frames == 4


def test_an_error_while_frames_are_read_ends_the_walk() -> None:
    def frames() -> Iterator[Frame]:
        yield from square_frames(3)
        raise VideoDecodeError("cut.mp4: no frame for 5 s", "timed out")

    with pytest.raises(VideoDecodeError, match="no frame for 5 s"):
        annotate_video(ToySystem(), frames(), chunk_frames=2)


def test_a_video_without_frames_is_refused():
    with pytest.raises(VideoDecodeError, match="no frame"):
        annotate_video(ToySystem(), iter([]))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_memory_grows_by_run_lengths_only():
    sizes = {}

    def noted():
        for frame in square_frames(2401, 160, 224):
            if frame.index in (400, 2400):
                gc.collect()
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                sizes[frame.index] = pages * os.sysconf("SC_PAGE_SIZE")
            yield frame

    # One mask of bool takes 36 kB here: stored pixels would cost 290 MB over these frames.
    annotate_video(ToySystem(), noted())
    assert sizes[2400] - sizes[400] < 8 * 2**20


def test_views_are_named_apart_and_fused_into_what_one_view_gives() -> None:
    """Uses the toy, which finds its square anywhere: mirrored frames give the same result."""
    alone = annotate_video(ToySystem(), square_frames(10))
    config = InferenceConfig(views=("flip",))
    assert annotate_views(ToySystem(), square_frames(10), InferenceConfig()) == alone
    mirrored = annotate_views(ToySystem(), square_frames(10), config)
    assert [t.masks for t in mirrored.tracks] == [t.masks for t in alone.tracks]


def test_a_view_of_another_size_needs_a_system_that_has_one() -> None:
    with pytest.raises(ConfigError, match="inference.views: 640 needs a system"):
        annotate_views(ToySystem(), square_frames(2), InferenceConfig(views=("640+flip",)))


@pytest.mark.parametrize("view", ["", "0", "x", "640+", "640flip", "+flip", "640+flop"])
def test_what_is_no_view_is_refused(view: str) -> None:
    with pytest.raises(ValidationError, match="views"):
        InferenceConfig(views=(view,))


@pytest.mark.slow
def test_real_views_share_the_weights_and_see_other_sizes() -> None:
    system = build_system(tiny_config("minvis"), 2).eval()
    view = View.parse("160+flip")
    resized = view.applied_to(system)
    assert view == View(160, flip=True)
    assert resized.input_size(128, 192) == InputSize(160, 240, 160, 256)
    assert system.input_size(128, 192) == InputSize(128, 192, 128, 192)
    assert next(resized.parameters()) is next(system.parameters())
    clip = render_scene(SceneSettings(), 3, 5)
    frames = [Frame(image, t, float(t)) for t, image in enumerate(clip.images)]
    config = InferenceConfig(views=("128", "160", "128+flip"))
    result = annotate_views(system, iter(frames), config)
    assert 0 < len(result.tracks) <= 100
    assert result == annotate_views(
        system, iter(frames), InferenceConfig(views=("128+flip", "128", "160"))
    )
