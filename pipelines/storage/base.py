"""The interface of a store of objects."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vis_core.errors import MissingObjectError


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

    def remove_stale_partials(self) -> None:
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
