"""``longtake convert``: classes by a public map or by the user's own, and omitted instances."""

import json
from pathlib import Path

import pytest

from jobs.cli import main
from vis_core.formats.class_maps import CLASS_LISTS
from vis_core.formats.coco import read_coco
from vis_core.formats.youtube_vis import (
    TrackRecord,
    VideoRecord,
    read_youtube_vis,
    write_youtube_vis,
)
from vis_core.rle.segmentation import encode_masks

SQUARE = [[2, 2, 9, 2, 9, 9, 2, 9]]


def coco_file(folder: Path) -> Path:
    coco = CLASS_LISTS["coco"]
    names = ["person", "motorcycle", "bench"]
    document = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 16, "width": 16}],
        "categories": coco.to_json(),
        "annotations": [
            {
                "id": row + 1,
                "image_id": 7,
                "category_id": coco.ids[coco.names.index(name)],
                "segmentation": SQUARE,
                "area": 49,
                "bbox": [2, 2, 7, 7],
                "iscrowd": 0,
            }
            for row, name in enumerate(names)
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return path


def command(source: Path, out: Path) -> list[str]:
    return ["convert", "--from", str(source), "--out", str(out), "--class-map"]


def test_coco_becomes_youtube_vis_by_the_public_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "ytvis.json"
    source = coco_file(tmp_path)
    assert (
        main(["convert", "--from", str(source), "--out", str(out), "--class-map", "ytvis_2019"])
        == 0
    )
    records, categories = read_coco(out, None)
    assert categories == CLASS_LISTS["ytvis_2019"]
    assert [categories.names[label] for label in records[0].labels] == ["person", "motorbike"]
    assert "left out: bench (1)" in capsys.readouterr().out


def test_tracks_go_by_a_map_of_the_users_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, 2:5, 3:6] = True
    (rle,) = encode_masks(masks)
    video = VideoRecord(
        3, 8, 8, ("v/0.jpg", "v/1.jpg"),
        tuple(TrackRecord(i + 1, i, (rle, None), False, ()) for i in range(3)),
    )  # fmt: skip
    source = tmp_path / "gt.json"
    write_youtube_vis(source, [video], CLASS_LISTS["ovis"])
    first, second, third = CLASS_LISTS["ovis"].names[:3]
    (tmp_path / "map.yaml").write_text(
        f"target: [thing, other]\nclasses:\n  {first}: other\n  {second}: thing\n  {third}: null\n"
    )
    out = tmp_path / "mine.json"
    assert main([*command(source, out), str(tmp_path / "map.yaml")]) == 0
    videos, categories = read_youtube_vis(out)
    assert [categories.names[track.label] for track in videos[0].tracks] == ["other", "thing"]
    assert f"left out: {third} (1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("class_map", "word"),
    [
        ("ytvis", "expected one of ytvis_2019"),
        ("absent.yaml", "absent.yaml: no such file"),
        ("strict.yaml", "unmapped: drop"),
        ("wrong.yaml", "a class of the target list"),
    ],
)
def test_a_wrong_map_is_refused_and_nothing_is_written(
    class_map: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "strict.yaml").write_text(
        "target: [man]\nunmapped: refuse\nclasses: {person: man}\n"
    )
    (tmp_path / "wrong.yaml").write_text("target: [man]\nclasses: {person: woman}\n")
    value = str(tmp_path / class_map) if class_map.endswith("yaml") else class_map
    out = tmp_path / "out.json"
    source = coco_file(tmp_path)
    assert main([*command(source, out), value]) == 2
    assert word in capsys.readouterr().err
    assert not out.exists()


def test_the_source_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = coco_file(tmp_path)
    command = ["convert", "--from", str(source), "--out", str(source), "--class-map", "ovis"]
    assert main(command) == 2
    assert "name another one" in capsys.readouterr().err
