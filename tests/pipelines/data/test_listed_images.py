"""Images that annotation files list: content, size and EXIF orientation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.data.check_files import FileReport, check_file
from pipelines.data.given_data import GivenData, check_given
from vis_core.errors import AnnotationError, VisError
from vis_core.rle.segmentation import encode_masks

FIELD_CASES = {
    "04_validate_images/cut_jpg/instances.json": r"pic_01.jpg': expected a complete JPEG",
    "04_validate_images/frame_size/train.json": r"00003.jpg': expected the stored size 24 x 32",
    "04_validate_images/frame_zero/gt.json": r"00001.jpg': expected an image, found an empty",
    "08_exif/exif_rotated_json/instances.json": r"EXIF orientation 6.*keep the entry, turn its pix",
    "09_double_message/one_missing/instances.json": r"expected an image file, found none; check",
    "17_bad_picture/vis_swapped/train.json": r"48 x 64, found 64 x 48; height and width are exch",
    "17_bad_picture/coco_allcut/instances.json": r"expected a complete JPEG.*more like it: images",
}


@pytest.mark.data
@pytest.mark.parametrize("name", FIELD_CASES)
def test_reported_files_are_refused_by_image(name: str, data_dir: Path) -> None:
    import re

    file = data_dir / "field" / "annotations" / name
    folder = file.parent / "images"
    report = check_file(file, images=folder if folder.is_dir() else file.parent / "JPEGImages")
    (line, verdict) = report.lines()
    assert re.search(FIELD_CASES[name], line), line
    assert "found expected" not in line
    assert "cannot be used" in verdict


KINDS = ("coco", "youtube_vis")


def listed(folder: Path, kind: str, size: tuple[int, int], names: list[str]) -> Path:
    """Writes an annotation file whose images or frames have ``size``, height first."""
    (rle,) = encode_masks(np.ones((1, *size), bool))
    sized: dict[str, Any] = {"height": size[0], "width": size[1]}
    annotation: dict[str, Any] = {"category_id": 1, "iscrowd": 0}
    if kind == "coco":
        ids = range(1, len(names) + 1)
        images = [{"id": i, "file_name": name, **sized} for i, name in zip(ids, names, strict=True)]
        own = [{"id": i, "image_id": i, "segmentation": rle, **annotation} for i in ids]
        tables: dict[str, Any] = {"images": images, "annotations": own}
    else:
        videos = [{"id": 1, "file_names": names, **sized}]
        masks = [rle] * len(names)
        own = [{"id": 1, "video_id": 1, "segmentations": masks, **annotation}]
        tables = {"videos": videos, "annotations": own}
    file = folder / ("instances.json" if kind == "coco" else "train.json")
    file.write_text(json.dumps(tables | {"categories": [{"id": 1, "name": "cup"}]}))
    return file


def write_image(path: Path, size: tuple[int, int], orientation: int | None) -> None:
    image = Image.fromarray(np.zeros((*size, 3), np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)


def texts(report: FileReport) -> tuple[list[str], list[str]]:
    return [str(each) for each in report.defects.errors], [
        str(each) for each in report.defects.warnings
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", [None, 0, *range(1, 9), 9])
def test_every_orientation_is_told(
    orientation: int | None, suffix: str, kind: str, tmp_path: Path
) -> None:
    """Tries entries of the stored size, of the size that viewers show, and of a square."""
    tagged = orientation in range(2, 9)
    name = f"a.{suffix}"
    write_image(tmp_path / name, (48, 64), orientation)
    errors, warnings = texts(check_file(listed(tmp_path, kind, (48, 64), [name]), images=tmp_path))
    assert not errors
    assert len(warnings) == tagged
    assert all(f"orientation {orientation}" in each and "turn its" in each for each in warnings)

    (error,), _ = texts(check_file(listed(tmp_path, kind, (64, 48), [name]), images=tmp_path))
    assert "expected the stored size 48 x 64, found 64 x 48" in error
    turned = orientation in (5, 6, 7, 8)
    assert ("turn its pixels and remove the tag" in error) == turned
    assert (f"EXIF orientation {orientation} " in error) == turned
    assert ("height and width are exchanged" in error) != turned

    write_image(tmp_path / name, (48, 48), orientation)
    errors, warnings = texts(check_file(listed(tmp_path, kind, (48, 48), [name]), images=tmp_path))
    assert not errors
    assert len(warnings) == tagged


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not found"),
    "size": lambda path: write_image(path, (30, 30), None),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_by_validate_and_before_a_training(
    damage: str, kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / ("images" if kind == "coco" else "JPEGImages")
    folder.mkdir()
    names = [f"{index}.jpg" for index in range(6)]
    for name in names:
        noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    file = listed(tmp_path, kind, (48, 64), names)
    (tmp_path / "val.json").write_bytes(file.read_bytes())
    given = GivenData(coco=tmp_path) if kind == "coco" else GivenData(vis=tmp_path)
    if kind == "coco":
        (tmp_path / "val.json").unlink()
    check_given(given)
    DAMAGES[damage](folder / "3.jpg")
    errors, warnings = texts(check_file(file, images=folder))
    told = warnings if (kind, damage) == ("youtube_vis", "missing") else errors
    assert len(told) == 1 and "3.jpg" in told[0] and "found expected" not in told[0]
    if damage == "cut":  # the header is whole
        check_given(given)
        return
    with pytest.raises(VisError, match=r"3\.jpg"):
        check_given(given)


MANY: dict[str, dict[str, Any]] = {
    "string ids": {"images": {"id": lambda value: str(value)}},
    "backslash names": {"images": {"file_name": lambda value: f"images\\{value}"}},
    "absolute names": {"images": {"file_name": lambda value: f"/data/me/{value}"}},
    "crowd 0.0": {"annotations": {"iscrowd": lambda _: 0.0}},
    "string image ids": {"annotations": {"image_id": lambda value: str(value)}},
    "bytes as text": {
        "annotations": {"segmentation": lambda rle: {**rle, "counts": str(rle["counts"].encode())}}
    },
    "missing files": {},
}


@pytest.mark.parametrize("cause", MANY)
def test_one_cause_in_many_entries_is_one_line(cause: str, tmp_path: Path) -> None:
    file = listed(tmp_path, "coco", (8, 9), [f"{index}.jpg" for index in range(500)])
    document = json.loads(file.read_text())
    for table, changes in MANY[cause].items():
        for entry in document[table]:
            for field, change in changes.items():
                entry[field] = change(entry[field])
    file.write_text(json.dumps(document))
    report = check_file(file, images=tmp_path if cause == "missing files" else None)
    lines = [line for line in report.lines() if "annotations[0]" in line or "images[0]" in line]
    table = "images" if cause in ("missing files", "string ids") or "names" in cause else None
    line = next(line for line in lines if table is None or line.split("error: ")[1][:6] == table)
    assert "499 more like it" in line and "[1]" in line and "[2]" in line
    assert len(list(report.lines())) <= 4
    assert len(report.to_json()["errors"]) >= 500
    if cause == "bytes as text":
        assert "bytes printed as text" in line


def test_a_different_cause_after_many_of_one_is_still_shown(tmp_path: Path) -> None:
    file = listed(tmp_path, "coco", (8, 9), [f"{index}.jpg" for index in range(10_050)])
    document = json.loads(file.read_text())
    for entry in document["annotations"][:-1]:
        entry["iscrowd"] = 0.0
    document["annotations"][-1]["bbox"] = "none"
    file.write_text(json.dumps(document))
    first, last, verdict = check_file(file).lines()
    assert "10048 more like it" in first
    assert '"bbox": expected 4 finite numbers' in last
    assert "10050 errors" in verdict
    with pytest.raises(AnnotationError, match="10050 errors\n.*iscrowd.*\n.*bbox"):
        from vis_core.formats.coco import read_coco

        read_coco(file, None)
