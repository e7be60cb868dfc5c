"""Reading and checking COCO results for still images, and their ground truth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vis_core.errors import Found
from vis_core.formats.categories import Categories
from vis_core.formats.coco import check_coco
from vis_core.formats.defects import Defects, warn_unscored
from vis_core.formats.field_checks import check_box, check_reference, objects_of
from vis_core.formats.result_checks import check_score
from vis_core.formats.strict_json import parse_json, report_constants
from vis_core.rle.segmentation import areas_and_boxes, checked_to_rle, segmentation_fault

Images = Mapping[int, dict[str, Any]]


def read_coco_truth(path: Path) -> tuple[Images, Categories, list[dict[str, Any]]]:
    """Reads a COCO instance file for evaluation, including crowd regions.

    Returns the image entries by id, the classes and the completed annotations. Raises
    AnnotationError if the file has defects; the message lists them.
    """
    defects = Defects(path)
    checked, categories = check_coco(path, None, defects)
    total = sum(len(image.annotation_ids) for image in checked)
    # coco_scores.py numbers the annotations anew, so an id 0 does not matter
    warn_unscored(range(1, total + 1), sum(image.crowds for image in checked), defects)
    defects.finish()
    images = {image.entry["id"]: image.entry for image in checked}
    annotations = parse_json(path).root["annotations"]
    complete = [with_area_and_box(entry, images[entry["image_id"]]) for entry in annotations]
    return images, categories, complete


def check_coco_results(path: Path, images: Images, categories: Categories) -> list[dict[str, Any]]:
    """Reads a COCO results file, ``[{image_id, category_id, score, segmentation, bbox}, ...]``.

    ``bbox`` is optional. Returns the completed entries; each area is computed from the mask. Raises
    AnnotationError if the file has defects; the message lists them.
    """
    document, defects = parse_json(path), Defects(path)
    if not isinstance(document.root, list):
        mend = "give a results file: [{image_id, category_id, score, segmentation}, ...]"
        defects.error("the document", expected="a list of results", found=document.root, mend=mend)
        defects.finish()
    checked = []
    for where, entry in objects_of(document.root, defects):
        if _check_result(where, entry, images, categories, defects):
            fields = {key: value for key, value in entry.items() if key not in ("area", "iscrowd")}
            checked.append(with_area_and_box(fields, images[entry["image_id"]]))
    report_constants(document, defects)
    defects.finish()
    return checked


def with_area_and_box(entry: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """Converts the mask of a checked entry to RLE and derives a missing area or box from it."""
    rle = checked_to_rle(entry["segmentation"], image["height"], image["width"])
    (area,), (box,) = areas_and_boxes([rle])
    return {"iscrowd": 0, "area": area, "bbox": box, **entry, "segmentation": rle}


def _check_result(
    where: str, entry: dict[str, Any], images: Images, categories: Categories, defects: Defects
) -> bool:
    good = check_reference(where, entry, "image_id", images, "images", defects)
    good &= check_reference(where, entry, "category_id", categories.ids, "categories", defects)
    good &= check_score(where, entry, defects)
    if "bbox" in entry:
        good &= check_box(f'{where} "bbox"', entry["bbox"], defects)
    if not good:
        return False
    image = images[entry["image_id"]]
    fault = segmentation_fault(entry.get("segmentation"), image["height"], image["width"])
    if fault is None:
        return True
    place, mend = f'{where} "segmentation"', "write the RLE of the mask at the size of its image"
    return defects.error(place, expected="a mask", found=Found(fault), mend=mend)
