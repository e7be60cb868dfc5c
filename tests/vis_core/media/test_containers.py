"""Containers that are read, and those that are refused with a true reason."""

import json
import subprocess
from itertools import product

import numpy as np
import pytest

from tests.helpers.display_matrices import pictures_of_ffmpeg
from tests.helpers.videos import both_readers, grey_frames, write_video
from vis_core.errors import VideoDecodeError
from vis_core.media.video_files import VIDEO_SUFFIXES
from vis_core.media.video_reader import read_frames

SMALL = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=0.5", "-pix_fmt", "yuv420p"]
PAL = ["-s", "720x576", "-r", "25"]
# suffix: (options of the encoder, demuxer)
ONE_FILE = {
    "mxf": (["-r", "25", "-c:v", "mpeg2video"], "mxf"),
    "dv": ([*PAL, "-c:v", "dvvideo"], "dv"),
    "ivf": (["-c:v", "libvpx"], "ivf"),
    "nut": (["-c:v", "mpeg4"], "nut"),
    "y4m": ([], "yuv4mpegpipe"),
    "f4v": (["-c:v", "libx264"], "mov,mp4,m4a,3gp,3g2,mj2"),
    "h264": (["-c:v", "libx264"], "h264"),
    "264": (["-c:v", "libx264", "-f", "h264"], "h264"),
    "hevc": (["-c:v", "libx265", "-x265-params", "log-level=none"], "hevc"),
    "m2v": (["-c:v", "mpeg2video", "-bf", "2"], "mpegvideo"),
    "m1v": (["-c:v", "mpeg1video"], "mpegvideo"),
    "m4v": (["-c:v", "mpeg4", "-f", "m4v"], "m4v"),
    "mjpeg": (["-c:v", "mjpeg"], "mjpeg"),
}
RAW = {"h264", "hevc", "mpegvideo", "m4v", "mjpeg"}


@both_readers
@pytest.mark.parametrize("suffix", ONE_FILE)
def test_a_container_of_one_file_is_read_as_ffmpeg_reads_it(suffix, read, tmp_path):
    options, demuxer = ONE_FILE[suffix]
    path = tmp_path / f"x.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", *SMALL, *options, path], check=True)
    assert path.suffix in VIDEO_SUFFIXES
    with read(path) as reader:
        frames = list(reader)
    info = reader.info
    images = np.stack([frame.image for frame in frames])
    expected = pictures_of_ffmpeg(path, *images.shape[1:3])
    assert images.shape == expected.shape
    assert np.abs(images.astype(int) - expected).mean() < 2
    assert info.container == demuxer
    rate = 25 if suffix in ("mxf", "dv", "mjpeg") else 30
    assert info.rate == rate
    times = np.array([frame.time_s for frame in frames])
    if demuxer in RAW:
        assert np.allclose(times, np.arange(len(frames)) / rate)
        assert info.times.endswith("assumed" if suffix == "mjpeg" else "stated")
        assert reader.report.completeness == "unknown"
    else:
        assert np.allclose(times, times_of_ffprobe(path))
        assert info.times == ""
        assert not reader.report.truncated


def times_of_ffprobe(path):
    command = [
        "ffprobe",
        "-v",
        "error",
        "-of",
        "json",
        "-show_entries",
        "frame=best_effort_timestamp_time",
    ]
    output = subprocess.run([*command, path], capture_output=True, check=True)
    return [
        float(frame["best_effort_timestamp_time"]) for frame in json.loads(output.stdout)["frames"]
    ]


OPENS_OTHERS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nother.ts\n",
    "concat": "ffconcat version 1.0\nfile 'other.mp4'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize(
    "demuxer, suffix",
    [("hls", "m3u8"), *product(("concat", "sdp"), ("mp4", "mxf", "h264", "y4m"))],
)
def test_a_file_that_opens_others_is_refused_for_that_reason(demuxer, suffix, tmp_path):
    write_video(tmp_path / "other.mp4", grey_frames(2))
    path = tmp_path / f"list.{suffix}"
    path.write_text(OPENS_OTHERS[demuxer])
    with pytest.raises(VideoDecodeError, match=f'"{demuxer}" .* may open other files') as refusal:
        read_frames(path)
    assert refusal.value.kind == "not allowed"


@pytest.mark.parametrize("suffix", ["png", "apng", "swf", "rm"])
def test_a_known_container_that_is_not_read_gets_a_true_reason_and_a_mend(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    extra = ["-frames:v", "1"] if suffix == "png" else []
    subprocess.run(["ffmpeg", "-v", "error", *SMALL, *extra, path], check=True)
    with pytest.raises(VideoDecodeError, match="is not read here; ffmpeg -i FILE") as refusal:
        read_frames(path)
    assert "other files" not in str(refusal.value)


@pytest.mark.parametrize("side", [10000, 60000])
def test_a_raw_stream_that_declares_huge_frames_is_refused(side, tmp_path):
    path = tmp_path / "huge.y4m"
    path.write_bytes(
        f"YUV4MPEG2 W{side} H{side} F25:1 Ip A1:1 C420\nFRAME\n".encode() + bytes(1000)
    )
    with pytest.raises(VideoDecodeError, match="10000 x 10000|more memory") as refusal:
        read_frames(path)
    assert refusal.value.kind == "too large"
