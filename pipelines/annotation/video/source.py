"""The file of a video while it is annotated: its digest, and whether it has changed."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

from pipelines.annotation.archive.file_version import file_version
from pipelines.annotation.archive.picture_folders import folder_version
from vis_core.errors import StorageError, VideoDecodeError, shown_name
from vis_core.files import file_sha256
from vis_core.media.container import check_regular_file, failure

_CHANGED = "changed while it was read"


@dataclass
class SourceFile:
    """An open video file, whose bytes have the digest ``sha256`` unless ``check`` raises.

    Decoders open the file by its path, possibly several times. ``note_frame`` must be called after
    each frame, so that a file that is removed later is known to be the one that was decoded.
    """

    path: Path
    sha256: str
    _file: BufferedReader
    _before: os.stat_result
    _is_confirmed: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Prepares for another decoder, which opens the path again."""
        self._is_confirmed = False

    def note_frame(self) -> None:
        """Compares the path with the open file, once per decoder."""
        if not self._is_confirmed:
            self.check()
            self._is_confirmed = True

    def check(self) -> None:
        """Raises VideoDecodeError of kind "changed" unless the decoded bytes have this digest.

        A file that was removed, but not changed, after its decoder opened it passes.
        """
        before, now = self._before, _status(self.path)
        if now is None:
            if self._is_confirmed and self._has_same_bytes():
                return
            raise _changed(self.path, f"{_CHANGED}: it was removed")
        if _identity(now) == _identity(before):
            return
        is_same_file = _place(now) == _place(before)
        if is_same_file and self._has_same_bytes():
            return
        how = "it was written to" if is_same_file else "it was replaced"
        sizes = f"{before.st_size} -> {now.st_size} bytes"
        raise _changed(self.path, f"{_CHANGED}: {how} ({sizes})")

    def changed(self, how: str) -> VideoDecodeError:
        """Returns the error for a file whose content is not the expected one."""
        return _changed(self.path, how)

    def _has_same_bytes(self) -> bool:
        """Returns whether the open file is unchanged, apart from its names, rights and dates."""
        now = os.fstat(self._file.fileno())
        return now.st_size == self._before.st_size and (
            _digest(self._file, self.path) == self.sha256
        )


class SourceFolder:
    """A folder of pictures, in place of a ``SourceFile``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = self._now()
        self.sha256 = file_sha256(path)

    def begin(self) -> None:
        """Does nothing; only ``check`` compares the pictures."""

    note_frame = begin

    def check(self) -> None:
        """Raises VideoDecodeError of kind "changed" unless the pictures are the same."""
        if not self.path.is_dir():
            raise _changed(self.path, f"{_CHANGED}: it was removed")
        if self._now() != self._before and file_sha256(self.path) != self.sha256:
            raise _changed(self.path, f"{_CHANGED}: it has other pictures")

    def changed(self, how: str) -> VideoDecodeError:
        """Returns the error for a folder whose content is not the expected one."""
        return _changed(self.path, how)

    def _now(self) -> list[tuple[object, ...]]:
        files = sorted(entry for entry in self.path.iterdir() if entry.is_file())
        return [(entry.name, *_identity(entry.stat())) for entry in files]


Source = SourceFile | SourceFolder


@contextmanager
def open_source(
    path: Path, root: Path | None, version: str, etag: str, picture_rate: float | None = None
) -> Iterator[Source]:
    """Opens a video's file, computes its digest, and checks at the end that it has not changed.

    Args:
        path: The file, or a temporary copy of an object.
        root: The folder of a local archive; None for other archives.
        version: The listed version of a local file; empty means any.
        etag: The ETag of an object; empty for a local file.
        picture_rate: Pictures per second of a folder, which are a part of its version.

    Raises:
        VideoDecodeError: The file is not a readable video file, or changed since the listing.
        StorageError: The archive's folder is gone.
        OSError: The machine cannot read the file, or removed the temporary copy.
    """
    if root is not None and not root.is_dir():
        raise StorageError(
            f"cannot read {shown_name(root)}: the folder of the videos is gone; mount or restore"
            " it, then run the same command again"
        )
    if _status(path) is None:
        if etag:
            path.stat()  # the temporary copy is gone
        raise _changed(path, "was removed after it was listed")
    with nullcontext() if path.is_dir() else _opened(path) as file:
        listed = "" if etag else version
        source = (
            _folder_source(path, listed, picture_rate)
            if file is None
            else _file_source(path, file, listed)
        )
        try:
            yield source
        except VideoDecodeError as error:
            if error.kind != "changed":
                if etag:
                    path.stat()  # raises an OSError if the temporary copy is gone
                source.begin()
                source.check()
            raise
        source.check()


def _folder_source(path: Path, version: str, rate: float | None) -> SourceFolder:
    source = SourceFolder(path)
    if version and rate is not None and folder_version(path, rate) != version:
        raise source.changed("changed since it was listed")
    return source


def _file_source(path: Path, file: BufferedReader, version: str) -> SourceFile:
    before = os.fstat(file.fileno())
    if version and file_version(file, before.st_size) != version:
        raise _changed(path, "changed since it was listed")
    return SourceFile(path, _digest(file, path), file, before)


def _status(path: Path) -> os.stat_result | None:
    """Returns a file's status; None if it does not exist."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise _unreadable(path, error) from error


def _opened(path: Path) -> BufferedReader:
    check_regular_file(path)
    try:
        return path.open("rb")
    except PermissionError as error:
        raise _unreadable(path, error) from error


def _digest(file: BufferedReader, path: Path) -> str:
    try:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise _unreadable(path, error) from error  # a damaged disk may affect this file alone


def _unreadable(path: Path, error: OSError) -> VideoDecodeError:
    return failure(path, f"cannot be read ({error.strerror})", "unreadable")


def _changed(path: Path, how: str) -> VideoDecodeError:
    return failure(path, f"{how}; run the same command again", "changed")


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Returns what differs after any change; the change time also shows a restored date."""
    return *_place(status), status.st_size, status.st_mtime_ns, status.st_ctime_ns
