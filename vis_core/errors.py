"""Errors that users can cause, and formatting of values in messages; asserts catch bugs.

VisError
├── ConfigError            a run file, a command line or a setting
├── AnnotationError        COCO, YouTube-VIS or results JSON
│   └── ImageError         an image file
├── VideoDecodeError       a video file
├── MachineError           a machine that cannot work: a full disk, no memory, a failing GPU
│   └── DecoderError       no decoder process can be started
├── CheckpointError        weights that are missing, unsafe or incompatible
├── TrainingDivergedError  a loss or a weight that is not finite
├── StorageError           a folder, a bucket or a disk
│   └── MissingObjectError an object that does not exist
├── RegistryError          a tracking server or a registered model
└── ClusterError           a Ray cluster

A message gives the problem, its location, the expected and the actual value, and the remedy. Only
the command line turns a VisError into one line and an exit code (``jobs/cli.py``).
"""

import json
import re
from pathlib import Path
from typing import Literal

# Control characters, separators of lines and paragraphs, and lone surrogates (Cc, Zl, Zp, Cs).
FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# Reasons why a video could not be read, short enough for a table.
DecodeFailure = Literal[
    "unreadable",  # the file, not its content: missing, no permission, a folder or a pipe
    "not a video",
    "not allowed",  # a container that opens other files or is not supported
    "no video stream",
    "no decoder",
    "no frames",
    "orientation",  # a display matrix that neither turns by quarters nor mirrors
    "too large",
    "decode error",
    "timed out",
    "decoder died",
    "changed",  # while being read
]


class VisError(Exception):
    """The base class for all errors that a user can cause.

    ``exit_code`` is for the command line: 2 invalid input, 1 failed run, 4 unavailable service.
    """

    exit_code = 2


class ConfigError(VisError):
    """An invalid run file, command line or setting."""


class AnnotationError(VisError):
    """An invalid annotation or result file; the message lists the defects, one per line."""


class ImageError(AnnotationError):
    """An image file that is missing, truncated, too large or not an image.

    ``parts`` are the expected, the found and the remedy of the message, without the file.
    """

    def __init__(self, message: str, parts: tuple[str, str, str] = ("", "", "")) -> None:
        super().__init__(message)
        self.parts = parts


class VideoDecodeError(VisError):
    """A video file that cannot be read, with the kind of failure for its manifest row."""

    def __init__(self, message: str, kind: DecodeFailure = "unreadable") -> None:
        super().__init__(message)
        self.kind: DecodeFailure = kind


class MachineError(VisError):
    """A machine that cannot work, whatever the input: a full disk, no memory, a failing GPU."""

    exit_code = 4


class DecoderError(MachineError):
    """A decoder process that cannot be started on this machine, whatever the video."""


class CheckpointError(VisError):
    """Weights that are missing, unsafe to load or incompatible with the model."""


class TrainingDivergedError(VisError):
    """A training run whose loss or weights are no longer finite."""

    exit_code = 1


class StorageError(VisError):
    """A folder, bucket or disk that cannot be read or written."""

    exit_code = 4


class MissingObjectError(StorageError):
    """An object that does not exist or no longer exists."""


class RegistryError(VisError):
    """A tracking server or registered model that is unavailable."""

    exit_code = 4


class ClusterError(VisError):
    """A Ray cluster that does not respond."""

    exit_code = 4


def error_to_text(error: BaseException) -> str:
    """Packs an error into text, for libraries that keep only the text of errors they carry."""
    return json.dumps([type(error).__name__, str(error)])


def error_from_text(text: str) -> Exception:
    """Returns the VisError that ``error_to_text`` packed; any other error is a RuntimeError."""
    name, message = json.loads(text)
    kinds: list[type[VisError]] = [VisError]
    for kind in kinds:
        if kind.__name__ == name:
            return kind(message)
        kinds += kind.__subclasses__()
    return RuntimeError(f"{name}: {message}")


def shown_name(path: Path | str) -> str:
    """Returns a file name with unprintable characters escaped, so that it fits on one log line."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in str(path)
    )


def forbidden_character(name: str) -> str | None:
    """Returns the first character that no name may contain, such as U+0007, or None."""
    found = FORBIDDEN.search(name)
    return f"the character U+{ord(found[0]):04X}" if found else None


def first_line(error: BaseException | str) -> str:
    """Returns the first line of a message, or the error's class name if the message is empty."""
    return _lines_of(error)[0]


def last_line(error: BaseException | str) -> str:
    """Returns the last line of a message, or the error's class name if the message is empty."""
    return _lines_of(error)[-1]


def _lines_of(error: BaseException | str) -> list[str]:
    unnamed = "" if isinstance(error, str) else type(error).__name__
    return [line.strip() for line in str(error).strip().splitlines()] or [unnamed]


class Found(str):
    """A description that ``shown`` does not quote."""


def shown(value: object, limit: int = 80) -> str:
    """Formats a value for a message: quoted, escaped, truncated to ``limit`` characters."""
    if isinstance(value, Found):
        return str(value)
    text = _described(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _described(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return ascii(value[:200])
    if isinstance(value, dict):
        return f"an object with {len(value)} keys"
    if isinstance(value, list) and len(value) > 8:
        return f"a list of {len(value)} entries"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    return ascii(value) if not isinstance(value, list) else f"[{_items(value)}]"


def _items(values: list[object]) -> str:
    return ", ".join(
        f"a list of {len(value)}" if isinstance(value, list) else _described(value)
        for value in values
    )
