import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vis_core.errors import ImageError
from vis_core.media.images import image_header, read_image


def _picture(height: int = 20, width: int = 30) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 6, columns * 5, rows + columns], axis=2).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    file = tmp_path / ("file.tif" if mode == "CMYK" else "file.png")
    Image.fromarray(_picture()).convert(mode).save(file)
    image = read_image(file)
    assert (image.shape, image.dtype) == ((20, 30, 3), np.uint8)
    header = image_header(file)
    assert (header.height, header.width) == (20, 30)


def test_a_lossless_image_keeps_its_pixels(tmp_path: Path) -> None:
    Image.fromarray(_picture()).save(tmp_path / "file.png")
    np.testing.assert_array_equal(read_image(tmp_path / "file.png"), _picture())


def test_the_exif_turn_is_left_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_picture()).save(tmp_path / "file.jpg", exif=exif)
    assert read_image(tmp_path / "file.jpg").shape == (20, 30, 3)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 20}])
def test_sound_jpegs_of_every_kind_are_read(options: dict, tmp_path: Path) -> None:
    Image.fromarray(_picture(61, 47)).save(tmp_path / "file.jpg", **options)
    assert read_image(tmp_path / "file.jpg").shape == (61, 47, 3)


def test_a_jpeg_with_flipped_bytes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(file)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60] = bytes(range(60))
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r"file\.jpg.*damaged"):
        read_image(file)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_cut_image_is_refused(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"file.{suffix}"
    Image.fromarray(_picture(80, 90)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ImageError, match="damaged"):
        read_image(file)


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    Image.fromarray(_picture()).save(tmp_path / "file.png")
    with pytest.raises(ImageError, match="at most 100 pixels"):
        read_image(tmp_path / "file.png", max_pixels=100)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.jpg").write_text("<html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, words in (("file.jpg", "other data"), ("empty.jpg", "empty"), ("no.jpg", "none")):
        with pytest.raises(ImageError, match=words):
            read_image(tmp_path / name)


@pytest.mark.data
def test_hostile_images_that_are_accepted_hold_what_they_should(data_dir: Path) -> None:
    manifest = json.loads((data_dir / "hostile" / "manifest.json").read_text())
    entries = manifest.get("entries") or manifest.get("files")
    checked = 0
    for entry in entries:
        if entry["kind"] != "image" or "check" not in entry:
            continue
        image = read_image(data_dir / "hostile" / entry["file"])
        check = entry["check"]
        assert image.shape[2] == check.get("channels", 3)
        for key in ("size", "stored_size"):
            if key in check:
                assert list(image.shape[1::-1]) == check[key]
        if "mean_8bit" in check:
            assert abs(image.mean() - check["mean_8bit"]) <= check["tolerance"]
        checked += 1
    assert checked
