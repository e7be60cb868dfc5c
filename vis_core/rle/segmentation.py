"""Masks as run-length encodings: the only module that calls ``pycocotools.mask``.

pycocotools crashes, hangs or returns uninitialised memory on malformed input, so every size, run
and coordinate is checked in numpy first. RLEs here are in COCO's compressed form with ``counts`` as
text: ``{"size": [H, W], "counts": "..."}``.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from pycocotools import mask as coco_mask

from vis_core.errors import AnnotationError, shown
from vis_core.rle.decode import MAX_PIXELS, RunLengths, counts_fault, runs_of_strings, string_fault
from vis_core.rle.encode import strings_of_masks

Rle = dict[str, Any]

_REACH = 10  # polygons may extend beyond the image by this many times its long side
_SMALLEST_REACH = 10_000  # pixels
_AT_ONCE = 4096  # masks read at once, to limit memory
_LONGEST_OUTLINE = 1_000_000  # pixels; pycocotools takes about 80 bytes for each


def encode_mask(mask: np.ndarray) -> Rle:
    """Encodes a bool mask (H, W)."""
    return encode_masks(mask[None])[0]


def encode_masks(masks: np.ndarray) -> list[Rle]:
    """Encodes bool masks (N, H, W)."""
    if masks.ndim != 3 or masks.dtype != bool:
        raise ValueError(f"masks must be (N, H, W) of bool, but got {masks.shape} of {masks.dtype}")
    if masks.size == 0 and len(masks):
        raise ValueError(f"masks must have pixels, but got {masks.shape}")
    size = masks.shape[1:]
    return [{"size": list(size), "counts": counts} for counts in strings_of_masks(masks)]


def decode_rle(rle: Rle) -> np.ndarray:
    """Decodes an RLE to a bool mask (H, W), like ``decode_rles``."""
    return decode_rles([rle], *_size_of(rle, "rle"))[0]


def decode_rles(rles: Sequence[Rle | None], height: int, width: int) -> np.ndarray:
    """Decodes RLEs of one size to bool masks (N, H, W), with an empty mask for None.

    Raises AnnotationError if an RLE is faulty or has a different size.
    """
    present = [row for row, rle in enumerate(rles) if rle is not None]
    given = [rle for rle in rles if rle is not None]
    for rle in given:
        if (fault := size_fault(rle, height, width)) is not None:
            _refuse("rle", fault)
    runs = _runs_of(given, height, width)
    masks = np.zeros((len(rles), height, width), dtype=bool)  # only after the size check
    runs.paint(masks[row] for row in present)
    return masks


def rle_areas(rles: Sequence[Rle]) -> np.ndarray:
    """(N,) int64 foreground pixels of RLEs, which may differ in size."""
    areas = np.zeros(len(rles), np.int64)
    rows_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, rle in enumerate(rles):
        rows_of[_size_of(rle, "rle")].append(row)
    for (height, width), rows in rows_of.items():
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            areas[some] = _runs_of([rles[row] for row in some], height, width).areas()
    return areas


def rle_boxes_xywh(rles: Sequence[Rle]) -> np.ndarray:
    """(N, 4) int64 smallest box (x, y, width, height) around each RLE of one size, in pixels."""
    if not rles:
        return np.zeros((0, 4), np.int64)
    size = _size_of(rles[0], "rle")
    return _runs_of(rles, *size).boxes_xywh(size)


def areas_and_boxes(
    rles: Sequence[Rle | None],
) -> tuple[list[int | None], list[list[float] | None]]:
    """Computes areas and xywh boxes of RLEs of one size, as written to results files."""
    present = [rle for rle in rles if rle is not None]
    areas = iter(rle_areas(present).tolist())
    boxes = iter(rle_boxes_xywh(present).astype(float).tolist())
    return (
        [None if rle is None else next(areas) for rle in rles],
        [None if rle is None else next(boxes) for rle in rles],
    )


def rasterised(polygons: Sequence[Sequence[float]], height: int, width: int) -> Rle:
    """Rasterises polygons that passed ``polygons_fault``, as COCO does."""
    parts = coco_mask.frPyObjects(list(polygons), height, width)
    return _as_text(coco_mask.merge(parts) if len(parts) > 1 else parts[0])


def segmentation_to_rle(segmentation: object, height: int, width: int, where: str) -> Rle:
    """Converts a segmentation from a file (polygons or either RLE form) to a compressed RLE.

    Args:
        where: Place in the file, for the message.

    Raises:
        AnnotationError: The segmentation is faulty or has a different size.
    """
    if (fault := segmentation_fault(segmentation, height, width)) is not None:
        _refuse(where, fault)
    return checked_to_rle(segmentation, height, width)


def checked_to_rle(segmentation: Any, height: int, width: int) -> Rle:
    """Converts a segmentation that passed ``segmentation_fault`` to a compressed RLE."""
    if isinstance(segmentation, list):
        return rasterised(segmentation, height, width)
    counts = segmentation["counts"]
    if isinstance(counts, list):
        runs = {"size": [height, width], "counts": counts}
        return _as_text(coco_mask.frPyObjects(runs, height, width))
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [height, width], "counts": text}


def counts_of_runs(starts: np.ndarray, stops: np.ndarray, size: tuple[int, int]) -> str:
    """Writes the foreground runs of one (H, W) mask as compressed counts.

    ``starts`` (R,) are the ascending positions of the runs' first pixels, down the columns; R >= 1.
    ``stops`` (R,) are their ends (exclusive), each before the next start.
    """
    pixels = size[0] * size[1]
    places = np.concatenate([[0], np.stack([starts, stops], axis=1).ravel(), [pixels]])
    runs = {"size": list(size), "counts": np.diff(places).tolist()}
    return coco_mask.frPyObjects(runs, *size)["counts"].decode("ascii")


def segmentation_fault(segmentation: object, height: int, width: int) -> str | None:
    """Describes the fault in a segmentation; None if it is sound."""
    if isinstance(segmentation, list):
        return polygons_fault(segmentation, height, width)
    if isinstance(segmentation, dict):
        return rle_fault(segmentation, height, width)
    return f"{shown(segmentation, 40)} instead of polygons or an RLE"


def rle_fault(rle: dict[str, Any], height: int, width: int) -> str | None:
    """Describes the fault in an RLE for an image of the given size; None if it is sound."""
    if (fault := size_fault(rle, height, width)) is not None:
        return fault
    counts = rle.get("counts")
    if isinstance(counts, list):
        return counts_fault(counts, height * width)
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    return string_fault(counts, height * width)


def size_fault(rle: dict[str, Any], height: int, width: int) -> str | None:
    """Describes the fault in an RLE's size; None if it is sound."""
    size = rle.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2:
        return f"size {shown(size, 40)} instead of [height, width]"
    if any(type(side) is not int or side < 1 for side in size):
        return f"size {shown(list(size), 40)}, which is not two integers of 1 or more"
    if size[0] * size[1] > MAX_PIXELS:
        return f"size {shown(list(size), 60)}, which is over {MAX_PIXELS} pixels"
    if list(size) != [height, width]:
        swapped = ", which is [width, height]" if list(size) == [width, height] else ""
        return f"size {list(size)}{swapped} where the image has [{height}, {width}]"
    return None


def polygons_fault(polygons: list[Any], height: int, width: int) -> str | None:
    """Describes the fault in polygons; None if they are sound."""
    if not polygons:
        return "an empty list of polygons"
    reach = max(_SMALLEST_REACH, _REACH * max(height, width))
    for index, polygon in enumerate(polygons):
        if (fault := _polygon_fault(polygon, reach)) is not None:
            return f"polygon {index} with {fault}"
    return None


def _polygon_fault(polygon: object, reach: int) -> str | None:
    if not isinstance(polygon, list | tuple):
        return f"{shown(polygon, 40)} instead of numbers x1, y1, x2, y2, ..."
    strange = set(map(type, polygon)) - {int, float}
    if strange:
        return f"a coordinate of type {min(kind.__name__ for kind in strange)}"
    if len(polygon) < 6 or len(polygon) % 2:
        return f"{len(polygon)} numbers, where an even count of 6 or more is needed"
    low, high = min(polygon), max(polygon)
    if not -reach <= low <= high <= reach or _has_nan(polygon):
        return f"a coordinate that is not finite or beyond {reach} pixels"
    if len(polygon) * (high - low) > _LONGEST_OUTLINE:  # otherwise the outline cannot be that long
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        outline = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
        if outline > _LONGEST_OUTLINE:
            return f"an outline of {outline:.0f} pixels, more than {_LONGEST_OUTLINE}"
    return None


def _has_nan(values: Sequence[float]) -> bool:
    try:
        return math.isnan(sum(values))
    except OverflowError:  # a NaN hid an integer too large for a float from min and max
        return True


def _runs_of(rles: Sequence[Rle], height: int, width: int) -> RunLengths:
    """Reads the runs of RLEs of one size; checks them one by one only if any is faulty."""
    runs = None
    if all(type(rle.get("counts")) is str for rle in rles):
        runs = runs_of_strings([rle["counts"] for rle in rles], height * width)
    if runs is None:
        sound = [segmentation_to_rle(rle, height, width, "rle")["counts"] for rle in rles]
        runs = runs_of_strings(sound, height * width)
    assert runs is not None, "checked RLEs cannot be faulty"
    return runs


def _size_of(rle: Rle, where: str) -> tuple[int, int]:
    size = rle.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2 or {*map(type, size)} != {int}:
        _refuse(where, f"size {shown(size, 40)}")
    height, width = size
    return height, width


def _as_text(rle: Rle) -> Rle:
    height, width = rle["size"]
    return {"size": [int(height), int(width)], "counts": rle["counts"].decode("ascii")}


def _refuse(where: str, fault: str) -> NoReturn:
    raise AnnotationError(
        f"{where}: expected a segmentation of the image, found {fault}; correct or remove it"
    )
