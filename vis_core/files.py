"""Atomic file writing and content digests."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vis_core.errors import StorageError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path; on success it is renamed to ``path``, otherwise removed.

    Readers never find a partly written file, and two writers never share a temporary file. Creates
    missing parent folders. Raises StorageError if the file cannot be written.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}: {reason}; free or open it, run again") from error
    finally:
        with suppress(OSError):  # the first error is the one to report
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically; see ``whole_file``."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Writes a value as JSON, in chunks and atomically (``whole_file``); numbers must be finite.

    ``indent`` is for files that people read; it also adds a final newline.
    """
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, allow_nan=False, indent=indent)
        if indent:
            file.write("\n")


def file_sha256(path: Path) -> str:
    """Computes the SHA-256 of a file, or of a folder's file names and digests, in hexadecimal."""
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.is_file())
        lines = [f"{file_sha256(entry)} {entry.name}\n" for entry in files]
        return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_sha256(body: bytes) -> str:
    """Computes the first 32 hexadecimal digits of the SHA-256 of ``body``, for file names."""
    return hashlib.sha256(body).hexdigest()[:32]
