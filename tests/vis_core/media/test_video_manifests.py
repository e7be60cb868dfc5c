"""Every video file of the data folder is read or refused as in its manifest."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import data_dir_or_none
from tests.helpers.videos import both_readers, manifest_videos
from vis_core.errors import VideoDecodeError
from vis_core.media.video_reader import read_frames


def hostile_videos():
    """Returns (file, entry) of both sets of hostile videos, with entries in one form."""
    folder = data_dir_or_none() or Path()
    cases = []
    first = folder / "hostile" / "manifest.json"
    if first.is_file():
        entries = [entry for entry in listed(json.loads(first.read_text())) if "file" in entry]
        for entry in entries:
            if entry["kind"] == "video":
                outcomes = {entry["expect"], *entry.get("also_ok", [])}
                cases.append((f"hostile/{entry['file']}", outcomes, entry))
    second = folder / "hostile_more" / "expected.json"
    if second.is_file():
        words = {
            "ok": {"accept"},
            "quarantine": {"reject"},
            "ok_or_quarantine": {"accept", "accept_with_warning", "reject"},
            "ok_with_warning": {"accept_with_warning"},
        }
        for name, entry in json.loads(second.read_text()).items():
            if name.startswith("videos/"):
                cases.append((f"hostile_more/{name}", words[entry["outcome"]], entry))
    return cases


def listed(manifest):
    """Returns the entries of a manifest under either key."""
    if isinstance(manifest, list):
        return manifest
    return [item for value in manifest.values() if isinstance(value, list) for item in value]


@pytest.mark.data
@both_readers
@pytest.mark.parametrize("entry", manifest_videos(), ids=lambda entry: entry["file"])
def test_a_raw_video_is_read_as_its_manifest_says(entry, read, data_dir):
    path = data_dir / "videos_raw" / entry["file"]
    if not entry["opens"]:
        with pytest.raises(VideoDecodeError, match=path.stem):
            read(path)
        return
    reader = read(path)
    frames = [(frame.index, frame.image.shape, frame.time_s) for frame in reader]
    sideways = entry["rotation"] % 180 != 0
    height, width = entry["height"], entry["width"]
    size = (width, height, 3) if sideways else (height, width, 3)
    assert [index for index, _, _ in frames] == list(range(entry["frames_decoded"]))
    assert {shape for _, shape, _ in frames} == {size}
    assert reader.info.rotation == entry["rotation"]
    assert reader.report.declared_frames == entry["frames_declared"]
    assert (reader.report.completeness in ("complete", "unknown")) != entry["decode_errors"]
    declared = entry["frames_declared"] or 0
    assert reader.report.truncated == (declared > entry["frames_decoded"])


@pytest.mark.data
@both_readers
@pytest.mark.parametrize(
    "file, outcomes, entry",
    hostile_videos(),
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_hostile_video_ends_as_its_manifest_says(file, outcomes, entry, read, data_dir):
    path = data_dir / file
    try:
        reader = read(path)
        count = sum(1 for _ in reader)
    except VideoDecodeError as error:
        message = str(error)
        assert "reject" in outcomes, message
        for name in [*entry.get("must_name", []), *entry.get("must_mention", [])]:
            assert name in message or outcomes != {"reject"}
        assert path.name in message
        assert "\n" not in message
        assert len(message) - len(str(path)) < 300
        return
    suspicious = reader.report.damaged or reader.report.truncated or reader.report.resized_frames
    assert outcomes & ({"accept_with_warning"} if suspicious else {"accept"})
    if "frames" in entry and not suspicious:
        assert count == entry["frames"]


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    ["real/decord_video_0.mov", "real/decord_video_90.mov", "real/decord_video_180.mov"]
    + ["awkward/rotate90_metadata.mp4"],
)
def test_rotated_frames_equal_what_opencv_shows(name, data_dir):
    path = data_dir / "videos_raw" / name
    capture = cv2.VideoCapture(str(path))
    for frame in read_frames(path, max_frames=20):
        shown = capture.read()[1]
        assert np.array_equal(frame.image, shown[:, :, ::-1])
