"""A sound file is never called truncated, whatever its other streams are; a cut one is."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import data_dir_or_none
from tests.helpers.made_videos import CONTAINERS, ffmpeg
from vis_core.errors import VideoDecodeError
from vis_core.media.video_reader import read_frames

ENCODERS = {
    "webm": ["libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"],
    "flv": ["flv", "-c:a", "libmp3lame", "-ar", "44100"],
    "wmv": ["wmv2", "-c:a", "wmav2"],
    "ogv": ["libtheora", "-c:a", "libvorbis"],
    "mov": ["mpeg4", "-c:a", "aac"],
    "avi": ["mpeg4", "-bf", "2", "-c:a", "libmp3lame"],
}
SUBTITLES = "1\n00:00:00,500 --> 00:00:20,000\nhello\n"


def video(seconds, late_s=0.0, rate="12"):
    source = f"testsrc2=size=64x64:rate={rate}:duration={seconds}"
    return ["-itsoffset", str(late_s), "-f", "lavfi", "-i", source]


def audio(seconds, late_s=0.0):
    return ["-itsoffset", str(late_s), "-f", "lavfi", "-i", f"sine=duration={seconds}:r=48000"]


STREAMS = {
    "longer audio": [*video(1), *audio(4)],
    "slightly longer audio": [*video(1), *audio(1.4)],
    "shorter audio": [*video(2), *audio(1)],
    "video that begins later": [*video(1, late_s=3), *audio(4)],
    "video within the audio": [*video(1, late_s=2), *audio(6)],
    "audio that begins later": [*video(3), *audio(1, late_s=1)],
    "both later": [*video(1, late_s=3), *audio(1, late_s=3)],
    "video alone that begins later": video(1, late_s=3),
    "a second video that is longer": [*video(1), *video(3), "-map", "0", "-map", "1"],
    "one frame": video(0.05),
    "one frame and audio": [*video(0.05), *audio(2)],
    "slides": video(12, rate="1/4"),
}
# containers that state the video's own end, or the number of its frames
EXACT = ("mp4", "mov", "mkv", "webm", "avi", "fragments.mp4")


def made(path, streams, container):
    settings = ENCODERS.get(container, ["libx264", "-preset", "ultrafast", "-bf", "2"])
    options = ["-c:v", *settings, "-pix_fmt", "yuv420p", *CONTAINERS[container], path]
    return ffmpeg(*streams, *options)


def completeness(path, **options):
    with read_frames(path, **options) as reader:
        for _ in reader:
            pass
    return reader.report.completeness


@pytest.mark.parametrize(
    "container",
    [
        pytest.param(name, marks=[] if name in ("mkv", "flv", "wmv") else pytest.mark.slow)
        for name in CONTAINERS
    ],
)
def test_streams_of_other_lengths_raise_no_alarm(container, tmp_path):
    words = {}
    for number, (name, streams) in enumerate(STREAMS.items()):
        path = tmp_path / f"{number}.{container}"
        if made(path, streams, container):
            words[name] = completeness(path)
            assert completeness(path, sample_fps=2) == words[name]
    assert len(words) >= len(STREAMS) - 1
    wrong = {name: word for name, word in words.items() if word not in ("complete", "unknown")}
    assert wrong == {}
    if container in EXACT:
        assert set(words.values()) == {"complete"}, words


def test_longer_subtitles_raise_no_alarm(tmp_path):
    (tmp_path / "a.srt").write_text(SUBTITLES)
    for name in ("a.mkv", "a.webm", "a.mp4"):
        codec = {"a.mkv": "srt", "a.webm": "webvtt", "a.mp4": "mov_text"}[name]
        encoder = "libvpx" if name == "a.webm" else "libx264"
        streams = [*video(1), "-i", tmp_path / "a.srt"]
        assert ffmpeg(*streams, "-c:v", encoder, "-c:s", codec, tmp_path / name)
        assert completeness(tmp_path / name) == "complete"


@pytest.mark.data
@pytest.mark.parametrize("path", sorted(((data_dir_or_none() or Path()) / "field").rglob("V*/*.*")),
                         ids=lambda path: path.name)  # fmt: skip
def test_a_sound_video_that_users_reported_is_complete(path):
    assert completeness(path) == "complete"


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4", "libx264", "mpeg2video", "ffv1"])
def test_an_avi_with_empty_chunks_is_complete(codec, tmp_path):
    path = tmp_path / "a.avi"
    dropped = ["-vf", "select='not(between(n,10,12))'", "-vsync", "vfr"]
    options = ["-pix_fmt", "yuvj420p"] if codec == "mjpeg" else ["-pix_fmt", "yuv420p", "-bf", "2"]
    assert ffmpeg(*video(2, rate="25"), *dropped, "-c:v", codec, *options, path)
    with read_frames(path) as reader:
        times = [frame.time_s for frame in reader]
    assert (len(times), reader.report.declared_frames) == (47, 50)
    assert np.diff(times).max() == pytest.approx(4 / 25)
    assert reader.report.completeness == "complete"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert completeness(path) in ("truncated", "damaged")


def test_an_avi_that_ends_with_empty_chunks_is_complete_and_one_that_lost_them_is_not(tmp_path):
    path = tmp_path / "a.avi"
    assert ffmpeg(*video(2, rate="25"), "-c:v", "mjpeg", path)
    data = bytearray(path.read_bytes())
    index = data.index(b"idx1") + 8
    for number in (48, 49):  # the last two entries: their chunks become empty
        entry = index + 16 * number
        offset = int.from_bytes(data[entry + 8 : entry + 12], "little") + data.index(b"movi")
        size = int.from_bytes(data[entry + 12 : entry + 16], "little")
        data[offset : offset + 4] = b"JUNK"
        data[entry + 12 : entry + 16] = bytes(4)
        assert size > 100
    path.write_bytes(data)
    with read_frames(path) as reader:
        assert sum(1 for _ in reader) == 48
    assert reader.report.completeness == "complete"
    path.write_bytes(data[: index - 8])
    assert completeness(path) == "truncated"


def test_an_mpeg4_video_whose_packets_repeat_frames_is_complete(tmp_path):
    path = tmp_path / "a.avi"
    generator = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        images = [generator.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(20)]
        for number, image in enumerate(images):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                if number in (5, 6, 15):  # a picture that is "not coded"
                    bits = f"010{1}{number % 25:05b}10".ljust(16, "1")
                    repeated = av.Packet(b"\x00\x00\x01\xb6" + int(bits, 2).to_bytes(2, "big"))
                    repeated.pts, repeated.dts = packet.pts, packet.dts
                    repeated.time_base, repeated.stream = packet.time_base, stream
                    packet = repeated
                container.mux(packet)
        container.mux(stream.encode())
    with read_frames(path) as reader:
        assert sum(1 for _ in reader) == 17
    assert (reader.report.declared_frames, reader.report.completeness) == (20, "complete")


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_a_cut_before_pictures_that_need_earlier_ones_is_complete(codec, tmp_path):
    settings = {
        "libx264": ["-x264-params", "keyint=12:min-keyint=12:open-gop=1:bframes=3"],
        "libx265": ["-x265-params", "log-level=none:keyint=12:min-keyint=12:open-gop=1:bframes=3"],
        "mpeg2video": ["-bf", "2", "-g", "12"],
    }[codec]
    source, path = tmp_path / "a.mkv", tmp_path / "a.mp4"
    wide = ["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=2"]
    assert ffmpeg(*wide, "-c:v", codec, *settings, "-pix_fmt", "yuv420p", source)
    assert ffmpeg("-ss", "0.9", "-i", source, "-c", "copy", "-use_editlist", "0", path)
    with read_frames(path) as reader:
        num_frames = sum(1 for _ in reader)
    assert 0 < num_frames < reader.report.declared_frames
    assert reader.report.completeness == "complete"


@pytest.mark.parametrize("container", ["flv", "mkv"])
def test_a_cut_file_with_audio_is_flagged(container, tmp_path):
    path = tmp_path / f"a.{container}"
    assert made(path, STREAMS["longer audio"], container)
    whole = path.read_bytes()
    for share in (0.2, 0.4, 0.6):
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            with read_frames(path) as reader:
                num_frames = sum(1 for _ in reader)
        except VideoDecodeError:
            continue
        assert num_frames == 12 or reader.report.completeness in ("truncated", "damaged")


@pytest.mark.parametrize(
    "tag, word", [("00:00:09", "truncated"), ("00:00:20", "unknown"), ("99:99:99", "unknown")]
)
def test_a_stated_end_of_the_video_counts_unless_the_file_is_shorter(tag, word, tmp_path):
    path = tmp_path / "a.mkv"
    assert ffmpeg(*video(1), *audio(10), "-c:v", "mpeg4", "-c:a", "libvorbis", path)
    assert completeness(path) == "complete"
    data, count = re.subn(rb"00:00:01\.", tag.encode() + b".", path.read_bytes())
    assert count == 1
    path.write_bytes(data)
    assert completeness(path) == word


@pytest.mark.parametrize("times, word", [([0, 1, 2, 9, 10, 11], "unknown"),
                                         ([0, 1, 2, 9, 19, 29], "complete")])  # fmt: skip
def test_one_gap_may_hide_a_loss_and_many_are_a_variable_rate(times, word, tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert completeness(path) == word
