"""Checks for the fields common to COCO and YouTube-VIS files: ids, sizes, names, boxes, areas.

Each ``check_`` function returns whether the field is valid and adds a defect if it is not.
"""

import re
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import TYPE_CHECKING, Any

from vis_core.errors import Found, ImageError, forbidden_character, shown
from vis_core.formats.defects import Defects
from vis_core.formats.strict_json import entry_name
from vis_core.rle.decode import MAX_PIXELS

if TYPE_CHECKING:
    from vis_core.media.images import ImageHeader

_MAX_NAME_BYTES = 255  # per path component, on every common file system
_MAX_PATH_BYTES = 4096
_PLAIN_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_DRIVE = re.compile("[A-Za-z]:")
_NUMBERS = {int, float}
COCO_VID = Found('CocoVID ("images" and "videos", as mmtracking writes)')
_MAX_FLOAT = sys.float_info.max
_MAX_PIXELS = 1e10  # a larger area is in none of the metric's area ranges


def is_id(value: object) -> bool:
    """Returns whether ``value`` is a 64-bit integer and not a bool."""
    return type(value) is int and -(2**63) <= value < 2**63


def is_number(value: Any) -> bool:
    """Returns whether ``value`` is a finite float or an int in the float range, and not a bool."""
    return type(value) in _NUMBERS and -_MAX_FLOAT <= value <= _MAX_FLOAT  # NaN compares False


def table_of(root: Any, key: str, defects: Defects) -> list[Any]:
    """Returns the list ``root[key]``, or adds an error and returns an empty list."""
    if not isinstance(root, dict):
        expected = f'an object with "{key}" at the top'
        mend = "give an annotation file here, not a results file"
        defects.error("the document", expected=expected, found=root, mend=mend)
        return []
    if key not in root:
        keys = Found("keys " + ", ".join(shown(name, 30) for name in list(root)[:8]))
        mend = "add it, or give a file of the right kind"
        defects.error(f'"{key}"', expected="a list", found=keys, mend=mend)
        return []
    if not isinstance(root[key], list):
        mend = "write a list of objects"
        defects.error(f'"{key}"', expected="a list", found=root[key], mend=mend)
        return []
    return root[key]


def entries_of(root: Any, key: str, defects: Defects) -> list[tuple[str, dict[str, Any]]]:
    """Returns the message location and the content of each table entry with a unique id."""
    entries: list[tuple[str, dict[str, Any]]] = []
    index_of: dict[int, int] = {}
    for index, entry in enumerate(table_of(root, key, defects)):
        where = entry_name(key, index, entry)
        if not isinstance(entry, dict):
            defects.error(where, expected="an object", found=entry, mend="remove this entry")
            continue
        entry_id: Any = entry.get("id")
        if not is_id(entry_id):
            mend = "number the entries with integers"
            defects.error(f'{where} "id"', expected="a 64-bit integer", found=entry_id, mend=mend)
            continue
        if entry_id in index_of:
            found = Found(f"{entry_id}, which {key}[{index_of[entry_id]}] has too")
            mend = "give each entry its own id"
            defects.error(f'{where} "id"', expected="a unique id", found=found, mend=mend)
            continue
        index_of[entry_id] = index
        entries.append((where, entry))
    return entries


def objects_of(table: Iterable[Any], defects: Defects) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the message location and the content of each object in a list of results."""
    for index, entry in enumerate(table):
        where = entry_name("results", index, entry)
        if isinstance(entry, dict):
            yield where, entry
        else:
            defects.error(where, expected="an object", found=entry, mend="remove this entry")


def ids_of(root: dict[str, Any], key: str) -> set[Any]:
    """Returns all ids of a table, even of faulty entries, so that each fault is reported once."""
    table = root.get(key)
    entries = table if isinstance(table, list) else []
    return {entry["id"] for entry in entries if isinstance(entry, dict) and is_id(entry.get("id"))}


def check_size(where: str, entry: dict[str, Any], defects: Defects) -> bool:
    """Checks the ``height`` and ``width`` of an image or video."""
    good = True
    mend = "write the size of the stored pixels"
    for side in ("height", "width"):
        value = entry.get(side)
        if type(value) is not int or value < 1:
            place, expected = f'{where} "{side}"', "an integer of 1 or more"
            good = defects.error(place, expected=expected, found=value, mend=mend)
    if not good or entry["height"] * entry["width"] <= MAX_PIXELS:
        return good
    found = Found(f"{shown(entry['height'], 30)} x {shown(entry['width'], 30)}")
    place, expected = f'{where} "height" x "width"', f"at most {MAX_PIXELS} pixels"
    return defects.error(place, expected=expected, found=found, mend=mend)


def check_file_name(where: str, name: object, defects: Defects) -> bool:
    """Checks that ``name`` is a path inside the image folder and valid on every system."""
    fault = file_name_fault(name)
    if fault is None:
        return True
    found = Found(f"{shown(name, 60)} ({fault})")
    mend = "write the path relative to the image folder, with forward slashes"
    return defects.error(where, expected="a relative path of an image", found=found, mend=mend)


def file_name_fault(name: object) -> str | None:
    """Returns why a file name from a JSON file is invalid, or None if it is valid."""
    if not isinstance(name, str):
        return "not text"
    if len(name) <= _MAX_NAME_BYTES and _PLAIN_NAME.fullmatch(name):
        return None
    if not name.strip():
        return "empty"
    if forbidden := forbidden_character(name):
        return f"{forbidden}, a control character, line separator or lone surrogate"
    path = PurePosixPath(name)
    if "://" in name or name.startswith(("file:", "data:")):
        return "a URL, not a file"
    if path.is_absolute() or "\\" in name or _DRIVE.match(name):
        return "an absolute path or a backslash"
    if ".." in path.parts:
        return "outside the image folder"
    longest = max(len(part.encode()) for part in path.parts or (".",))
    if longest > _MAX_NAME_BYTES or len(name.encode()) > _MAX_PATH_BYTES:
        return "too long for a file system"
    return None if path.parts else "not a file"


def stated_size(segmentation: Any) -> tuple[Any, Any]:
    """Returns the size given in an RLE whose image is unknown, or (1, 1) if the RLE has none."""
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    return (size[0], size[1]) if isinstance(size, list) and len(size) == 2 else (1, 1)


def is_box(box: Any) -> bool:
    """Returns whether ``box`` is ``[x, y, width, height]`` with plausible numbers."""
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(map(is_number, box))
        and -_MAX_PIXELS <= min(box) <= max(box) <= _MAX_PIXELS
        and box[2] >= 0
        and box[3] >= 0
    )


def is_area(area: Any) -> bool:
    """Returns whether ``area`` is a plausible number of 0 or more."""
    return is_number(area) and 0 <= area <= _MAX_PIXELS


def are_areas(areas: list[Any]) -> bool:
    """Returns whether all entries are null or satisfy ``is_area``; faster than a loop over them."""
    if not {*map(type, areas)} <= {int, float, NoneType}:
        return False
    numbers = [area for area in areas if area is not None]
    return all(map((0.0).__le__, numbers)) and all(map(_MAX_PIXELS.__ge__, numbers))


def check_box(where: str, box: object, defects: Defects) -> bool:
    """Checks a box ``[x, y, width, height]`` in pixels."""
    expected = "4 finite numbers [x, y, width, height], width and height 0 or more"
    mend = "correct or remove the box"
    return is_box(box) or defects.error(where, expected=expected, found=box, mend=mend)


def check_area(where: str, area: object, defects: Defects) -> bool:
    """Checks an area in pixels."""
    expected = "a finite area of 0 or more"
    mend = "write the number of pixels of the mask or remove the field"
    return is_area(area) or defects.error(where, expected=expected, found=area, mend=mend)


def check_crowd(where: str, entry: dict[str, Any], defects: Defects) -> bool:
    """Checks that ``iscrowd`` is 0, 1, false, true or absent."""
    value = entry.get("iscrowd", 0)
    if type(value) in (int, bool) and value in (0, 1):
        return True
    place, mend = f'{where} "iscrowd"', "write 1 for a crowd region, else 0"
    return defects.error(place, expected="0 or 1", found=value, mend=mend)


def check_reference(
    where: str, entry: dict[str, Any], key: str, known: Container[Any], table: str, defects: Defects
) -> bool:
    """Checks that ``entry[key]`` is an id of ``table``."""
    value: Any = entry.get(key)
    if is_id(value) and value in known:
        return True
    expected = f'an id of "{table}"'
    mend = f'correct it or add the entry to "{table}"'
    return defects.error(f'{where} "{key}"', expected=expected, found=value, mend=mend)


@dataclass(frozen=True)
class ListedImage:
    """An image that a file lists, with the place and the size of its entry."""

    where: str
    field: str
    path: Path
    height: int
    width: int


def check_header(image: ListedImage, header: "ImageHeader | ImageError", defects: Defects) -> bool:
    """Checks that an image could be read, has its entry's size and no EXIF orientation."""
    name = shown(image.path.name)
    place = f"{image.where} {image.field} {name}"
    if isinstance(header, ImageError):
        expected, found, mend = header.parts
        return defects.error(place, expected=expected, found=Found(found), mend=mend)
    stored, stated = (header.height, header.width), (image.height, image.width)
    turn = "turn its pixels and remove the tag (mogrify -auto-orient)"
    if stored == stated:
        if header.orientation != 1:
            found = f"orientation {header.orientation}, but masks refer to the stored pixels"
            mend = f"if the masks were drawn on the image as viewers show it, {turn}"
            defects.warn(place, expected="no EXIF orientation", found=Found(found), mend=mend)
        return True
    mend = "correct the entry or replace the file"
    if stored == stated[::-1]:
        mend = "height and width are exchanged; exchange them in the entry and its masks"
        if header.orientation >= 5:
            mend = f"the file has EXIF orientation {header.orientation} and the entry has the size "
            mend += f"that viewers show; keep the entry, {turn}"
    place = f'{image.where} "height", "width" of {name}'
    expected = f"the stored size {stored[0]} x {stored[1]}"
    found = f"{stated[0]} x {stated[1]}"
    return defects.error(place, expected=expected, found=Found(found), mend=mend)
