"""Folders of numbered pictures, read as videos."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers.videos import both_readers
from vis_core.config.media import DecodeLimits
from vis_core.errors import VideoDecodeError
from vis_core.media.images import read_image
from vis_core.media.pictures import before_gaps, in_order
from vis_core.media.video_reader import read_frames


def write_pictures(folder, names, height=48, width=63, mode="RGB"):
    """Writes pictures of noise; the odd width makes padded lines visible."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    for name in names:
        image = Image.fromarray(noise.integers(0, 255, (height, width, 3), np.uint8))
        image.convert(mode).save(folder / name)


@both_readers
@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "webp", "bmp", "tif"])
def test_the_pixels_are_those_of_the_strict_image_reader(suffix, read, tmp_path):
    names = [f"frame_{number}.{suffix}" for number in (0, 9, 10, 100)]
    write_pictures(tmp_path / "vid", names)
    with read(tmp_path / "vid", picture_rate=8) as reader:
        frames = list(reader)
    for frame, name in zip(frames, names, strict=True):
        assert np.array_equal(frame.image, read_image(tmp_path / "vid" / name))
    assert [frame.time_s for frame in frames] == [0, 1 / 8, 2 / 8, 3 / 8]
    assert (reader.info.rate, reader.info.declared_frames) == (8, 4)
    assert reader.info.container == "pictures"


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_pictures_of_other_modes_and_with_exif_are_read_as_for_scoring(mode, tmp_path):
    name = "0.tif" if mode == "CMYK" else "0.png"
    write_pictures(tmp_path / "vid", [name], mode=mode)
    (frame,) = read_frames(tmp_path / "vid", picture_rate=1)
    assert np.array_equal(frame.image, read_image(tmp_path / "vid" / name))


def test_an_exif_turn_is_left_alone_as_masks_refer_to_stored_pixels(tmp_path):
    write_pictures(tmp_path / "vid", ["0.jpg"])
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "vid" / "0.jpg"
    Image.open(path).save(path, exif=exif)
    (frame,) = read_frames(tmp_path / "vid", picture_rate=1)
    assert np.array_equal(frame.image, read_image(path))
    assert frame.image.shape == (48, 63, 3)


@both_readers
@pytest.mark.parametrize("skip, sample, most, expected", [
    (0, None, 3, [0, 1, 2]), (2, None, None, [2, 3, 4, 5]), (0, 5, None, [0, 2, 4]),
    (1, 5, None, [2, 4]),
])  # fmt: skip
def test_sampling_and_resuming_choose_the_same_pictures_as_in_a_video(
    skip, sample, most, expected, read, tmp_path
):
    names = [f"{number:05}.png" for number in range(6)]
    write_pictures(tmp_path / "vid", names)
    kept = {"max_frames": most, "sample_fps": sample, "skip": skip}
    with read(tmp_path / "vid", picture_rate=10, **kept) as reader:
        frames = list(reader)
    wanted = [read_image(tmp_path / "vid" / names[number]) for number in expected]
    assert all(np.array_equal(f.image, image) for f, image in zip(frames, wanted, strict=True))


def spoil_cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_text(path):
    path.write_text("no picture")


def spoil_size(path):
    write_pictures(path.parent, [path.name], 50, 63)


def spoil_link(path):
    path.unlink()
    path.symlink_to("absent.jpg")


@both_readers
@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("spoil", [spoil_cut, spoil_empty, spoil_text, spoil_size, spoil_link])
def test_a_damaged_picture_is_named(spoil, at, read, tmp_path):
    names = [f"{number:05}.jpg" for number in range(4)]
    write_pictures(tmp_path / "vid", names)
    spoil(tmp_path / "vid" / names[at])
    named = names[1] if spoil is spoil_size and at == 0 else names[at]
    with pytest.raises(VideoDecodeError, match=f"vid: {named}: expected") as refusal:
        list(read(tmp_path / "vid", picture_rate=6))
    assert str(refusal.value).count(str(tmp_path)) == 1


@both_readers
def test_a_folder_without_pictures_and_a_large_picture_are_refused(read, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoDecodeError, match="no picture in the folder"):
        read(tmp_path / "none", picture_rate=6)
    write_pictures(tmp_path / "vid", ["0.png"])
    with pytest.raises(VideoDecodeError, match=r"0.png: expected at most 100 pixels"):
        read(tmp_path / "vid", picture_rate=6, limits=DecodeLimits(max_pixels=100))
    with pytest.raises(VideoDecodeError, match="not a regular file"):
        read(tmp_path / "vid")


@both_readers
def test_a_missing_number_is_a_gap_so_that_the_video_is_not_called_complete(read, tmp_path):
    write_pictures(tmp_path / "vid", ["00000.png", "00005.png", "00015.png", "00020.png"])
    with read(tmp_path / "vid", picture_rate=6) as reader:
        assert len(list(reader)) == 4
    assert reader.report.gaps == 1
    assert reader.report.completeness == "unknown"


@pytest.mark.parametrize(
    "names, expected",
    [
        (["10.jpg", "9.jpg"], ["9.jpg", "10.jpg"]),
        (["a2_1.png", "a10_0.png", "a2_0.png"], ["a2_0.png", "a2_1.png", "a10_0.png"]),
        (["1.png", "01.png"], "have the same number"),
        (["1.png", "1.jpg"], "have the same number"),
        (["1.png", "cover.jpg"], "cover.jpg has no number"),
    ],
)
def test_pictures_are_in_natural_order(names, expected):
    if isinstance(expected, list):
        assert in_order(names) == expected
    else:
        with pytest.raises(ValueError, match=expected):
            in_order(names)


def test_a_constant_step_has_no_gap():
    assert before_gaps(["0.png", "5.png", "10.png"]) == []
    assert before_gaps(["0.png", "5.png", "15.png"]) == ["5.png"]
    assert before_gaps(["0.png"]) == []
