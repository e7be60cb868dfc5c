"""The interface of a store of objects."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vis_core.errors import MissingObjectError


@dataclass(frozen=True)
class StoredObject:
    """One entry of a listing."""

    key: str  # name below the root, with "/"
    size: int
    etag: str = ""  # ETag of the content; empty in a local folder
    modified_s: float = 0.0  # time of the last change, in seconds since 1970


class Storage(Protocol):
    """A root under which objects are read and written; can be sent to other processes."""

    @property
    def uri(self) -> str:
        """The root, as users write it."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yields the objects whose key starts with ``prefix`` (a folder: "results/"), sorted."""

    def exists(self, key: str) -> bool:
        """Returns whether an object exists."""

    def stat(self, key: str) -> StoredObject | None:
        """Returns size and date of an object; None if it does not exist."""

    def read(self, key: str) -> bytes:
        """Reads an object; raises MissingObjectError if it does not exist."""

    def as_file(self, key: str, etag: str = "") -> AbstractContextManager[Path]:
        """Provides an object as a local file; with ``etag``, only if it still has that content."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Writes a whole object unless it exists; returns whether it now has this content."""

    def write_once_file(self, key: str, path: Path) -> bool:
        """Writes a local file as ``write_once`` does, in small pieces."""

    def replace(self, key: str, body: bytes) -> None:
        """Writes a whole object, over an existing one if there is one."""

    def replace_file(self, key: str, path: Path) -> None:
        """Writes a local file as ``replace`` does, in small pieces."""

    def delete(self, key: str) -> None:
        """Removes an object if it exists."""

    def remove_stale_partials(self) -> None:
        """Removes partial files of dead writers of this machine."""

    def check_conditional_writes(self) -> None:
        """Checks that ``write_once`` never overwrites; cheap, to call before much work."""


def read_if_there(storage: Storage, key: str) -> bytes | None:
    """Reads an object; returns None if it does not exist, as after a concurrent job has removed it.

    One request decides: a second look could find an object that was written in between.

    Raises:
        StorageError: The object exists and cannot be read.
    """
    try:
        return storage.read(key)
    except MissingObjectError:
        return None
