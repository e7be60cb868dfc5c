"""Checks for per-frame fields: a video's frame names; a track's masks, boxes and areas."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from vis_core.errors import Found, ImageError, shown
from vis_core.formats.defects import Defects
from vis_core.formats.field_checks import (
    ListedImage,
    are_areas,
    check_area,
    check_box,
    check_crowd,
    check_file_name,
    check_header,
    check_size,
    is_area,
    is_box,
    stated_size,
)
from vis_core.rle.decode import runs_of_strings
from vis_core.rle.segmentation import Rle, checked_to_rle, segmentation_fault


@dataclass(frozen=True)
class VideoEntry:
    """The properties of a video that its tracks must match."""

    height: int
    width: int
    file_names: tuple[str, ...]  # T frame files


def check_video(where: str, entry: dict[str, Any], defects: Defects) -> VideoEntry | None:
    """Checks a ``videos`` entry; returns None if it is faulty."""
    good = check_size(where, entry, defects)
    names = entry.get("file_names")
    place = f'{where} "file_names"'
    if not isinstance(names, list):
        mend = "list one file for each frame"
        defects.error(place, expected="a list of frame files", found=names, mend=mend)
        return None
    for index, name in enumerate(names):
        good &= check_file_name(f"{place}[{index}]", name, defects)
    length = entry.get("length", len(names))
    if type(length) is not int or length != len(names) or not names:
        found = Found(f"{shown(length, 40)} with {len(names)} file names")
        mend = "set length to the number of file_names, 1 or more"
        expected = "the number of frames"
        good = defects.error(f'{where} "length"', expected=expected, found=found, mend=mend)
    if not good or not _check_names(place, names, defects):
        return None
    return VideoEntry(entry["height"], entry["width"], tuple(names))


def check_frames(
    videos: Mapping[str, VideoEntry], folder: Path, defects: Defects, *, whole: bool
) -> dict[str, list[str]]:
    """Checks the size of all frames, by the name of their video; returns the missing frames.

    Frames are read ``whole``, or only their headers.
    """
    from vis_core.media.images import image_headers  # loads OpenCV

    missing: dict[str, list[str]] = defaultdict(list)
    frames = [(where, video, name) for where, video in videos.items() for name in video.file_names]
    headers = image_headers([folder / name for _, _, name in frames], whole=whole)
    for (where, video, name), header in zip(frames, headers, strict=True):
        image = ListedImage(where, '"file_names"', folder / name, video.height, video.width)
        if isinstance(header, ImageError) and not image.path.exists():
            missing[where].append(name)
        else:
            check_header(image, header, defects)
    return missing


def warn_of_missing_frames(where: str, missing: list[str], total: int, defects: Defects) -> None:
    """Warns about a video's missing frames."""
    some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    found, place = Found(f"{len(missing)} of {total} missing: {some}"), f'{where} "file_names"'
    mend = "add the frames, or do not train on the video"
    defects.warn(place, expected="a file for each frame", found=found, mend=mend)


def check_track_fields(
    where: str, entry: dict[str, Any], video: VideoEntry | None, defects: Defects
) -> bool:
    """Checks ``iscrowd``, ``bboxes`` and ``areas`` of a track."""
    good = check_crowd(where, entry, defects)
    for key, is_good, check in (("bboxes", is_box, check_box), ("areas", is_area, check_area)):
        values = entry.get(key)
        if values is None:
            continue
        place = f'{where} "{key}"'
        if not _check_length(place, values, video, defects):
            good = False
            continue
        if key == "areas" and are_areas(values):
            continue
        for index, value in enumerate(values):
            if value is not None and not is_good(value):
                good &= check(f"{place}[{index}]", value, defects)
    return good


def frame_segmentations(
    where: str,
    entry: dict[str, Any],
    video: VideoEntry | None,
    defects: Defects,
    *,
    runs_read_later: bool = False,
) -> list[Rle | None] | None:
    """Checks a track's masks and returns them as compressed RLEs, or None if one is faulty.

    A track's RLEs are decoded together, and checked one by one only if there is a fault. With
    ``runs_read_later``, RLE strings are not decoded here: the caller decodes all returned masks
    and, to locate a fault, calls again without the option.
    """
    masks: Any = entry.get("segmentations")
    place = f'{where} "segmentations"'
    if not _check_length(place, masks, video, defects):
        return None
    if video is not None:
        strings = _strings_of(masks, [video.height, video.width])
        if strings is not None and (runs_read_later or _are_sound(strings, video)):
            return masks
    return _check_masks(place, masks, video, defects)


def _check_masks(
    place: str, masks: list[Any], video: VideoEntry | None, defects: Defects
) -> list[Rle | None] | None:
    rles: list[Rle | None] = []
    good = True
    for index, mask in enumerate(masks):
        if mask is None:
            rles.append(None)
            continue
        height, width = (video.height, video.width) if video else stated_size(mask)
        fault = segmentation_fault(mask, height, width)
        if fault is not None:
            expected = "an RLE or polygons of the video's size"
            found, mend = Found(fault), "correct the mask or write null"
            good = defects.error(f"{place}[{index}]", expected=expected, found=found, mend=mend)
        elif good and video is not None:
            rles.append(checked_to_rle(mask, height, width))
    return rles if good and video is not None else None


def warn_empty(where: str, defects: Defects, *, mend: str) -> None:
    """Warns about a track without masks."""
    defects.warn(f'{where} "segmentations"', expected="a mask in some frame", mend=mend)


def report_duplicates(annotations: list[tuple[str, dict[str, Any]]], defects: Defects) -> None:
    """Warns about tracks with identical masks in the same video and class."""
    if defects.error_count:
        return
    groups: dict[tuple[Any, ...], list[tuple[str, list[Any]]]] = defaultdict(list)
    for where, entry in annotations:
        masks = entry["segmentations"]
        absent = tuple(mask is None for mask in masks)
        group = groups[entry["video_id"], entry["category_id"], absent]
        twin = next((name for name, other in group if other == masks), None)
        if twin is not None and not all(absent):
            mend = "remove one if they are the same object"
            found = Found(f"the masks of {twin}")
            defects.warn(where, expected="different masks", found=found, mend=mend)
        group.append((where, masks))


def _strings_of(masks: list[Any], size: list[int]) -> list[str] | None:
    """Returns the masks' counts if all are null or compressed RLEs of ``size``, else None."""
    try:
        strings = [mask["counts"] for mask in masks if mask is not None]
        sizes = [mask["size"] for mask in masks if mask is not None]
    except (KeyError, TypeError, IndexError):
        return None
    if sizes.count(size) < len(sizes) or set(map(type, strings)) - {str}:
        return None
    return None if set(map(type, chain.from_iterable(sizes))) - {int} else strings


def _are_sound(strings: list[str], video: VideoEntry) -> bool:
    return runs_of_strings(strings, video.height * video.width) is not None


def _check_names(place: str, names: list[str], defects: Defects) -> bool:
    if len(set(names)) != len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        found, mend = Found(f"{duplicate} twice"), "name each frame once"
        return defects.error(place, expected="each file once", found=found, mend=mend)
    if names != sorted(names) and [_numbers(name) for name in names] != sorted(
        _numbers(name) for name in names
    ):
        mend = "sort the frames and the masks unless this order is intended"
        defects.warn(place, expected="frames in order", found=Found("unsorted names"), mend=mend)
    return True


def _numbers(name: str) -> tuple[int, ...]:
    digits = "".join(letter if letter in "0123456789" else " " for letter in name)
    return tuple(int(part) for part in digits.split())


def _check_length(place: str, values: object, video: VideoEntry | None, defects: Defects) -> bool:
    if isinstance(values, list) and (video is None or len(values) == len(video.file_names)):
        return True
    count = f"{len(video.file_names)} entries" if video else "entries"
    found = Found(f"a list of {len(values)}") if isinstance(values, list) else values
    mend = "write one entry or null for each frame of the video"
    return defects.error(place, expected=f"a list of {count}", found=found, mend=mend)
