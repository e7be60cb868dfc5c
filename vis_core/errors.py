"""The errors that a caller can cause. Nothing here for what a programmer broke: that is an assert.

VisError
├── ConfigError            a run file, a command line or a setting
├── AnnotationError        COCO, YouTube-VIS or results JSON
│   └── ImageError         an image file that cannot be trusted
├── VideoDecodeError       a video file that cannot be read
├── DecoderError           no process to decode in can be started here
├── CheckpointError        weights that do not fit or cannot be trusted
├── TrainingDivergedError  a loss or a weight that is no longer finite
├── StorageError           a folder, a bucket or a disk that refuses
│   └── MissingObjectError an object that is not there, or no longer
├── RegistryError          a tracking server or a model that is not there
└── ClusterError           a Ray cluster that does not answer

Every message says what, where, what was expected, what was found and how to mend it. The command
line alone turns a VisError into one line and an exit code (``jobs/cli.py``).
"""

from pathlib import Path
from typing import Literal

# In words that fit a table: why a video could not be read.
DecodeFailure = Literal[
    "unreadable",  # the file, not what is in it: absent, no permission, a folder or a pipe
    "not a video",
    "not allowed",  # a container that opens other files
    "no video stream",
    "no decoder",
    "no frames",
    "too large",
    "decode error",
    "timed out",
    "decoder died",
    "changed",  # while it was read
]


class VisError(Exception):
    """Is the base of everything that a user can cause.

    Attributes:
        exit_code: What the command line returns: 2 for the user's input, 1 for a run that failed,
            4 for a service that stayed away.
    """

    exit_code = 2


class ConfigError(VisError):
    """A run file, a command line or a setting is wrong."""


class AnnotationError(VisError):
    """An annotation or result file is wrong; the message lists the defects, one a line."""


class ImageError(AnnotationError):
    """An image file is missing, cut, too large or not an image."""


class VideoDecodeError(VisError):
    """A video file cannot be read. In batch work this is a row of the manifest, not an exit.

    Attributes:
        kind: Why, in words that fit a table; the message says it in full.
    """

    def __init__(self, message: str, kind: DecodeFailure = "unreadable") -> None:
        super().__init__(message)
        self.kind: DecodeFailure = kind


class DecoderError(VisError):
    """No process to decode in can be started on this machine: no video is to blame."""

    exit_code = 4


class CheckpointError(VisError):
    """Weights are missing, do not fit the model or cannot be trusted."""


class TrainingDivergedError(VisError):
    """A loss or a weight is no longer finite."""

    exit_code = 1


class StorageError(VisError):
    """A folder, a bucket or a disk refuses to be read or written."""

    exit_code = 4


class MissingObjectError(StorageError):
    """There is no such object; it may have been removed a moment ago."""


class RegistryError(VisError):
    """The tracking server or the registered model is not there."""

    exit_code = 4


class ClusterError(VisError):
    """The Ray cluster does not answer."""

    exit_code = 4


def shown_name(path: Path | str) -> str:
    """Writes a file name on one line of a log: what cannot be printed is escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in str(path)
    )


def first_line(error: BaseException | str) -> str:
    """Returns the first line of a message, or the name of the error's class if it has none."""
    return _lines_of(error)[0]


def last_line(error: BaseException | str) -> str:
    """Returns the last line of a message, or the name of the error's class if it has none."""
    return _lines_of(error)[-1]


def _lines_of(error: BaseException | str) -> list[str]:
    unnamed = "" if isinstance(error, str) else type(error).__name__
    return [line.strip() for line in str(error).strip().splitlines()] or [unnamed]


class Found(str):
    """Is a description in our own words, shown as it is and not quoted."""


def shown(value: object, limit: int = 80) -> str:
    """A value of a file for a message: quoted, control characters escaped, cut to ``limit``."""
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
    return ascii(value) if not isinstance(value, list) else f"[{_inside(value)}]"


def _inside(values: list[object]) -> str:
    return ", ".join(
        f"a list of {len(value)}" if isinstance(value, list) else _described(value)
        for value in values
    )
