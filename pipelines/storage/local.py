"""A local folder as an object store."""

import filecmp
import os
import socket
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pipelines.storage.base import StoredObject
from vis_core.errors import MissingObjectError, StorageError, shown_name

PARTIAL_FOLDER = ".partial"  # incomplete files; never listed
_CHUNK = 1 << 22  # bytes copied at once
_TRIES = 10  # attempts to put a file into a folder that other processes may remove
Put = TypeVar("Put")


@dataclass(frozen=True)
class LocalStorage:
    """A folder as a store."""

    root: Path  # the folder; created on the first write

    @property
    def uri(self) -> str:
        """The path of the folder."""
        return str(self.root)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yields the files below ``root / prefix``, each folder's files sorted by name."""
        try:
            for parent, folders, files in os.walk(self._path(prefix or ".")):
                folders[:] = sorted(name for name in folders if name != PARTIAL_FOLDER)
                for name in sorted(files):
                    path = Path(parent, name)
                    try:
                        found = path.lstat()
                    except FileNotFoundError:  # another process has just removed it
                        continue
                    key = path.relative_to(self.root).as_posix()
                    yield StoredObject(key, found.st_size, modified_s=found.st_mtime)
        except OSError as error:
            raise self._error("list", prefix, error) from error

    def exists(self, key: str) -> bool:
        """Returns whether a file exists."""
        try:
            return self._path(key).is_file()
        except OSError as error:
            raise self._error("look up", key, error) from error

    def stat(self, key: str) -> StoredObject | None:
        """Returns a regular file's size and date, or None if there is no such file."""
        try:
            found = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._error("look up", key, error) from error
        if not stat.S_ISREG(found.st_mode):
            return None
        return StoredObject(key, found.st_size, modified_s=found.st_mtime)

    def read(self, key: str) -> bytes:
        """Reads a file."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            where = shown_name(self.root / key)
            raise MissingObjectError(
                f"cannot read {where}: there is none, or no longer; run the same command again"
            ) from error
        except OSError as error:
            raise self._error("read", key, error) from error

    def as_file(self, key: str, etag: str = "") -> AbstractContextManager[Path]:  # noqa: ARG002
        """Provides the file itself."""
        return nullcontext(self._path(key))

    def write_once(self, key: str, body: bytes) -> bool:
        """Writes and syncs a partial file, then links it to the final name, if that is free."""
        return self._write_once(key, (body,), lambda final: final.read_bytes() == body)

    def write_once_file(self, key: str, path: Path) -> bool:
        """Copies ``path`` to a synced partial file, then links it to the final name, if free."""
        return self._write_once(key, _chunks(path), lambda file: filecmp.cmp(file, path, False))

    def replace(self, key: str, body: bytes) -> None:
        """Writes and syncs a partial file, then renames it."""
        self._replace(key, (body,))

    def replace_file(self, key: str, path: Path) -> None:
        """Copies ``path`` to a synced partial file, then renames the copy."""
        self._replace(key, _chunks(path))

    def delete(self, key: str) -> None:
        """Removes a file, and its folder if the folder is then empty."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            if path.parent != self.root:
                with suppress(OSError):  # not empty, or removed already
                    path.parent.rmdir()
        except OSError as error:
            raise self._error("delete", key, error) from error

    def remove_stale_partials(self) -> None:
        """Removes partial files whose writer was a process on this machine that has ended."""
        folder = self.root / PARTIAL_FOLDER
        for path in folder.iterdir() if folder.is_dir() else ():
            host, _, rest = path.name.rpartition("@")
            process_id, is_ours = rest.partition("-")[0], host == socket.gethostname()
            if is_ours and process_id.isdigit() and process_is_gone(int(process_id)):
                path.unlink(missing_ok=True)

    def check_conditional_writes(self) -> None:
        """Does nothing, because linking to an existing name fails on every file system."""

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        assert ".." not in parts and not key.startswith("/"), f"key leaves the root: {key!r}"
        return self.root / key

    def _write_once(
        self, key: str, chunks: Iterable[bytes], is_content: Callable[[Path], bool]
    ) -> bool:
        """Writes chunks to a new file, or compares them with the existing one."""
        final = self._path(key)
        try:
            with suppress(FileNotFoundError):  # removed in between
                if final.is_file():
                    return is_content(final)
            partial = self._write_partial(chunks)

            def link() -> bool:
                try:
                    os.link(partial, final)
                except FileExistsError:
                    return is_content(final)
                return True

            try:
                return _put(final, link)
            finally:
                partial.unlink()
        except OSError as error:
            raise self._error("write", key, error) from error

    def _replace(self, key: str, chunks: Iterable[bytes]) -> None:
        """Writes chunks to a file, replacing any existing one."""
        final = self._path(key)
        try:
            partial = self._write_partial(chunks)
            try:
                _put(final, lambda: partial.replace(final))
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._error("write", key, error) from error

    def _write_partial(self, chunks: Iterable[bytes]) -> Path:
        """Writes and syncs a file whose name contains its writer's machine and process."""
        folder = self.root / PARTIAL_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{socket.gethostname()}@{os.getpid()}-{uuid.uuid4().hex}"
        try:
            with partial.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        return partial

    def _error(self, action: str, key: str, error: OSError) -> StorageError:
        where = shown_name(self.root / key)
        return StorageError(
            f"cannot {action} {where} ({error.strerror or error}); make room or give access, then"
            " run the same command again"
        )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _put(final: Path, put: Callable[[], Put]) -> Put:
    """Moves a file into its folder, which other processes may remove at any time."""
    for left in reversed(range(_TRIES)):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            answer = put()
            break
        except (FileNotFoundError, FileExistsError):  # the folder was removed in between
            if not left:
                raise
    with suppress(FileNotFoundError):
        _sync_folder(final.parent)
    return answer


def _sync_folder(folder: Path) -> None:
    """Syncs a folder, so that its entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def process_is_gone(process_id: int) -> bool:
    """Returns whether no process on this machine has this id."""
    try:
        os.kill(process_id, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)  # another user's process may not be signalled
    return False
