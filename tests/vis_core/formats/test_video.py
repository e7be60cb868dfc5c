"""Video files that nobody vouches for: read whole, or refused with a reason."""

import copy
import gc
import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.conftest import data_dir_or_none
from vis_core.errors import VideoDecodeError
from vis_core.formats.video import read_frames
from vis_core.formats.video_apart import read_frames_apart
from vis_core.formats.video_files import DecodeLimits

both_readers = pytest.mark.parametrize(
    "read", [read_frames, read_frames_apart], ids=["inside", "apart"]
)


def manifest_videos():
    """Every entry of the manifest of raw videos."""
    manifest = (data_dir_or_none() or Path()) / "videos_raw" / "manifest.json"
    return json.loads(manifest.read_text())["videos"] if manifest.is_file() else []


def hostile_videos():
    """(file, entry) of both sets of hostile videos; the entries are read as one form."""
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
    """The entries of a manifest, whatever key they stand under."""
    if isinstance(manifest, list):
        return manifest
    return [item for value in manifest.values() if isinstance(value, list) for item in value]


def write_video(path, frames, rate=10):
    """Encodes (H, W, 3) frames losslessly enough to tell them apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def grey_frames(count, height=48, width=64):
    return [np.full((height, width, 3), 10 * index % 250, np.uint8) for index in range(count)]


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
@pytest.mark.parametrize("file, outcomes, entry", hostile_videos(), ids=lambda case: str(case)[:60])
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


def test_times_of_a_variable_rate_are_kept(tmp_path):
    path = tmp_path / "vfr.mkv"
    times = [0, 40, 80, 500, 540, 3000]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv444p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert [round(frame.time_s * 1000) for frame in read_frames(path)] == times


def test_max_frames_stops_early_and_says_so(tmp_path):
    write_video(tmp_path / "clip.mp4", grey_frames(6))
    reader = read_frames(tmp_path / "clip.mp4", max_frames=4)
    assert len(list(reader)) == 4
    assert reader.report.stopped_early
    assert reader.report.completeness == "partial"
    assert not reader.report.truncated


def test_max_frames_of_the_whole_length_is_no_early_stop(tmp_path):
    write_video(tmp_path / "clip.mp4", grey_frames(6))
    reader = read_frames(tmp_path / "clip.mp4", max_frames=6)
    assert len(list(reader)) == 6
    assert reader.report.completeness == "complete"


def test_the_report_is_whole_when_the_last_frame_is_out(tmp_path):
    write_video(tmp_path / "clip.mp4", grey_frames(6))
    reader = read_frames(tmp_path / "clip.mp4")
    for _ in range(6):
        next(reader)
    assert reader.report.completeness == "complete"


def test_frames_above_the_limit_are_refused_before_they_are_decoded(tmp_path):
    write_video(tmp_path / "large.mp4", grey_frames(2, 64, 64))
    with pytest.raises(VideoDecodeError, match="64 x 64 pixels exceed max_pixels 4095"):
        read_frames(tmp_path / "large.mp4", limits=DecodeLimits(max_pixels=4095))
    assert len(list(read_frames(tmp_path / "large.mp4", limits=DecodeLimits(max_pixels=4096)))) == 2


def test_a_size_change_gives_frames_of_the_first_size(tmp_path):
    parts = []
    for index, size in enumerate([(48, 64), (96, 80)]):
        part = tmp_path / f"part{index}.ts"
        write_video(part, grey_frames(5, *size))
        parts.append(part.read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    reader = read_frames(joined)
    assert {frame.image.shape for frame in reader} == {(48, 64, 3)}
    assert reader.report.resized_frames == 5


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty"),
        (b"hello, no video here\n" * 50, "not a video"),
        (b"ffconcat version 1.0\nfile 'other.mp4'\n", "not allowed"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n", "not a video|not allowed"),
    ],
)
def test_a_file_that_is_no_video_is_refused_with_its_reason(content, reason, tmp_path):
    write_video(tmp_path / "other.mp4", grey_frames(2))
    path = tmp_path / "named.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=f"named.mp4: .*({reason})"):
        read_frames(path)


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4", "absent.mp4"):
        with pytest.raises(VideoDecodeError, match=name):
            read_frames(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "line\nfeed.mp4",
        "concat:x|y.mp4",
        "frame%03d.mp4",
        "-rf.mp4",
        os.fsdecode(b"bad\xff.mp4"),
        "日本語😀.mp4",
    ],
)
def test_odd_names_are_read_and_shown_on_one_line(name, tmp_path):
    write_video(tmp_path / "clip.mp4", grey_frames(2))
    shutil.copy(tmp_path / "clip.mp4", tmp_path / name)
    assert len(list(read_frames(tmp_path / name))) == 2
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(VideoDecodeError) as refusal:
        read_frames(tmp_path / name)
    assert "\n" not in str(refusal.value)
    str(refusal.value).encode()


def test_a_cut_file_is_flagged_wherever_it_is_cut(tmp_path):
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(20)]
    write_video(tmp_path / "whole.mkv", frames)
    whole = (tmp_path / "whole.mkv").read_bytes()
    for share in range(1, 20):
        path = tmp_path / "cut.mkv"
        path.write_bytes(whole[: len(whole) * share // 20])
        try:
            reader = read_frames(path)
            count = sum(1 for _ in reader)
        except VideoDecodeError:
            continue
        assert count == 20 or reader.report.completeness in ("truncated", "damaged")


def resident_bytes():
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    write_video(tmp_path / "long.mp4", grey_frames(3000, 32, 32))
    sizes = []
    for frame in read_frames(tmp_path / "long.mp4"):
        if frame.index % 500 == 499:
            gc.collect()
            sizes.append(resident_bytes())
    assert sizes[-1] - sizes[1] < 2 * 2**20


def naive_sample(times_s, fps):
    """The first frame, then the first at or after each further multiple of the period."""
    kept, due = [0], times_s[0] + 1 / fps
    for number, time_s in enumerate(times_s[1:], start=1):
        if time_s >= due - 1e-6:
            kept.append(number)
            while due <= time_s + 1e-6:
                due += 1 / fps
    return kept


@pytest.mark.parametrize("fps", [1, 2.5, 3, 4, 9.9, 10, 30])
def test_sampling_hands_out_what_is_due_and_counts_the_rest(tmp_path, fps):
    path = tmp_path / "a.mp4"
    frames = [np.full((32, 48, 3), 5 * number, np.uint8) for number in range(23)]
    write_video(path, frames)
    with read_frames(path) as reader:
        every = list(reader)
    with read_frames(path, sample_fps=fps) as reader:
        seen = [(frame, reader.number) for frame in reader]
    wanted = naive_sample([frame.time_s for frame in every], fps)
    assert [number for _, number in seen] == wanted
    assert [frame.index for frame, _ in seen] == list(range(len(wanted)))
    for frame, number in seen:
        assert frame.time_s == every[number].time_s
        assert np.array_equal(frame.image, every[number].image)
    assert reader.report.decoded_frames == 23 and reader.report.completeness == "complete"


def test_sampling_follows_the_clock_of_a_variable_rate_and_stops_where_it_is_told(tmp_path):
    path = tmp_path / "a.mkv"
    times = [0, 10, 20, 30, 1000, 1010, 2500, 2510, 2520, 2540]  # milliseconds
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_ms in enumerate(times):
            frame = av.VideoFrame.from_ndarray(
                np.full((32, 48, 3), number, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with read_frames(path) as reader:
        stored = [frame.time_s for frame in reader]
    with read_frames(path, sample_fps=1) as reader:
        numbers = [reader.number for _ in reader]
    assert numbers == naive_sample(stored, 1) == [0, 4, 6]
    with read_frames(path, sample_fps=1, max_frames=2) as reader:
        assert [reader.number for _ in reader] == [0, 4]
    assert reader.report.completeness == "partial"


def test_every_raw_video_is_as_complete_when_it_is_sampled(data_dir):
    """What is passed over is decoded all the same: losses are seen."""
    for entry in manifest_videos():
        path = data_dir / "videos_raw" / entry["file"]
        try:
            with read_frames(path) as reader:
                times = [frame.time_s for frame in reader]
        except VideoDecodeError:
            with pytest.raises(VideoDecodeError):
                list(read_frames(path, sample_fps=2))
            continue
        with read_frames(path, sample_fps=2) as sampled:
            count = sum(1 for _ in sampled)
        assert sampled.report.completeness == reader.report.completeness, entry["file"]
        assert sampled.report.decoded_frames == reader.report.decoded_frames == len(times)
        assert 1 <= count <= len(times)


@pytest.mark.parametrize("sample_fps", [None, 4])
@pytest.mark.parametrize("skip", [1, 5, 9, 22, 23, 40])
@pytest.mark.parametrize("max_frames", [None, 7, 9])
def test_after_a_skip_everything_is_as_in_a_full_read(tmp_path, sample_fps, skip, max_frames):
    path = tmp_path / "a.mp4"
    write_video(path, grey_frames(23))
    with read_frames(path, sample_fps=sample_fps, max_frames=max_frames) as whole:
        every = [(frame, whole.number) for frame in whole]
    with read_frames(path, sample_fps=sample_fps, max_frames=max_frames, skip=skip) as reader:
        seen = [(frame, reader.number) for frame in reader]
    assert len(seen) == max(0, len(every) - skip)
    for (frame, number), (expected, expected_number) in zip(seen, every[skip:], strict=True):
        assert (frame.index, frame.time_s, number) == (
            expected.index,
            expected.time_s,
            expected_number,
        )
        assert np.array_equal(frame.image, expected.image)
    assert reader.report == whole.report
    assert reader.info == whole.info


@pytest.mark.data
def test_the_report_of_a_raw_video_does_not_depend_on_a_skip(data_dir):
    for name in ("awkward/truncated_tail.mp4", "real/decord_corrupted.mp4"):
        path = data_dir / "videos_raw" / name
        with read_frames(path) as whole:
            num_frames = sum(1 for _ in whole)
        with read_frames(path, skip=30) as reader:
            assert sum(1 for _ in reader) == num_frames - 30
        assert reader.report == whole.report


def test_a_frame_of_another_size_is_counted_although_it_is_skipped(tmp_path):
    parts = []
    for size in [(48, 64), (96, 80)]:
        write_video(tmp_path / "part.ts", grey_frames(5, *size))
        parts.append((tmp_path / "part.ts").read_bytes())
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    with read_frames(tmp_path / "joined.ts", skip=8) as reader:
        assert sum(1 for _ in reader) == 2
    assert reader.report.resized_frames == 5


def test_a_refusal_says_its_kind_and_keeps_it_on_its_way_between_processes(tmp_path):
    write_video(tmp_path / "clip.mp4", grey_frames(2))
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'clip.mp4'\n")
    kinds = {}
    for name in ("text.mp4", "list.mp4", "absent.mp4"):
        with pytest.raises(VideoDecodeError) as refusal:
            read_frames(tmp_path / name)
        kinds[name] = copy.copy(refusal.value).kind
    assert kinds == {"text.mp4": "not a video", "list.mp4": "not allowed",
                     "absent.mp4": "unreadable"}  # fmt: skip
    with pytest.raises(VideoDecodeError) as refusal:
        read_frames(tmp_path / "clip.mp4", limits=DecodeLimits(max_pixels=16))
    assert refusal.value.kind == "too large"
    assert VideoDecodeError("in words").kind == "unreadable"


def test_a_transport_stream_that_ends_within_a_packet_is_cut(tmp_path):
    write_video(tmp_path / "a.ts", grey_frames(20))
    whole = (tmp_path / "a.ts").read_bytes()
    completeness = {}
    for lost in (0, 188, 300):
        path = tmp_path / "cut.ts"
        path.write_bytes(whole[: len(whole) - lost])
        with read_frames(path) as reader:
            assert sum(1 for _ in reader) >= 18
        completeness[lost] = reader.report.completeness
    assert completeness == {0: "unknown", 188: "unknown", 300: "truncated"}


def test_a_gap_in_a_file_that_promises_no_number_of_frames_is_not_called_complete(tmp_path):
    path = tmp_path / "a.mkv"
    for times, gaps, word in [(range(8), 0, "complete"), ([0, 1, 2, 5, 6, 7, 8, 9], 1, "unknown")]:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv444p"
            for time in times:
                frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = time, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        with read_frames(path) as reader:
            assert sum(1 for _ in reader) == 8
        assert (reader.report.gaps, reader.report.completeness) == (gaps, word)
