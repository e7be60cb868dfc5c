"""Untrusted video files: read completely, or refused with a reason."""

import copy
import gc
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.videos import grey_frames, write_video
from vis_core.config.media import DecodeLimits
from vis_core.errors import VideoDecodeError
from vis_core.media.video_reader import read_frames


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
    """Returns the resident memory of this process."""
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
