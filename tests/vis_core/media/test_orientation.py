"""Display orientation, compared with ffmpeg and with the stored pictures turned by numpy."""

import subprocess

import numpy as np
import pytest

from tests.helpers.display_matrices import EIGHT, OTHERS, pictures_of_ffmpeg, set_matrix
from tests.helpers.videos import both_readers, write_video
from vis_core.errors import VideoDecodeError
from vis_core.media.video_reader import read_frames

ROTATIONS = {
    "identity": (0, False),
    "clockwise": (-90, False),
    "half": (-180, False),
    "counterclockwise": (90, False),
    "hflip": (0, True),
    "vflip": (-180, True),
    "transpose": (-90, True),
    "antitranspose": (90, True),
}


def write_plain(path, count=4, height=48, width=64):
    """Writes a video of lossless noise whose quarters differ in colour."""
    noise = np.random.default_rng(0)
    frames = noise.integers(0, 60, (count, height, width, 3), np.uint8)
    frames[:, : height // 2, : width // 2, 0] += 150
    frames[:, height // 2 :, : width // 2, 1] += 150
    frames[:, : height // 2, width // 2 :, 2] += 150
    write_video(path, frames)


def images(path, read=read_frames):
    with read(path) as reader:
        return np.stack([frame.image for frame in reader]), reader.info


def assert_shown_as_ffmpeg_does(path, found):
    shown = pictures_of_ffmpeg(path, *found.shape[1:3])
    assert shown.shape == found.shape
    assert np.abs(shown.astype(int) - found).mean() < 1


@both_readers
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("name", EIGHT)
def test_each_display_matrix_is_shown_as_ffmpeg_shows_it(name, suffix, read, tmp_path):
    plain, path = tmp_path / f"plain.{suffix}", tmp_path / f"{name}.{suffix}"
    write_plain(plain)
    matrix, shown = EIGHT[name]
    set_matrix(plain, path, *matrix, shift=(64, 48))
    found, info = images(path, read)
    expected = np.stack([shown(image) for image in images(plain)[0]])
    assert np.array_equal(found, expected)
    assert (info.height, info.width) == found.shape[1:3]
    assert (info.rotation, info.mirrored) == ROTATIONS[name]
    assert_shown_as_ffmpeg_does(path, found)


@both_readers
@pytest.mark.parametrize("name", OTHERS)
def test_another_display_matrix_is_refused_by_name(name, read, tmp_path):
    write_plain(tmp_path / "plain.mp4")
    set_matrix(tmp_path / "plain.mp4", tmp_path / "odd.mp4", *OTHERS[name])
    with pytest.raises(VideoDecodeError, match="display matrix .* is no quarter turn") as refusal:
        read(tmp_path / "odd.mp4")
    assert refusal.value.kind == "orientation"


def test_a_matrix_of_zeros_states_nothing(tmp_path):
    write_plain(tmp_path / "plain.mp4")
    set_matrix(tmp_path / "plain.mp4", tmp_path / "zeros.mp4", 0, 0, 0, 0)
    found, info = images(tmp_path / "zeros.mp4")
    assert np.array_equal(found, images(tmp_path / "plain.mp4")[0])
    assert (info.rotation, info.mirrored) == (0, False)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["", ":flip=horizontal", ":flip=vertical"])
def test_orientation_in_the_h264_stream_is_shown_as_ffmpeg_shows_it(flip, turn, tmp_path):
    # One frame, since the message comes with key frames and ffmpeg applies it to these alone.
    plain, path = tmp_path / "plain.mkv", tmp_path / "turned.mkv"
    write_plain(plain, count=1)
    message = f"h264_metadata=display_orientation=insert:rotate={turn}{flip}"
    command = ["ffmpeg", "-v", "error", "-i", plain, "-c", "copy", "-bsf:v", message, path]
    subprocess.run(command, check=True)
    assert_shown_as_ffmpeg_does(path, images(path)[0])


def test_a_change_of_orientation_in_mid_stream_gives_frames_of_the_first_size(tmp_path):
    parts = []
    for name in ("plain", "turned"):
        write_plain(tmp_path / f"{name}.ts", count=1)
        if name == "turned":
            message = "h264_metadata=display_orientation=insert:rotate=90"
            source, path = tmp_path / "turned.ts", tmp_path / "turned2.ts"
            options = ["-c", "copy", "-bsf:v", message]
            subprocess.run(["ffmpeg", "-v", "error", "-i", source, *options, path], check=True)
            parts.append(path.read_bytes())
        else:
            parts.append((tmp_path / "plain.ts").read_bytes())
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    reader = read_frames(tmp_path / "joined.ts")
    assert {frame.image.shape for frame in reader} == {(48, 64, 3)}
    assert reader.report.resized_frames == 1


@both_readers
@pytest.mark.parametrize("name, shown", [("identity", "16:11"), ("transpose", "11:16")])
def test_pixels_that_are_not_square_are_said_as_displayed(name, shown, read, tmp_path):
    write_plain(tmp_path / "plain.mp4")
    options = ["-c", "copy", "-bsf:v", "h264_metadata=sample_aspect_ratio=16/11"]
    source, wide = tmp_path / "plain.mp4", tmp_path / "wide.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, *options, wide], check=True)
    set_matrix(wide, tmp_path / "turned.mp4", *EIGHT[name][0])
    found, info = images(tmp_path / "turned.mp4", read)
    assert info.pixel_aspect == shown
    assert np.array_equal(found[0], EIGHT[name][1](images(source)[0][0]))


@both_readers
@pytest.mark.parametrize("trc", ["smpte2084", "arib-std-b67", "bt709"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_hdr_is_said(suffix, trc, read, tmp_path):
    path = tmp_path / f"hdr.{suffix}"
    options = ["-pix_fmt", "yuv420p10le", "-c:v", "libx265"]
    options += ["-x265-params", f"transfer={trc}:log-level=none"]
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.2"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *options, path], check=True)
    assert images(path, read)[1].hdr.split(" ")[0] == (trc if trc != "bt709" else "")


@pytest.mark.data
@pytest.mark.parametrize("name", ["ident", "hflip", "vflip"])
def test_the_reported_files_are_shown_as_ffmpeg_shows_them(name, data_dir):
    path = data_dir / "field" / "videos" / "V3_flips" / f"mat_{name}.mp4"
    found, info = images(path)
    assert_shown_as_ffmpeg_does(path, found)
    assert info.mirrored == (name != "ident")
