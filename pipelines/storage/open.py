"""Local folders and s3:// prefixes behind one small interface.

What is written once appears whole or not at all, and the first writer wins: that is the only
coordination between workers, jobs and reruns. S3 is in ``s3.py``.
"""

import filecmp
import os
import re
import socket
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from vis_core.errors import ConfigError, MissingObjectError, StorageError
from vis_core.media.video_files import shown_name

PARTIAL_FOLDER = ".partial"  # files on their way; never listed
_CHUNK = 1 << 22  # bytes that are copied at once
_TRIES = 10  # to put a file into a folder that others remove
Put = TypeVar("Put")


@dataclass(frozen=True)
class StoredObject:
    """Is one entry of a listing.

    Attributes:
        key: Name below the root, with "/".
        size: Bytes.
        etag: What the store says of the content; empty for a folder.
        modified_s: When it was last changed, in seconds since 1970.
    """

    key: str
    size: int
    etag: str = ""
    modified_s: float = 0.0


class Storage(Protocol):
    """Is a root under which objects are read and written; can be sent to other processes."""

    @property
    def uri(self) -> str:
        """The root, as a user writes it."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yields the objects whose key starts with ``prefix`` (a folder: "results/"), sorted."""

    def exists(self, key: str) -> bool:
        """Whether there is an object."""

    def stat(self, key: str) -> StoredObject | None:
        """Size and date of an object; None if there is none."""

    def read(self, key: str) -> bytes:
        """The content of an object; a MissingObjectError if there is none."""

    def as_file(self, key: str, etag: str = "") -> AbstractContextManager[Path]:
        """Lends an object as a local file; with ``etag``, only if it is still that content."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Writes an object, whole, unless there is one; says whether this content is now there."""

    def write_once_file(self, key: str, path: Path) -> bool:
        """Writes the content of a local file, as ``write_once`` does; memory holds little of it."""

    def replace(self, key: str, body: bytes) -> None:
        """Writes an object, whole, in place of one that may be there."""

    def replace_file(self, key: str, path: Path) -> None:
        """Writes the content of a local file, as ``replace`` does; memory holds little of it."""

    def delete(self, key: str) -> None:
        """Removes an object that may be there."""

    def sweep(self) -> None:
        """Removes what writers of this machine that are dead have left half-written."""

    def check_conditional_writes(self) -> None:
        """Makes sure that what is written once is; cheap, to be called before much work."""


def read_if_there(storage: Storage, key: str) -> bytes | None:
    """Reads an object; None if there is none: a job beside this one may have cleared it.

    The attempt itself tells: whoever looks again may find what came meanwhile.

    Raises:
        StorageError: It is there and cannot be read.
    """
    try:
        return storage.read(key)
    except MissingObjectError:
        return None


def open_storage(uri: Path | str) -> Storage:
    """Opens a folder or an s3:// prefix; nothing is read, written or made yet.

    Raises:
        ConfigError: If the scheme is another one, or the bucket has no name.
    """
    scheme, separator, rest = str(uri).partition("://")
    if not separator or isinstance(uri, Path):
        return LocalStorage(Path(uri))
    if scheme != "s3":
        raise ConfigError(f"{scheme}://…: expected a folder or s3://bucket/prefix")
    bucket, _, prefix = rest.partition("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise ConfigError(f"s3://{shown_name(bucket)}: no bucket has this name; correct the uri")
    from pipelines.storage.s3 import S3Storage
    from pipelines.storage.s3_client import Patience

    return S3Storage(bucket, prefix.strip("/"), _s3_endpoint(), Patience.of_environment())


def _s3_endpoint() -> str | None:
    """The server that the environment names, as every tool of AWS reads it; None means AWS."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if endpoint := os.environ.get(name):
            if not re.match("https?://[^/]", endpoint):
                raise ConfigError(f"{name}: expected https://host or http://host:port")
            return endpoint
    return None


def absolute_uri(uri: str | None) -> str | None:
    """Makes a folder mean the same in every process: workers of Ray run in folders of their own."""
    if uri is None or "://" in uri:
        return uri
    return str(Path(uri).absolute())


@dataclass(frozen=True)
class LocalStorage:
    """Is a folder.

    Attributes:
        root: The folder; made when something is written.
    """

    root: Path

    @property
    def uri(self) -> str:
        """The folder."""
        return str(self.root)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yields the regular files below ``root / prefix``, sorted by key."""
        try:
            for parent, folders, files in os.walk(self._path(prefix or ".")):
                folders[:] = sorted(name for name in folders if name != PARTIAL_FOLDER)
                for name in sorted(files):
                    path = Path(parent, name)
                    try:
                        found = path.lstat()
                    except FileNotFoundError:  # another process removed it meanwhile
                        continue
                    key = path.relative_to(self.root).as_posix()
                    yield StoredObject(key, found.st_size, modified_s=found.st_mtime)
        except OSError as error:
            raise self._refused("list", prefix, error) from error

    def exists(self, key: str) -> bool:
        """Whether there is a file."""
        try:
            return self._path(key).is_file()
        except OSError as error:
            raise self._refused("look up", key, error) from error

    def stat(self, key: str) -> StoredObject | None:
        """Size and date of a regular file; None if there is none."""
        try:
            found = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._refused("look up", key, error) from error
        if not stat.S_ISREG(found.st_mode):
            return None
        return StoredObject(key, found.st_size, modified_s=found.st_mtime)

    def read(self, key: str) -> bytes:
        """The content of a file."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            where = shown_name(self.root / key)
            raise MissingObjectError(
                f"cannot read {where}: there is none, or no longer; run the same command again"
            ) from error
        except OSError as error:
            raise self._refused("read", key, error) from error

    def as_file(self, key: str, etag: str = "") -> AbstractContextManager[Path]:  # noqa: ARG002
        """Lends the file itself."""
        return nullcontext(self._path(key))

    def write_once(self, key: str, body: bytes) -> bool:
        """Writes beside, syncs, and links under the final name, which fails if it exists."""
        return self._write_once(key, (body,), lambda final: final.read_bytes() == body)

    def write_once_file(self, key: str, path: Path) -> bool:
        """Copies beside, syncs, and links under the final name, which fails if it exists."""
        return self._write_once(
            key, _chunks(path), lambda final: filecmp.cmp(final, path, shallow=False)
        )

    def replace(self, key: str, body: bytes) -> None:
        """Writes beside, syncs, and renames over the final name."""
        self._replace(key, (body,))

    def replace_file(self, key: str, path: Path) -> None:
        """Copies beside, syncs, and renames over the final name."""
        self._replace(key, _chunks(path))

    def delete(self, key: str) -> None:
        """Removes a file, and its folder when that was the last one."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            if path.parent != self.root:
                with suppress(OSError):  # others are in it, or it is gone
                    path.parent.rmdir()
        except OSError as error:
            raise self._refused("delete", key, error) from error

    def sweep(self) -> None:
        """Removes partial files whose writer, a process of this machine, is gone."""
        folder = self.root / PARTIAL_FOLDER
        for path in folder.iterdir() if folder.is_dir() else ():
            host, _, rest = path.name.rpartition("@")
            process_id = rest.partition("-")[0]
            if host == socket.gethostname() and process_id.isdigit() and is_gone(int(process_id)):
                path.unlink(missing_ok=True)

    def check_conditional_writes(self) -> None:
        """Does nothing: no file system links over a name that exists."""

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        assert ".." not in parts and not key.startswith("/"), f"key leaves the root: {key!r}"
        return self.root / key

    def _write_once(
        self, key: str, chunks: Iterable[bytes], is_content: Callable[[Path], bool]
    ) -> bool:
        """Writes chunks under a name that is free, or looks whether they are there already."""
        final = self._path(key)
        try:
            with suppress(FileNotFoundError):  # removed since
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
            raise self._refused("write", key, error) from error

    def _replace(self, key: str, chunks: Iterable[bytes]) -> None:
        """Writes chunks over whatever has the name."""
        final = self._path(key)
        try:
            partial = self._write_partial(chunks)
            try:
                _put(final, lambda: partial.replace(final))
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._refused("write", key, error) from error

    def _write_partial(self, chunks: Iterable[bytes]) -> Path:
        """Writes and syncs a file whose name says whose it is."""
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

    def _refused(self, what: str, key: str, error: OSError) -> StorageError:
        where = shown_name(self.root / key)
        return StorageError(
            f"cannot {what} {where} ({error.strerror or error}); make room or give access, then run"
            " the same command again"
        )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _put(final: Path, put: Callable[[], Put]) -> Put:
    """Puts a file into its folder, which others may remove, with what is in it, at any time."""
    for left in reversed(range(_TRIES)):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            answer = put()
            break
        except (FileNotFoundError, FileExistsError):  # the folder was there, and is gone
            if not left:
                raise
    with suppress(FileNotFoundError):
        _sync_folder(final.parent)
    return answer


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_gone(process_id: int) -> bool:
    """Whether no process of this machine has the number."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
