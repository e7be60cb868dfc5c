"""Strict JSON reading: UTF-8, finite numbers, no duplicate keys, limited depth.

``json.loads`` silently accepts NaN, Infinity, UTF-16 and duplicate keys, and raises RecursionError
for 100,000 nested brackets. Here, each of these raises an AnnotationError naming the file.
"""

import codecs
import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vis_core.errors import AnnotationError, shown
from vis_core.formats.defects import Defects
from vis_core.formats.packed_json import open_json

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


@dataclass(frozen=True)
class JsonDocument:
    """A parsed file."""

    root: Any
    # NaN or Infinity occurs; the field checks or report_constants report where
    has_constants: bool


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises AnnotationError if the file is missing, not UTF-8, not JSON, nested too deeply, or
    contains a duplicate key, NaN, Infinity or an integer with thousands of digits.
    """
    document = parse_json(path)
    defects = Defects(path)
    report_constants(document, defects)
    defects.finish()
    return document.root


def parse_json(path: Path) -> JsonDocument:
    """Reads a JSON file, but leaves NaN and Infinity to the caller's field checks."""
    text = _read_text(path)
    constants: list[str] = []

    def constant(name: str) -> float:
        constants.append(name)
        return float(name)

    try:
        with paused_collector():
            root = json.loads(text, object_pairs_hook=unique_keys, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"{path}: line {error.lineno} column {error.colno}: expected JSON, found "
            f"{_described(error, text)}; correct the file, or copy it again if it was truncated"
        ) from None
    except RecursionError:
        message = f"{path}: expected an annotation file, found brackets nested too deeply to read"
        raise AnnotationError(message + "; write the file again") from None
    except DuplicateKeyError as error:
        raise AnnotationError(
            f"{path}: expected each key once in an object, found the key {shown(str(error))} "
            "twice; remove one of them, since only one of the two would be read"
        ) from None
    except ValueError as error:
        message = f"{path}: expected numbers of ordinary size, found one with thousands of digits"
        raise AnnotationError(f"{message} ({error}); correct the number") from None
    return JsonDocument(root, bool(constants))


def report_constants(document: JsonDocument, defects: Defects) -> None:
    """Adds an error for each NaN or Infinity, unless other errors were found."""
    if not document.has_constants or defects.error_count:
        return
    mend = "write a number or remove it"
    for where, value in _not_finite(document.root, ""):
        defects.error(where, expected="a finite number", found=value, mend=mend)


def entry_name(table: str, index: int, entry: Any) -> str:
    """Returns an entry's name for messages: ``annotations[2] (id 12)``."""
    entry_id = entry.get("id") if isinstance(entry, dict) else None
    name = f"{table}[{index}]"
    return name if entry_id is None else f"{name} (id {shown(entry_id, 40)})"


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pauses garbage collection, which would take half the time when many objects are created."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class DuplicateKeyError(Exception):
    """A key that occurs twice in an object; the message is the key."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object from its pairs; raises DuplicateKeyError if a key occurs twice."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(key)
            seen.add(key)
    return unique


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise AnnotationError(f"{path}: expected a JSON file, found none; check the path")
    try:
        with open_json(path) as file:
            content = file.read()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from None
    for mark, name in _OTHER_ENCODINGS:
        if content.startswith(mark):
            raise AnnotationError(f"{path}: expected UTF-8 text, found {name}; save it as UTF-8")
    if not content.strip():
        raise AnnotationError(f"{path}: expected JSON, found an empty file; copy it again")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"{path}: line {line}: expected UTF-8 text, found the byte "
        message += f"0x{content[error.start]:02x} at offset {error.start}; save the file as UTF-8"
        raise AnnotationError(message) from None


def _described(error: json.JSONDecodeError, text: str) -> str:
    if error.msg.startswith("Extra data"):
        return "a second document after the end of the first"
    if not text[error.pos :].strip() or error.msg.startswith("Unterminated string"):
        return f"the end of the file within a value ({error.msg})"
    return f"{shown(text[error.pos : error.pos + 20])} ({error.msg})"


def _not_finite(value: Any, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield where or "the document", value
    elif isinstance(value, dict):
        for key, inner in value.items():
            place = f"{where} {shown(key)}".strip().replace("'", '"')
            yield from _not_finite(inner, place)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, entry_name(where, index, inner))
