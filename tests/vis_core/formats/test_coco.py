import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vis_core.errors import AnnotationError
from vis_core.formats.categories import Categories
from vis_core.formats.coco import read_coco, write_coco
from vis_core.rle.segmentation import decode_rle, encode_mask


def _document() -> dict:
    return {
        "images": [
            {"id": 3, "file_name": "a.jpg", "height": 8, "width": 10},
            {"id": 4, "file_name": "b.jpg", "height": 6, "width": 6},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 90, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 90, "iscrowd": 0, "bbox": [1, 1, 4, 3],
             "area": 12, "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]]},
            {"id": 2, "image_id": 3, "category_id": 1, "iscrowd": 1,
             "segmentation": {"size": [8, 10], "counts": [40, 40]}},
            {"id": 3, "image_id": 4, "category_id": 1,
             "segmentation": encode_mask(np.eye(6, dtype=bool))},
        ],
    }  # fmt: skip


def _write(tmp_path: Path, document: object) -> Path:
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(document))
    return file


def _errors(tmp_path: Path, document: object) -> str:
    with pytest.raises(AnnotationError) as caught:
        read_coco(_write(tmp_path, document), None)
    return str(caught.value)


def test_instances_are_read_and_crowds_left_out(tmp_path: Path) -> None:
    records, categories = read_coco(_write(tmp_path, _document()), None)
    assert categories == Categories((1, 90), ("cat", "dog"))
    assert [(record.image_id, record.labels) for record in records] == [(3, (1,)), (4, (0,))]
    mask = decode_rle(records[0].segmentations[0])
    assert mask[1:4, 1:5].all()
    assert mask.sum() == 12


def test_images_are_looked_for_below_the_folder(tmp_path: Path) -> None:
    Image.new("RGB", (10, 8)).save(tmp_path / "a.jpg")
    file = _write(tmp_path, _document())
    with pytest.raises(AnnotationError, match=r"images\[1\] \(id 4\).*b\.jpg"):
        read_coco(file, tmp_path)
    Image.new("RGB", (6, 7)).save(tmp_path / "b.jpg")
    with pytest.raises(AnnotationError, match=r"height.*stored size 7 x 6, found 6 x 6"):
        read_coco(file, tmp_path)
    Image.new("RGB", (6, 6)).save(tmp_path / "b.jpg")
    records, _ = read_coco(file, tmp_path)
    assert records[0].path == str(tmp_path / "a.jpg")
    assert read_coco(file, tmp_path / "elsewhere", check_images=False)[0]


def test_every_defect_is_told_at_once(tmp_path: Path) -> None:
    document = _document()
    document["images"][1]["height"] = 0
    document["annotations"][0]["category_id"] = 5
    document["annotations"][1]["bbox"] = [1, 2, 3]
    document["annotations"][2]["image_id"] = 99
    message = _errors(tmp_path, document)
    assert message.startswith(f"{tmp_path / 'instances.json'}: 4 errors")
    for words in ('(id 4) "height"', '"category_id"', '(id 2) "bbox"', '(id 3) "image_id"'):
        assert words in message


def test_the_message_shows_twenty_and_counts_the_rest(tmp_path: Path) -> None:
    document = _document()
    fields = [chr(ord("a") + place // 26) + chr(ord("a") + place % 26) for place in range(50)]
    for name in fields:
        document["images"][0][name] = float("nan")
    message = _errors(tmp_path, document)
    assert "50 errors" in message
    assert message.endswith("... and 30 more")


def test_many_defects_of_a_kind_are_one_line_with_a_count(tmp_path: Path) -> None:
    document = _document()
    document["annotations"] = [
        {**document["annotations"][0], "id": place, "segmentation": "no"} for place in range(50)
    ]
    message = _errors(tmp_path, document)
    assert "49 more like it: annotations[1] (id 1)" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "/etc/a.jpg", "http://x/a.jpg", "a\x00.jpg", "a\n.jpg", "", "a" * 300, "C:\\a.jpg",
     "\ud800.jpg", 7, "..", "x/../../a.jpg"],
)  # fmt: skip
def test_a_file_name_that_leaves_the_folder_is_refused(name: object, tmp_path: Path) -> None:
    document = _document()
    document["images"][0]["file_name"] = name
    assert '(id 3) "file_name"' in _errors(tmp_path, document)


@pytest.mark.parametrize("name", ["a.jpg", "a b/c (1).jpg", "ä/ß.png", "..a/b..jpg", "-x.jpg"])
def test_a_plain_file_name_passes(name: str, tmp_path: Path) -> None:
    document = _document()
    document["images"][0]["file_name"] = name
    assert read_coco(_write(tmp_path, document), None)[0][0].path == name


def test_an_annotation_without_a_pixel_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = _document()
    document["annotations"][0]["segmentation"] = [[50, 50, 60, 50, 60, 60]]
    records, _ = read_coco(_write(tmp_path, document), None)
    assert records[0].labels == ()
    assert "(id 1)" in caplog.text


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    records, categories = read_coco(_write(tmp_path, _document()), None)
    write_coco(tmp_path / "again.json", records, categories)
    assert read_coco(tmp_path / "again.json", None) == (records, categories)


def test_no_images_are_no_records(tmp_path: Path) -> None:
    document = {"images": [], "categories": [{"id": 1, "name": "cat"}], "annotations": []}
    assert read_coco(_write(tmp_path, document), None)[0] == []


@pytest.mark.data
def test_the_mini_sets_are_read_without_a_word(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = data_dir / "coco_mini"
    for file in sorted((folder / "annotations").glob("*.json")):
        records, categories = read_coco(file, folder / "images")
        assert records
        assert len(categories) == 80
    assert caplog.text == ""
