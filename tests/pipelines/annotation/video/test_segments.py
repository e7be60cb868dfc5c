"""Segments of a video predicted separately, associated in one pass: the result of one worker."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotation.ledger import UNFINISHED
from pipelines.annotation.video.prediction_store import PredictionStore
from pipelines.annotation.video.segments import frames_to_annotate, missing_runs, segment_range
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.storage.local import LocalStorage
from tests.helpers.segment_jobs import INFO, NUM_FRAMES, SegmentedJob
from tests.helpers.toy_archive import tree, write_clip
from tests.helpers.toy_loaders import load_toy
from tests.helpers.toy_system import square_frames
from tests.helpers.videos import write_video
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.inference import InferenceConfig, TrackConfig
from vis_core.media.video_reader import read_frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    frames = square_frames(NUM_FRAMES, labels=(0, 1, 2))
    write_clip(folder / "clip.mp4", [frame.image for frame in frames])
    return folder


def whole(folder: Path, videos: Path, model: ModelReference, **options) -> dict[str, bytes]:
    job = SegmentedJob(folder / "whole", videos, model, **options)
    assert job.annotator.annotate(job.video).status == "done"
    return tree(folder / "whole")


@pytest.mark.parametrize("count", [2, 3, 6, 9])
@pytest.mark.parametrize(
    "options",
    [{}, {"max_frames": 7}, {"max_frames": 8}, {"config": InferenceConfig(sample_fps=4)}],
    ids=["all", "seven frames", "two blocks", "sampled"],
)
def test_any_number_of_segments_in_any_order_gives_the_same_bytes(
    count, options, clip, model, tmp_path
):
    wanted = whole(tmp_path, clip, model, **options)
    job = SegmentedJob(tmp_path / "out", clip, model, **options)
    for number in reversed(range(count)):
        assert job.predict(number, count) is None
    assert job.associate(count).status == "done"
    assert tree(tmp_path / "out") == wanted
    assert job.predict(0, count).status == job.associate(count).status == "done", "is done already"


def test_a_real_model_gives_the_same_bytes(tmp_path):
    images = list(render_scene(SceneSettings(), 18, 5).images)
    write_clip(tmp_path / "videos" / "scene.mp4", images)
    model = ModelReference(TINY_WEIGHTS, "tiny", 1, "d" * 64)
    config = InferenceConfig(chunk_frames=4, tracks=TrackConfig.ctvis_released(3))
    options = {"load": None, "config": config}
    wanted = whole(tmp_path, tmp_path / "videos", model, **options)
    job = SegmentedJob(tmp_path / "out", tmp_path / "videos", model, **options)
    for number in range(2):
        job.predict(number, 2)
    assert job.associate(2).num_frames == 18
    assert tree(tmp_path / "out") == wanted


def test_what_is_there_is_not_seen_again_whatever_the_number_of_segments(clip, model, tmp_path):
    job = SegmentedJob(tmp_path / "out", clip, model)
    job.predict(0, 2)
    seen = job.annotator.num_frames()
    assert seen == 12 and sorted(job.blocks().held()) == [0, 4, 8]
    for number in range(4):
        job.predict(number, 4)
    assert job.annotator.num_frames() == NUM_FRAMES
    assert job.associate(4).status == "done"
    assert tree(tmp_path / "out") == whole(tmp_path, clip, model)


def test_a_walk_that_was_begun_alone_is_gone_on_with_in_segments(clip, model, tmp_path):
    job = SegmentedJob(tmp_path / "out", clip, model)
    limited = SegmentedJob(tmp_path / "out", clip, model, load=load_that_stops_after(10))
    with pytest.raises(RuntimeError, match="enough"):
        limited.annotator.annotate(job.video)
    assert any("state-" in key for key in tree(tmp_path / "out"))
    for number in range(3):
        job.predict(number, 3)
    assert job.associate(3).status == "done"
    assert tree(tmp_path / "out") == whole(tmp_path, clip, model)


def load_that_stops_after(num_frames: int):
    def load(folder):
        system = load_toy(folder)
        segment, seen = system.segment, itertools.count()

        def limited(images):
            if sum(next(seen) >= num_frames for _ in images):
                raise RuntimeError("enough")
            return segment(images)

        system.segment = limited
        return system

    return load


@pytest.mark.parametrize("damage", ["cut", "gone", "no end"])
def test_nothing_is_named_until_all_is_whole(damage, clip, model, tmp_path):
    job = SegmentedJob(tmp_path / "out", clip, model)
    for number in range(2):
        job.predict(number, 2)
    key = job.blocks().held()[4]
    if damage == "cut":
        (tmp_path / "out" / key).write_bytes((tmp_path / "out" / key).read_bytes()[:-9])
    elif damage == "gone":
        job.ledger.storage.delete(key)
    else:
        job.ledger.storage.delete(f"{UNFINISHED}{job.ledger.result_name(job.video)}/end.json")
    assert job.associate(2) is None
    before = job.annotator.num_frames()
    for number in range(2):
        job.predict(number, 2)
    assert job.annotator.num_frames() - before == {"cut": 4, "gone": 4, "no end": 0}[damage]
    assert job.associate(2).status == "done"
    assert tree(tmp_path / "out") == whole(tmp_path, clip, model)


def test_a_file_that_is_no_video_fails_in_any_segment(model, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"nothing of a video" * 99)
    wanted = SegmentedJob(tmp_path / "whole", tmp_path / "videos", model)
    failed = wanted.annotator.annotate(wanted.video)
    job = SegmentedJob(tmp_path / "out", tmp_path / "videos", model)
    assert job.predict(1, 2) == failed
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize("name", ["truncated", "lies"])
def test_a_file_with_fewer_frames_than_it_says_is_cut_as_it_says(name, clip, model, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    body = (clip / "clip.mp4").read_bytes()
    if name == "truncated":  # an mp4 has its index at the end: use a container without one
        frames = square_frames(NUM_FRAMES, labels=(0, 1, 2))
        write_clip(tmp_path / "whole.mkv", [frame.image for frame in frames])
        body = (tmp_path / "whole.mkv").read_bytes()
        (videos / "clip.mkv").write_bytes(body[: len(body) * 3 // 4])
    else:
        (videos / "clip.mp4").write_bytes(with_more_samples(body))
    wanted = whole(tmp_path, videos, model)
    (result,) = [key for key in wanted if key.startswith("results/")]
    assert json.loads(wanted[result])["videos"][0]["decoding"]["truncated"]
    job = SegmentedJob(tmp_path / "out", videos, model)
    for number in range(5):
        job.predict(number, 5)
    assert job.associate(5).status == "done"
    assert tree(tmp_path / "out") == wanted


def with_more_samples(body: bytes) -> bytes:
    """Returns an mp4 whose duration table (stts) claims a hundred frames."""
    place = body.index(b"stts") + 12
    assert int.from_bytes(body[place : place + 4], "big") == NUM_FRAMES
    return body[:place] + (100).to_bytes(4, "big") + body[place + 4 :]


@given(
    st.one_of(st.none(), st.integers(1, 100)),
    st.integers(1, 9),
    st.sets(st.integers(0, 30)),
    st.integers(1, 7),
)
def test_segments_and_what_is_missing_of_them_cover_a_video_once(expected, count, held, step):
    blocks = PredictionStore(LocalStorage(Path("nowhere")), "name", step)
    end = expected or 50
    there = {step * place for place in held if step * place < end}
    seen = [place for place in range(end) if place // step * step in there]
    for number in range(count):
        first, last = segment_range(expected, number, count, step)
        for begin, stop in missing_runs(there, first, last, blocks):
            if stop is None:  # continues to the end, even over stored frames
                seen = [place for place in seen if place < begin]
            seen += range(begin, min(end, end if stop is None else stop))
    assert sorted(seen) == list(range(end))


def test_the_frames_that_a_video_will_have_are_guessed_from_its_container():
    assert frames_to_annotate(INFO, None, None) == NUM_FRAMES
    assert frames_to_annotate(INFO, None, 5) == 5
    assert frames_to_annotate(INFO, 5.0, None) == 11
    assert frames_to_annotate(INFO, 50.0, None) == NUM_FRAMES
    assert frames_to_annotate(replace(INFO, declared_frames=None), None, None) == NUM_FRAMES
    assert frames_to_annotate(replace(INFO, declared_frames=None, duration_s=None), None, 9) is None
    assert segment_range(NUM_FRAMES, 1, 2, 4) == (12, None)
    assert segment_range(NUM_FRAMES, 0, 2, 4) == (0, 12)


@pytest.mark.parametrize("rate", [5, 10, 24, 25, 30])
def test_as_many_frames_are_expected_as_the_reader_yields(rate, tmp_path):
    for count in (1, 2, 10, 31):
        path = tmp_path / f"{count}.mp4"
        write_video(path, [np.zeros((16, 16, 3), np.uint8)] * count, rate)
        for sample_fps in (None, 0.7, 1, 3, 5, 7.5, 12, 23.976, 24, 50):
            for max_frames in (None, 3):
                with read_frames(path, max_frames=max_frames, sample_fps=sample_fps) as reader:
                    num_yielded = sum(1 for _ in reader)
                    info = reader.info
                expected = frames_to_annotate(info, sample_fps, max_frames)
                assert expected == num_yielded, (count, sample_fps, max_frames)


def test_ten_frames_at_24_a_second_are_two_at_five_a_second():
    info = replace(INFO, declared_frames=10, rate=24.0, duration_s=10 / 24)
    assert frames_to_annotate(info, 5.0, None) == 2
