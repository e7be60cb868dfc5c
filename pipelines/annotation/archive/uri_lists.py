"""Archives given as a list, which is a text, CSV or Parquet file of paths and s3:// uris.

A text file has one entry per line. CSV and Parquet files have a column ``uri``, and also allow
names with line feeds.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pipelines.storage.base import Storage, StoredObject
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import open_storage
from vis_core.errors import ConfigError, shown_name

LIST_SUFFIXES = (".txt", ".csv", ".parquet")
_COLUMN = "uri"
_LOOK_UPS = 16  # concurrent look-ups, each with one round trip


@dataclass(frozen=True)
class ListedStorage:
    """The videos in a list, from any store; their uris are the keys."""

    uri: str  # path of the list

    def as_file(self, key: str, etag: str = "") -> AbstractContextManager[Path]:
        """Provides a video as a local file."""
        storage, name = _place(key)
        return storage.as_file(name, etag)

    def stat(self, key: str) -> StoredObject | None:
        """Returns a video's size and date, or None if it does not exist."""
        storage, name = _place(key)
        return storage.stat(name)


def is_list(uri: Path | str) -> bool:
    """Returns whether an archive is given as a list."""
    path = Path(uri)
    return "://" not in str(uri) and path.suffix.lower() in LIST_SUFFIXES and path.is_file()


def read_uris(path: Path) -> list[str]:
    """Reads a list; paths are relative to its folder, and duplicates count once.

    Raises ConfigError if the list cannot be read, or a row has no uri; the message names the row.
    """
    uris = []
    try:
        for row, text in enumerate(_rows(path), start=1):
            if not isinstance(text, str) or not text:
                raise ConfigError(f"{path}: row {row} holds no uri; give each row one, or drop it")
            absolute = os.path.abspath(path.parent / text)  # noqa: PTH100 (no links)
            uris.append(text if "://" in text else absolute)
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as a list ({error})") from error
    return list(dict.fromkeys(uris))


def look_up(uris: list[str], storage: ListedStorage) -> Iterator[tuple[str, StoredObject | None]]:
    """Yields each uri with its object, or None if it is missing; looks up several in parallel."""
    with ThreadPoolExecutor(_LOOK_UPS) as threads:
        yield from zip(uris, threads.map(storage.stat, uris), strict=True)


def _rows(path: Path) -> Iterator[object]:
    suffix = path.suffix.lower()
    if suffix == ".txt":
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            yield from (line for line in (raw.rstrip("\r\n") for raw in file) if line)
    elif suffix == ".csv":
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            _require_column(path, rows.fieldnames or ())
            yield from (row[_COLUMN] for row in rows)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(path)
        except pa.ArrowException as error:
            raise ConfigError(f"{path}: cannot be read as Parquet ({error})") from error
        _require_column(path, table.schema_arrow.names)
        for batch in table.iter_batches(columns=[_COLUMN]):
            yield from batch.column(_COLUMN).to_pylist()


def _require_column(path: Path, names: Sequence[str]) -> None:
    if _COLUMN not in names:
        found = ", ".join(map(shown_name, names))
        raise ConfigError(f"{path}: expected a column {_COLUMN!r}, found {found}")


def _place(uri: str) -> tuple[Storage, str]:
    """Returns the store that a uri refers to, and the key in it."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return LocalStorage(Path("/")), uri.lstrip("/")
    bucket, _, key = rest.partition("/")
    return open_storage(f"{scheme}://{bucket}"), key
