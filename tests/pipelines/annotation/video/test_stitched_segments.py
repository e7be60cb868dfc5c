"""Segments associated separately and joined: one result for any worker, joins with a confidence."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotation.ledger import UNFINISHED
from pipelines.annotation.video.prediction_store import VideoEnd
from pipelines.annotation.video.stitched_segments import segment_cuts
from pipelines.results.document import read_result_document
from tests.helpers.segment_jobs import INFO, SegmentedJob, StitchedJob
from tests.helpers.toy_archive import annotate, statuses, tree, write_clip
from tests.helpers.toy_loaders import load_remembering
from tests.helpers.toy_system import square_frames
from vis_core.config.inference import InferenceConfig, ShortTrackFilter, TrackConfig
from vis_core.formats.mask_table import read_mask_table
from vis_core.media.decode_report import DecodeReport

NUM_FRAMES = 21


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Writes three squares; the second hides around the boundaries of two and of three segments."""
    folder = tmp_path_factory.mktemp("clip")
    images = []
    for frame in square_frames(NUM_FRAMES, labels=(0, 1, 2)):
        shown = frame.image.copy()
        if 7 <= frame.index <= 13:
            green = (shown[..., 1] > 200) & (shown[..., 0] < 50)
            shown[green] = 128
        images.append(shown)
    write_clip(folder / "clip.mp4", images)
    return folder


def result(folder: Path) -> dict:
    (path,) = (folder / "results").glob("*.json")
    return json.loads(path.read_text())


def shown(folder: Path) -> set[tuple]:
    """Returns every track's masks, without its id."""
    (masks,) = (folder / "masks").glob("*.parquet")
    rows: dict[int, list[tuple]] = defaultdict(list)
    for batch in read_mask_table(masks):
        names = ["track_id", "frame_index", "category_id", "pts_ms", "rle_counts"]
        for row in batch.select(names).to_pylist():
            if row["track_id"] is not None:
                rows[row["track_id"]].append(tuple(row.values())[1:])
    return {tuple(own) for own in rows.values()}


@pytest.mark.parametrize("count", [2, 3, 6, 9])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_frames": 10},
        {"config": InferenceConfig(sample_fps=4)},
        {"config": InferenceConfig(tracks=TrackConfig(mask_quality=True, labels="majority"))},
        {"config": InferenceConfig(tracks=TrackConfig(over_time="max", labels="every"))},
    ],
    ids=["all", "ten frames", "sampled", "quality", "every"],
)
def test_clear_videos_are_named_as_in_one_pass(count, options, clip, model, tmp_path):
    whole = SegmentedJob(tmp_path / "whole", clip, model, load=load_remembering, **options)
    assert whole.annotator.annotate(whole.video).status == "done"
    job = StitchedJob(tmp_path / "out", clip, model, **options)
    row = job.run(count, reversed)
    assert row.status == "done"
    assert shown(tmp_path / "out") == shown(tmp_path / "whole")
    wanted, found = result(tmp_path / "whole"), result(tmp_path / "out")
    for one, other in zip(wanted["tracks"], found["tracks"], strict=True):
        assert {**one, "score": 0, "track_id": 0} == {**other, "score": 0, "track_id": 0}
        assert one["score"] == pytest.approx(other["score"], rel=1e-12)
    assert wanted["videos"] == found["videos"]
    (path,) = (tmp_path / "out" / "results").glob("*.json")
    assert len(read_result_document(path).tracks) == len(found["tracks"])
    assert not any(key.startswith(UNFINISHED) for key in tree(tmp_path / "out"))


def test_every_join_states_how_sure_it_is(clip, model, tmp_path):
    job = StitchedJob(tmp_path / "out", clip, model)
    job.run(2)
    document = result(tmp_path / "out")
    assert document["info"]["settings"]["stitching"]["overlap_frames"] == 3
    stitching = document["stitching"]
    assert stitching["segments"] == [
        {"first_frame": 0, "warmup_frames": 0},
        {"first_frame": 12, "warmup_frames": 3},
    ]
    joins = stitching["joins"]
    assert len(joins) == 3 and all(join["frame"] == 12 for join in joins)
    ids = {track["track_id"] for track in document["tracks"]}
    assert {join["track_id"] for join in joins} == ids
    confidences = {join["mask_iou"] > 0: join["confidence"] for join in joins}
    assert set(confidences) == {True, False}, "one was hidden in the overlap"
    assert 0 < confidences[False] < confidences[True] <= 1
    assert all(join["similarity"] == pytest.approx(1) for join in joins)


def test_who_does_what_and_how_often_changes_no_byte(clip, model, tmp_path):
    StitchedJob(tmp_path / "calm", clip, model).run(3)
    job = StitchedJob(tmp_path / "out", clip, model)
    for number in (2, 0, 1):
        job.predict(number, 3)
    assert job.associate(3) is None, "no segment is associated"
    job.track_segment(1, 3)
    job.track_segment(0, 3)
    assert job.associate(3) is None, "one is not"
    other = StitchedJob(tmp_path / "out", clip, model)
    for number in (1, 2):
        other.track_segment(number, 3)
    assert other.associate(3).status == "done"
    assert job.associate(3) == job.track_segment(0, 3), "is done already"
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")


@pytest.mark.parametrize("damage", ["block", "state", "part"])
def test_what_is_damaged_is_made_again(damage, clip, model, tmp_path):
    StitchedJob(tmp_path / "calm", clip, model).run(2)
    job = StitchedJob(tmp_path / "out", clip, model)
    for number in range(2):
        job.predict(number, 2)
    if damage != "block":
        for number in range(2):
            job.track_segment(number, 2)
    wanted = {"block": "seen-000000000008", "state": "0001/state-", "part": "0000/part-"}[damage]
    key = next(key for key in tree(tmp_path / "out") if wanted in key)
    path = tmp_path / "out" / key
    path.write_bytes(path.read_bytes()[:-5])
    for number in range(2):
        job.track_segment(number, 2)
    if damage == "block":
        assert job.associate(2) is None
        job.predict(0, 2)
        job.predict(1, 2)
        for number in range(2):
            job.track_segment(number, 2)
    assert job.associate(2).status == "done"
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")


def test_the_filter_of_short_tracks_works_in_every_segment(clip, model, tmp_path):
    config = InferenceConfig(tracks=TrackConfig(short_tracks=ShortTrackFilter()))
    StitchedJob(tmp_path / "out", clip, model, config=config).run(3)
    found = result(tmp_path / "out")
    assert len(found["tracks"]) == 3 and found["videos"][0]["length"] == NUM_FRAMES


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 7), st.integers(1, 20), st.data())
def test_cuts_cover_a_video_once(num_frames, count, block, overlap, data):
    stated = data.draw(st.one_of(st.none(), st.integers(1, 90)))
    info = replace(INFO, declared_frames=stated, duration_s=None)
    end = VideoEnd(num_frames, info, DecodeReport(stated), "")
    cuts = segment_cuts(end, count, block, overlap, InferenceConfig(), None)
    assert [t for cut in cuts for t in range(cut.start, cut.stop)] == list(range(num_frames))
    assert len(cuts) <= count and cuts[0].warmup == 0
    for before, cut in zip(cuts, cuts[1:], strict=False):
        assert cut.start % block == 0
        assert cut.warmup == min(overlap, cut.start)
        assert cut.first_frame >= before.first_frame, "a joined segment includes the overlap"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_job_of_several_workers_stitches(clip, model, tmp_path):
    options = {"load": load_remembering, "segments": 3, "join": "stitched", "save_every": 4}
    summary = annotate(clip, tmp_path / "out", model, workers=2, **options)
    assert set(statuses(summary).values()) == {"done"}
    annotate(clip, tmp_path / "alone", model, workers=1, **options)
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")
    assert len(result(tmp_path / "out")["stitching"]["segments"]) == 3
    exact = annotate(clip, tmp_path / "out", model, load=load_remembering, segments=3)
    assert exact.num_skipped == 0, "an exact result is another result"
    assert len(list((tmp_path / "out" / "results").iterdir())) == 2
