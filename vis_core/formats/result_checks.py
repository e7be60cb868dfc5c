"""Checks for YouTube-VIS results: each entry's video, class, score and masks."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vis_core.formats.categories import Categories
from vis_core.formats.defects import Defects
from vis_core.formats.field_checks import check_reference, is_id, is_number, objects_of, stated_size
from vis_core.formats.strict_json import parse_json, report_constants
from vis_core.formats.video_checks import VideoEntry, frame_segmentations, warn_empty
from vis_core.rle.segmentation import size_fault


def check_results(
    path: Path, videos: Mapping[int, VideoEntry], categories: Categories, defects: Defects
) -> list[dict[str, Any]]:
    """Reads a results file and adds its defects to ``defects``."""
    document = parse_json(path)
    root = document.root
    if not isinstance(root, list):
        mend = "give a results file: [{video_id, score, category_id, segmentations}, ...]"
        defects.error("the document", expected="a list of results", found=root, mend=mend)
        return []
    entries = list(check_entries(root, videos, categories, defects))
    if not root:
        defects.warn("the document", expected="results", mend="AP will be 0")
    report_constants(document, defects)
    return entries


def check_entries(
    root: Iterable[Any],
    videos: Mapping[int, VideoEntry],
    categories: Categories,
    defects: Defects,
    *,
    runs_read_later: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yields the valid entries and adds the defects of the others to ``defects``.

    ``runs_read_later`` leaves reading the mask runs to the caller; see ``video_checks.py``.
    """
    category_ids = set(categories.ids)
    for where, entry in objects_of(root, defects):
        good = check_result(where, entry, videos, category_ids, defects)
        video = videos.get(entry["video_id"]) if good else None
        rles = frame_segmentations(where, entry, video, defects, runs_read_later=runs_read_later)
        if rles is None:
            continue
        if not any(rles):
            warn_empty(where, defects, mend="the track counts as a false positive")
        fields = {key: entry[key] for key in ("video_id", "score", "category_id")}
        yield {**fields, "segmentations": rles}


def entries_alone(path: Path, defects: Defects) -> list[dict[str, Any]]:
    """Reads a results file without ground truth and checks that it is consistent.

    The masks of one video must agree in size and number of frames; ids must be integers.
    """
    document = parse_json(path)
    root = document.root if isinstance(document.root, list) else []
    videos: dict[int, VideoEntry] = {}
    for entry in root:
        masks: Any = entry.get("segmentations") if isinstance(entry, dict) else None
        video_id: Any = entry.get("video_id") if isinstance(masks, list) else None
        if is_id(video_id) and (video_id not in videos or not videos[video_id].height):
            height, width = first_size(masks) or (0, 0)
            videos[video_id] = VideoEntry(height, width, ("",) * len(masks))
    entries = [entry for entry in root if isinstance(entry, dict)]
    ids = sorted({entry["category_id"] for entry in entries if is_id(entry.get("category_id"))})
    return check_results(path, videos, Categories(tuple(ids), tuple(map(str, ids))), defects)


def first_size(masks: list[Any]) -> tuple[int, int] | None:
    """Returns the first valid RLE size among the masks, or None."""
    for mask in masks:
        height, width = stated_size(mask)
        if isinstance(mask, dict) and size_fault(mask, height, width) is None:
            return height, width
    return None


def check_result(
    where: str,
    entry: dict[str, Any],
    videos: Mapping[int, VideoEntry],
    category_ids: set[int],
    defects: Defects,
) -> bool:
    """Checks a result's video, class and score."""
    good = check_reference(where, entry, "video_id", videos, "videos", defects)
    good &= check_reference(where, entry, "category_id", category_ids, "categories", defects)
    return good & check_score(where, entry, defects)


def check_score(where: str, entry: dict[str, Any], defects: Defects) -> bool:
    """Checks a result's score."""
    score = entry.get("score")
    place, expected = f'{where} "score"', "a finite number in [0, 1]"
    if not is_number(score):
        return defects.error(place, expected=expected, found=score, mend="write the confidence")
    if not 0 <= float(score) <= 1:  # type: ignore[arg-type]
        mend = "it is used unchanged, since only the order counts"
        defects.warn(place, expected=expected, found=score, mend=mend)
    return True
