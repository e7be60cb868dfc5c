"""Folders of numbered pictures in an archive, taken as videos."""

import json
import shutil

import boto3
import numpy as np
import pytest

from pipelines.annotation.archive.filters import parse_filter
from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.options import AnnotateOptions
from tests.helpers.toy_archive import annotate, toy_model, tree
from tests.helpers.videos import grey_frames, write_video
from tests.vis_core.media.test_pictures import write_pictures
from vis_core.config.inference import InferenceConfig
from vis_core.errors import ConfigError, VideoDecodeError
from vis_core.media.images import read_image

NAMES = [f"{number:05}.jpg" for number in (0, 5, 10)]


def listed(uri, rate=6, **wanted):
    return list_archive(uri, parse_filter(picture_rate=rate, **wanted))


def versions(uri, rate=6):
    return {video.key: video.version for video in listed(uri, rate).videos}


@pytest.fixture
def archive(tmp_path):
    """Writes folders as YouTube-VIS and DAVIS have them, beside a video."""
    root = tmp_path / "archive"
    for folder in ("JPEGImages/vid1", "JPEGImages/vid2", "JPEGImages/480p/bear"):
        write_pictures(root / folder, NAMES)
    write_video(root / "clip.mp4", grey_frames(3))
    return root


KEYS = ["JPEGImages/480p/bear", "JPEGImages/vid1", "JPEGImages/vid2", "clip.mp4"]


def test_folders_of_pictures_are_videos_beside_video_files(archive):
    assert [video.key for video in listed(archive).videos] == KEYS
    assert [video.key for video in list_archive(archive).videos] == ["clip.mp4"]
    assert [video.key for video in listed(archive, globs=["*/vid?"]).videos] == KEYS[1:3]


def test_a_folder_given_itself_is_a_video_of_its_name(archive):
    found = listed(archive / "JPEGImages" / "vid1")
    assert [video.key for video in found.videos] == ["vid1"]
    with found.storage.as_file("vid1") as path:
        assert path.samefile(archive / "JPEGImages" / "vid1")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: flip(folder / NAMES[1]),
        lambda folder: (folder / NAMES[1]).rename(folder / "00006.jpg"),
        lambda folder: (folder / NAMES[1]).unlink(),
        lambda folder: shutil.copy(folder / NAMES[1], folder / "00015.jpg"),
    ],
    ids=["content", "name", "removed", "added"],
)
def test_the_version_changes_with_a_picture_and_with_nothing_else(change, archive):
    before = versions(archive)
    (archive / "JPEGImages/vid1/.DS_Store").write_text("x")
    assert versions(archive) == before
    change(archive / "JPEGImages" / "vid1")
    after = versions(archive)
    assert {key for key in after if after[key] != before[key]} == {"JPEGImages/vid1"}


def test_the_version_of_folders_alone_depends_on_the_rate(archive):
    before, after = versions(archive, 6), versions(archive, 25)
    assert [key for key in KEYS if before[key] == after[key]] == ["clip.mp4"]


def test_pictures_that_are_no_video_are_skipped_with_a_reason(archive, tmp_path):
    write_pictures(archive, ["00001.jpg"])
    write_pictures(archive / "posters", ["cover.jpg", "00001.jpg"])
    write_pictures(archive / "twice", ["1.jpg", "01.jpg"])
    write_pictures(archive / "leaving", ["1.jpg"])
    write_pictures(tmp_path / "elsewhere", ["2.jpg"])
    (archive / "leaving" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    found = listed(archive)
    assert [video.key for video in found.videos] == KEYS
    reasons = dict(found.skipped)
    assert "beside" in reasons["."]
    assert "cover.jpg has no number" in reasons["posters"]
    assert "the same number" in reasons["twice"]
    assert "link leaves the archive" in reasons["leaving"]


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_refused(rate, archive):
    with pytest.raises(ConfigError, match="--frames-as-videos .*: expected pictures per second"):
        listed(archive, rate)


def run(archive, out, model, **options):
    config = InferenceConfig(chunk_frames=1, picture_rate=6)
    return annotate(listed(archive), out, model, config=config, **options)


@pytest.mark.ray
def test_a_mixed_archive_is_annotated_resumed_and_redone_where_a_picture_changes(archive, tmp_path):
    model, out = toy_model(tmp_path / "model"), tmp_path / "out"
    write_pictures(archive / "bad", NAMES)
    (archive / "bad" / NAMES[2]).write_bytes(b"\xff\xd8 no picture")
    summary = run(archive, out, model)
    rows = {row.video: row for row in summary.rows}
    assert {key for key, row in rows.items() if row.status == "done"} == set(KEYS)
    assert rows["bad"].reason.startswith(f"{NAMES[2]}: expected an image")
    documents = [json.loads(path.read_text()) for path in (out / "results").iterdir()]
    entries = {document["videos"][0]["name"]: document["videos"][0] for document in documents}
    entry = entries["JPEGImages/vid1"]
    assert (entry["length"], entry["rate"], entry["height"], entry["width"]) == (3, 6, 48, 63)
    assert "--frames-as-videos" in entry["times"]
    assert "times" not in entries["clip.mp4"]
    assert "picture_rate" not in json.dumps([d["info"] for d in documents])
    before = tree(out / "results")
    assert run(archive, out, model).num_skipped == 5
    assert tree(out / "results") == before
    write_pictures(archive / "bad", NAMES)
    flip(archive / "JPEGImages" / "vid1" / NAMES[0])
    again = run(archive, out, model)
    assert again.num_skipped == 3
    assert len(tree(out / "results")) >= len(before) + 1


def test_the_results_of_videos_are_the_same_with_and_without_the_option():
    plain, with_rate = InferenceConfig(), InferenceConfig(picture_rate=6)
    options = AnnotateOptions()
    assert options.settings_document(plain) == options.settings_document(with_rate)
    assert plain.model_dump_json() == with_rate.model_dump_json()


def test_folders_below_an_s3_prefix_are_videos(archive, s3_bucket):
    client, bucket = boto3.client("s3"), s3_bucket.removeprefix("s3://")
    for path in archive.rglob("*.*"):
        key = f"data/{path.relative_to(archive).as_posix()}"
        client.upload_file(str(path), bucket, key)
    found = listed(f"{s3_bucket}/data")
    assert [video.key for video in found.videos] == KEYS
    for video in found.videos[:3]:
        with found.storage.as_file(video.key, video.etag) as path:
            local = sorted((archive / video.key).iterdir())
            fetched = sorted(path.iterdir())
            assert [p.name for p in fetched] == [p.name for p in local]
            for one, other in zip(fetched, local, strict=True):
                assert np.array_equal(read_image(one), read_image(other))
    with found.storage.as_file("clip.mp4", found.videos[3].etag) as path:
        assert path.read_bytes() == (archive / "clip.mp4").read_bytes()
    (alone,) = listed(f"{s3_bucket}/data/JPEGImages/vid1").videos
    assert alone.key == "vid1"
    key = f"data/JPEGImages/vid1/{NAMES[0]}"
    client.upload_file(str(archive / "JPEGImages/vid2" / NAMES[1]), bucket, key)
    changed = found.storage.as_file("JPEGImages/vid1", found.videos[1].etag)
    with pytest.raises(VideoDecodeError, match="changed since they were listed"), changed:
        pass
