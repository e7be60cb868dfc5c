"""Detection of instances in still images, stored as COCO results, and their COCO scores."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipelines.progress import Progress
from vis_core.errors import AnnotationError, shown
from vis_core.files import whole_file
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord, read_coco
from vis_core.formats.coco_results import Images, check_coco_results, read_coco_truth
from vis_core.geometry.masks import Resize
from vis_core.media.images import read_image
from vis_core.models.segmentors.image_detections import detect_instances
from vis_core.models.systems.base import System
from vis_core.models.systems.build import load_system, read_categories

_log = logging.getLogger(__name__)
SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first six of COCOeval


def detect_images(
    model_folder: Path,
    ground_truth: Path,
    images: Path,
    out: Path,
    *,
    short_side: int | None = None,
    last_mask_resize: Resize = "bilinear",
) -> int:
    """Writes a model's detections in the images of a COCO file; returns their number.

    The output appears whole or not at all. The model's classes are matched by name; without a
    ``short_side`` in pixels, the model's own is used. IDOL's release has ``last_mask_resize``
    "nearest". Raises AnnotationError if an input is faulty or has none of the model's classes.
    """
    records, categories = read_coco(ground_truth, images)
    category_ids = _category_ids(read_categories(model_folder), categories, ground_truth)
    used = {label for record in records for label in record.labels}
    for label in used - set(map(categories.index_of_id, category_ids.values())):
        name = categories.names[label]
        _log.warning("%s: the model lacks the class %s; it counts as missed", ground_truth, name)
    system = load_system(model_folder, "cuda" if torch.cuda.is_available() else "cpu")
    changes = {} if short_side is None else {"test_short_side": short_side}
    system.config = system.detection_config().model_copy(update=changes)
    count = 0
    with (
        whole_file(out) as partial,
        partial.open("w", encoding="utf-8") as file,
        Progress(len(records), "images", "detect") as progress,
    ):
        for record in records:
            for entry in _detections(system, record, category_ids, last_mask_resize):
                file.write(("[" if count == 0 else ",\n") + json.dumps(entry))
                count += 1
            progress.update()
        file.write("]\n" if count else "[]\n")
    return count


def _category_ids(model: Categories, truth: Categories, path: Path) -> dict[int, int]:
    """Maps a model's class indices to the ids of the ground-truth classes with the same name."""
    ids_by_name = dict(zip(truth.names, truth.ids, strict=True))
    found = {i: ids_by_name[name] for i, name in enumerate(model.names) if name in ids_by_name}
    if not found:
        raise AnnotationError(
            f"{path}: expected a class of the model, {shown(list(model.names[:8]))}, found only "
            f"{shown(list(truth.names[:8]))}; give a file with the model's class names"
        )
    return found


def _detections(
    system: System, record: ImageRecord, category_ids: dict[int, int], last_mask_resize: Resize
) -> Iterator[dict[str, Any]]:
    """Yields the results for one image, best score first."""
    size, classes = (record.height, record.width), list(category_ids)
    with torch.inference_mode():
        (predictions,) = system.segment([read_image(Path(record.path))])
        class_scores = predictions.class_scores[:, classes]
        predictions = replace(predictions, class_scores=class_scores, class_logits=None)
        found = detect_instances(predictions, system.input_size(*size), size, last_mask_resize)
    boxes = torch.cat([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], dim=1)
    columns = found.labels.tolist(), boxes.tolist(), found.scores.tolist(), found.segmentations
    for label, box, score, rle in zip(*columns, strict=True):
        place = {"image_id": record.image_id, "category_id": category_ids[classes[label]]}
        yield {**place, "bbox": box, "score": score, "segmentation": rle}


def score_coco(ground_truth: Path, results: Path) -> dict[str, float]:
    """Computes COCO's average precision of masks and boxes.

    The size of a detection is the area of its mask for ``segm`` and of its box for ``bbox``. Crowd
    regions neither raise nor lower the score; a missing box is computed from the mask. Returns
    ``segm_AP``, ``segm_AP50``, ... and ``bbox_AP``, ... in [0, 1], or -1 without ground truth.
    Raises AnnotationError if a file is faulty; the message lists its defects.
    """
    images, categories, truth = read_coco_truth(ground_truth)
    found = check_coco_results(results, images, categories)
    scores: dict[str, float] = {}
    with redirect_stdout(io.StringIO()):
        for kind in ("segm", "bbox"):
            if kind == "bbox":
                found = [{**entry, "area": entry["bbox"][2] * entry["bbox"][3]} for entry in found]
            indexed = [_indexed(images, categories, entries) for entries in (truth, found)]
            evaluator = COCOeval(*indexed, kind)
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
            named = zip(SCORES, evaluator.stats, strict=False)
            scores |= {f"{kind}_{name}": float(value) for name, value in named}
    return scores


def _indexed(images: Images, categories: Categories, entries: list[dict[str, Any]]) -> COCO:
    """Builds a pycocotools index with ids from 1, since pycocotools treats an id 0 as no match."""
    coco = COCO()
    coco.dataset = {
        "images": list(images.values()),
        "categories": categories.to_json(),
        "annotations": [{**entry, "id": number} for number, entry in enumerate(entries, 1)],
    }
    coco.createIndex()
    return coco
