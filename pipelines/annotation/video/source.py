"""The file of a video while it is annotated: its digest, and whether it has changed."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

from pipelines.annotation.archive.listing import file_version
from vis_core.errors import StorageError, VideoDecodeError, shown_name
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
            self._require_same(self.path.stat() if self.path.exists() else None)
            self._is_confirmed = True

    def check(self) -> None:
        """Raises VideoDecodeError of kind "changed" unless the decoded bytes have this digest.

        A file that was removed, but not changed, after its decoder opened it passes.
        """
        if self._is_confirmed and not self.path.exists():
            now = os.fstat(self._file.fileno())
            if _content(now) == _content(self._before):
                return
        self._require_same(self.path.stat() if self.path.exists() else None)

    def changed(self, how: str) -> VideoDecodeError:
        """Returns the error for a file whose content is not the expected one."""
        return _changed(self.path, how)

    def _require_same(self, now: os.stat_result | None) -> None:
        if now is None:
            raise _changed(self.path, f"{_CHANGED}: it was removed")
        if _identity(now) != _identity(self._before):
            is_same_file = (now.st_dev, now.st_ino) == (self._before.st_dev, self._before.st_ino)
            how = "it was written to" if is_same_file else "it was replaced"
            sizes = f"{self._before.st_size} -> {now.st_size} bytes"
            raise _changed(self.path, f"{_CHANGED}: {how} ({sizes})")


@contextmanager
def open_source(path: Path, root: Path | None, version: str) -> Iterator[SourceFile]:
    """Opens a video's file and computes its digest.

    Args:
        path: The file, or a temporary copy of an object.
        root: The folder of a local archive; None for other archives.
        version: The listed version of a local file; empty means any.

    Raises:
        VideoDecodeError: The file is not a readable video file, or changed since the listing.
        StorageError: The archive's folder is gone.
    """
    if root is not None and not root.is_dir():
        raise StorageError(
            f"cannot read {shown_name(root)}: the folder of the videos is gone; mount or restore"
            " it, then run the same command again"
        )
    with _opened(path) as file:
        before = os.fstat(file.fileno())
        try:
            if version and file_version(file, before.st_size) != version:
                raise _changed(path, "changed since it was listed")
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            if error.errno == errno.EIO:  # a damaged disk may affect this file alone
                raise failure(path, f"cannot be read ({error.strerror})", "unreadable") from error
            raise
        yield SourceFile(path, sha256, file, before)


def _opened(path: Path) -> BufferedReader:
    try:
        if path.exists():
            check_regular_file(path)
        return path.open("rb")
    except FileNotFoundError as error:
        raise _changed(path, "was removed after it was listed") from error


def _changed(path: Path, how: str) -> VideoDecodeError:
    return failure(path, f"{how}; run the same command again", "changed")


def _content(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Returns what differs after any change; the change time also shows a restored date."""
    return status.st_dev, status.st_ino, *_content(status), status.st_ctime_ns
