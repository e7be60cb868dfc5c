"""Scores of still images: pycocotools' own numbers, after checks; detections of every system."""

import io
import json
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.results.coco_scores import SCORES, detect_images, score_coco
from tests.helpers.presets import tiny_config
from vis_core.errors import AnnotationError
from vis_core.formats.categories import Categories
from vis_core.formats.coco import read_coco
from vis_core.models.systems.build import build_system, save_system
from vis_core.rle.segmentation import areas_and_boxes, decode_rle, encode_mask

SYSTEMS = {name: tiny_config(name) for name in ("minvis", "ctvis", "idol", "stc")}


@pytest.fixture(scope="module")
def truth_path(data_dir: Path) -> Path:
    return data_dir / "coco_mini" / "annotations" / "instances_val.json"


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def copies_of_truth(truth: Path) -> list[dict[str, Any]]:
    """Returns every instance as a result with a distinct score."""
    records, categories = read_coco(truth, None, check_images=False)
    entries = []
    for record in records:
        for label, rle in zip(record.labels, record.segmentations, strict=True):
            entry = {"image_id": record.image_id, "category_id": categories.ids[label]}
            entries.append({**entry, "score": 1 - len(entries) / 1e4, "segmentation": rle})
    return entries


def disturbed(entries: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Returns results with masks moved, instances dropped and classes changed."""
    rng = np.random.default_rng(seed)
    classes = sorted({entry["category_id"] for entry in entries})
    found = []
    for entry in entries:
        if rng.random() < 0.2:
            continue
        mask = np.roll(decode_rle(entry["segmentation"]), rng.integers(-9, 9, 2), axis=(0, 1))
        rle = encode_mask(mask)
        _, (box,) = areas_and_boxes([rle])
        other = rng.random() < 0.1
        changed = {"segmentation": rle, "bbox": box, "score": rng.random()}
        found.append(
            entry | changed | ({"category_id": rng.choice(classes).item()} if other else {})
        )
    return found


def pycocotools_scores(truth: Path, entries: list[dict[str, Any]]) -> dict[str, float]:
    """Computes the scores with pycocotools from files; masks are sized by their own pixels."""
    scores = {}
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        for kind in ("segm", "bbox"):
            left_out = "bbox" if kind == "segm" else "segmentation"
            kept = [{k: v for k, v in entry.items() if k != left_out} for entry in entries]
            evaluator = COCOeval(coco, coco.loadRes(kept), kind)
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
            values = evaluator.stats.tolist()
            scores |= {f"{kind}_{name}": value for name, value in zip(SCORES, values, strict=False)}
    return scores


def test_perfect_results_have_an_ap_of_1(
    truth_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = json.loads(truth_path.read_text())["annotations"]
    entries = [{**entry, "score": 0.5} for entry in annotations if not entry["iscrowd"]]
    scores = score_coco(truth_path, write(tmp_path / "r.json", entries))
    assert all(scores[f"{kind}_AP"] == pytest.approx(1) for kind in ("segm", "bbox"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", range(2))
def test_scores_are_those_of_pycocotools(seed: int, truth_path: Path, tmp_path: Path) -> None:
    entries = disturbed(copies_of_truth(truth_path), seed)
    scores = score_coco(truth_path, write(tmp_path / "r.json", entries))
    assert scores == pycocotools_scores(truth_path, entries)
    assert 0.1 < scores["segm_AP"] < 0.9 and 0.1 < scores["bbox_AP"] < 0.9


def test_no_results_score_0(truth_path: Path, tmp_path: Path) -> None:
    assert score_coco(truth_path, write(tmp_path / "r.json", []))["segm_AP"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 1}, 'results[1] "image_id": expected an id of "images", found 1'),
        ({"category_id": 12}, 'results[1] "category_id": expected an id of "categories"'),
        ({"category_id": [1]}, 'results[1] "category_id"'),
        ({"score": None}, 'results[1] "score": expected a finite number'),
        ({"score": float("nan")}, 'results[1] "score"'),
        ({"bbox": [0, 0, -1, 2]}, 'results[1] "bbox"'),
        ({"segmentation": None}, 'results[1] "segmentation": expected a mask'),
        ({"segmentation": {"size": [3, 3], "counts": "9"}}, 'results[1] "segmentation"'),
        ({"segmentation": {"size": [480, 640], "counts": "~~~~"}}, 'results[1] "segmentation"'),
    ],
)
def test_faulty_results_are_refused(
    change: dict[str, Any], message: str, truth_path: Path, tmp_path: Path
) -> None:
    entries = copies_of_truth(truth_path)[:3]
    entries[1] |= change
    with pytest.raises(AnnotationError) as caught:
        score_coco(truth_path, write(tmp_path / "r.json", entries))
    assert message in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_file_that_lists_no_results_is_refused(truth_path: Path) -> None:
    with pytest.raises(AnnotationError, match="expected a list of results"):
        score_coco(truth_path, truth_path)


@pytest.fixture(scope="module")
def three_images(truth_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = json.loads(truth_path.read_text())
    root["images"] = root["images"][:3]
    kept = {image["id"] for image in root["images"]}
    root["annotations"] = [entry for entry in root["annotations"] if entry["image_id"] in kept]
    return write(tmp_path_factory.mktemp("three") / "truth.json", root)


def six_coco_classes(truth: Path) -> Categories:
    """Returns five classes of the truth, in another order, and one that it lacks."""
    _, categories = read_coco(truth, None, check_images=False)
    return Categories(tuple(range(1, 7)), (*reversed(categories.names[:5]), "unicorn"))


def test_the_tiny_model_detects_and_is_scored(
    three_images: Path, data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, out = tmp_path / "model", tmp_path / "out" / "results.json"
    shutil.copytree(TINY_WEIGHTS, model)
    (model / "categories.json").write_text(json.dumps(six_coco_classes(three_images).to_json()))
    images = data_dir / "coco_mini" / "images"
    count = detect_images(model, three_images, images, out)
    records, truth = read_coco(three_images, None)
    used = {truth.names[label] for record in records for label in record.labels}
    missed = used - set(six_coco_classes(three_images).names)
    found = re.findall(r"the model lacks the class (.+); it counts as missed", caplog.text)
    assert sorted(found) == sorted(missed) and missed
    results = json.loads(out.read_text())
    assert len(results) == count > 0 and {entry["category_id"] for entry in results} <= {
        1,
        2,
        3,
        4,
        5,
    }
    assert [path.name for path in out.parent.iterdir()] == ["results.json"]
    assert -1 <= score_coco(three_images, out)["segm_AP"] <= 1
    with pytest.raises(AnnotationError, match="expected a class of the model, .*'ball'"):
        detect_images(TINY_WEIGHTS, three_images, images, out)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_detects(
    name: str, three_images: Path, data_dir: Path, tmp_path: Path
) -> None:
    classes = six_coco_classes(three_images)
    torch.manual_seed(0)
    config: Any = SYSTEMS[name]
    if name == "stc":
        decoding = config.segmentor.decoding.model_copy(update={"score_threshold": 1e-4})
        segmentor = config.segmentor.model_copy(update={"decoding": decoding})
        config = config.model_copy(update={"segmentor": segmentor})
    save_system(tmp_path / "model", build_system(config, len(classes)), classes)
    out = tmp_path / "results.json"
    images = data_dir / "coco_mini" / "images"
    count = detect_images(tmp_path / "model", three_images, images, out, short_side=64)
    results = json.loads(out.read_text())
    per_image = [sum(e["image_id"] == image for e in results) for image in _ids(three_images)]
    assert sum(per_image) == count and all(0 < number <= 100 for number in per_image)
    assert sum(per_image) > 60, "no threshold of annotating videos applies"
    assert all(0 < entry["score"] <= 1 for entry in results)
    score_coco(three_images, out)


def _ids(truth: Path) -> list[int]:
    return [image["id"] for image in json.loads(truth.read_text())["images"]]
