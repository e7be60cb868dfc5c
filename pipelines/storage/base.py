"""The interface of an object store."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vis_core.errors import MissingObjectError


@dataclass(frozen=True)
class StoredObject:
    """One entry in a listing."""

    key: str  # name below the root, with "/"
    size: int
    etag: str = ""  # ETag of the content; empty in a local folder
    modified_s: float = 0.0  # time of the last change, in seconds since 1970


class Storage(Protocol):
    """A root below which objects are read and written; it can be sent to other processes."""

    @property
    def uri(self) -> str:
        """The root, as users write it."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yields the objects below ``prefix``, which is empty or ends with "/"."""

    def exists(self, key: str) -> bool:
        """Returns whether an object exists."""

    def stat(self, key: str) -> StoredObject | None:
        """Returns an object's size and date, or None if it does not exist."""

    def read(self, key: str) -> bytes:
        """Reads an object; raises MissingObjectError if it does not exist."""

    def as_file(self, key: str, etag: str = "") -> AbstractContextManager[Path]:
        """Provides an object as a local file; with ``etag``, only if its content has that ETag."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Writes a whole object unless it exists; returns whether the object has this content."""

    def write_once_file(self, key: str, path: Path) -> bool:
        """Writes a local file in small chunks, with the guarantees of ``write_once``."""

    def replace(self, key: str, body: bytes) -> None:
        """Writes a whole object, replacing any existing one."""

    def replace_file(self, key: str, path: Path) -> None:
        """Writes a local file in small chunks, with the guarantees of ``replace``."""

    def delete(self, key: str) -> None:
        """Removes an object if it exists."""

    def remove_stale_partials(self) -> None:
        """Removes partial files of writers on this machine that have ended."""

    def check_conditional_writes(self) -> None:
        """Checks that ``write_once`` never overwrites; quick enough to call before every job."""


def read_if_there(storage: Storage, key: str) -> bytes | None:
    """Reads an object; returns None if it does not exist, for example if a job has removed it.

    A single request is made, because the object may be removed between a check and the request.
    Raises StorageError if the object exists but cannot be read.
    """
    try:
        return storage.read(key)
    except MissingObjectError:
        return None
