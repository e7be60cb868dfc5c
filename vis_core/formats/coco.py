"""Reading, checking and writing COCO instance annotations.

The reader collects all defects before it raises. Crowd regions are checked and dropped, since they
are not instances; annotations without a pixel inside the image are dropped with a warning.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from pathlib import Path
from typing import Any

from vis_core.errors import Found
from vis_core.files import write_json
from vis_core.formats.categories import Categories
from vis_core.formats.defects import Defects
from vis_core.formats.field_checks import (
    COCO_VID,
    ListedImage,
    check_area,
    check_box,
    check_crowd,
    check_file_name,
    check_header,
    check_reference,
    check_size,
    entries_of,
    ids_of,
    stated_size,
    table_of,
)
from vis_core.formats.strict_json import parse_json, report_constants
from vis_core.media.images import image_headers
from vis_core.rle.segmentation import Rle, checked_to_rle, rle_areas, segmentation_fault

IGNORED = -1  # label of an instance that is neither learned nor background


@dataclass(frozen=True)
class ImageRecord:
    """One image, its stored size and its N instances, without crowd regions."""

    image_id: int
    path: str
    height: int
    width: int
    labels: tuple[int, ...]  # N class indices, or IGNORED
    segmentations: tuple[Rle, ...]  # N, compressed: {"size": [H, W], "counts": str}


@dataclass
class CheckedImage:
    """An ``images`` entry with the contents of its annotations."""

    entry: dict[str, Any]
    category_ids: list[int] = field(default_factory=list)
    segmentations: list[Rle] = field(default_factory=list)
    crowds: int = 0
    annotation_ids: list[int] = field(default_factory=list)  # including those of crowd regions


def read_coco(
    path: Path, image_folder: Path | None, *, check_images: bool = True
) -> tuple[list[ImageRecord], Categories]:
    """Reads a COCO instance file; returns one record per image, in file order, and the classes.

    Without an ``image_folder``, the paths stay as they are in the file. With ``check_images``,
    every image must exist in the folder with its declared size; only headers are read. Raises
    AnnotationError if the file has defects; the message lists them.
    """
    defects = Defects(path)
    images, categories = check_coco(path, image_folder if check_images else None, defects)
    defects.finish()
    return [_record_of(image, image_folder, categories) for image in images], categories


def check_coco(
    path: Path, image_folder: Path | None, defects: Defects, *, whole: bool = False
) -> tuple[list[CheckedImage], Categories]:
    """Reads a COCO file and adds its defects to ``defects``; checks images if a folder is given.

    Images are read ``whole``, or only their headers.
    """
    document = parse_json(path)
    root = document.root
    if isinstance(root, dict) and "videos" in root and "images" not in root:
        mend = "read it as YouTube-VIS, or give an image annotation file"
        found = Found('"videos" (YouTube-VIS)')
        defects.error("the document", expected='"images"', found=found, mend=mend)
        return [], Categories((), ())
    if isinstance(root, dict) and "videos" in root:
        mend = "each frame is read as a still image; for tracks give a YouTube-VIS file"
        defects.warn("the document", expected="COCO", found=COCO_VID, mend=mend)
    listed = [
        (where, entry)
        for where, entry in entries_of(root, "images", defects)
        if _check_entry(where, entry, defects)
    ]
    if image_folder is not None:
        images = [_listed_image(where, entry, image_folder) for where, entry in listed]
        headers = image_headers([image.path for image in images], whole=whole)
        pairs = zip(images, headers, strict=True)
        listed = list(compress(listed, [check_header(*pair, defects) for pair in pairs]))
    checked_images = {entry["id"]: CheckedImage(entry) for _, entry in listed}
    if not isinstance(root, dict):
        return [], Categories((), ())
    known_images = ids_of(root, "images")
    categories = Categories.from_json(table_of(root, "categories", defects), defects)
    known_categories = ids_of(root, "categories")
    checked: list[tuple[str, dict[str, Any]]] = []
    annotations = entries_of(root, "annotations", defects)
    for where, entry in annotations:
        good = _check_fields(where, entry, known_images, known_categories, defects)
        image = checked_images.get(entry["image_id"]) if good else None
        if _check_segmentation(where, entry, image, defects) and image is not None:
            checked.append((where, entry))
    if not annotations and not defects.error_count:
        mend = "the file cannot be used for training"
        defects.warn('"annotations"', expected="annotations", mend=mend)
    _attach(checked, checked_images, defects)
    report_constants(document, defects)
    return list(checked_images.values()), categories


def write_coco(path: Path, records: Sequence[ImageRecord], categories: Categories) -> None:
    """Writes a COCO instance file atomically; paths are written unchanged."""
    rles = list(chain.from_iterable(record.segmentations for record in records))
    areas = iter(rle_areas(rles).tolist())
    annotations: list[dict[str, Any]] = []
    for record in records:
        for label, rle in zip(record.labels, record.segmentations, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": categories.id_of_index(label),
                    "iscrowd": 0,
                    "area": next(areas),
                    "segmentation": rle,
                }
            )
    images = [
        {
            "id": record.image_id,
            "file_name": record.path,
            "height": record.height,
            "width": record.width,
        }
        for record in records
    ]
    tables = {"images": images, "categories": categories.to_json(), "annotations": annotations}
    write_json(path, tables)


def _record_of(
    image: CheckedImage, image_folder: Path | None, categories: Categories
) -> ImageRecord:
    """Builds an image's record."""
    name = image.entry["file_name"]
    return ImageRecord(
        image_id=image.entry["id"],
        path=str(image_folder / name) if image_folder else name,
        height=image.entry["height"],
        width=image.entry["width"],
        labels=tuple(map(categories.index_of_id, image.category_ids)),
        segmentations=tuple(image.segmentations),
    )


def _check_fields(
    where: str, entry: dict[str, Any], images: set[Any], categories: set[Any], defects: Defects
) -> bool:
    good = check_crowd(where, entry, defects)
    good &= check_reference(where, entry, "image_id", images, "images", defects)
    good &= check_reference(where, entry, "category_id", categories, "categories", defects)
    if "bbox" in entry:
        good &= check_box(f'{where} "bbox"', entry["bbox"], defects)
    if "area" in entry:
        good &= check_area(f'{where} "area"', entry["area"], defects)
    return good


def _check_entry(where: str, entry: dict[str, Any], defects: Defects) -> bool:
    good = check_file_name(f'{where} "file_name"', entry.get("file_name"), defects)
    return check_size(where, entry, defects) and good


def _listed_image(where: str, entry: dict[str, Any], folder: Path) -> ListedImage:
    size = entry["height"], entry["width"]
    return ListedImage(where, '"file_name"', folder / entry["file_name"], *size)


def _check_segmentation(
    where: str, entry: dict[str, Any], image: CheckedImage | None, defects: Defects
) -> bool:
    """Checks a segmentation; if its image is unknown, checks only what needs no image size."""
    segmentation = entry.get("segmentation")
    height, width = stated_size(segmentation)
    if image is not None:
        height, width = image.entry["height"], image.entry["width"]
    fault = segmentation_fault(segmentation, height, width)
    if fault is None:
        return True
    mend = "correct the mask or remove the annotation"
    expected = "polygons or an RLE of the image's size"
    place = f'{where} "segmentation"'
    return defects.error(place, expected=expected, found=Found(fault), mend=mend)


def _attach(
    checked: list[tuple[str, dict[str, Any]]], images: dict[int, CheckedImage], defects: Defects
) -> None:
    """Converts checked segmentations to RLEs and adds them to their images."""
    rles: list[Rle] = []
    for _, entry in checked:
        size = images[entry["image_id"]].entry
        rles.append(checked_to_rle(entry["segmentation"], size["height"], size["width"]))
    for (where, entry), rle, area in zip(checked, rles, rle_areas(rles).tolist(), strict=True):
        if area == 0:
            place, expected = f'{where} "segmentation"', "a pixel inside the image"
            defects.warn(place, expected=expected, mend="the annotation is dropped")
            continue
        image = images[entry["image_id"]]
        image.annotation_ids.append(entry["id"])
        if entry.get("iscrowd", 0):
            image.crowds += 1
        else:
            image.category_ids.append(entry["category_id"])
            image.segmentations.append(rle)
