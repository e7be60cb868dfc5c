"""Opening of JSON files, plain or packed as .zip or .gz, with a limit on the unpacked size."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vis_core.errors import AnnotationError

MAX_UNPACKED = 1 << 29  # bytes in memory; a zip bomb has a thousand times its own size
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)  # the last: encrypted


@contextmanager
def open_json(path: Path) -> Iterator[IO[bytes]]:
    """Opens a JSON file, or the only one in a .zip or .gz, which its first bytes tell.

    Raises OSError if the file cannot be opened, and AnnotationError if the packed content is
    damaged, encrypted, too large or not one JSON file.
    """
    with path.open("rb") as file:
        start = file.read(2)
        file.seek(0)
        if start in (b"PK", b"\x1f\x8b"):
            yield io.BytesIO(_unpacked(path, file, is_zip=start == b"PK"))
        else:
            yield file


def _unpacked(path: Path, file: IO[bytes], *, is_zip: bool) -> bytes:
    try:
        if is_zip:
            archive = zipfile.ZipFile(file)
            names = [n for n in archive.namelist() if n[-5:].lower() == ".json" and n[:2] != "__"]
            if len(names) != 1:
                raise zipfile.BadZipFile(f"{len(names)} .json files")
            content = archive.open(names[0]).read(MAX_UNPACKED + 1)
        else:
            content = gzip.GzipFile(fileobj=file).read(MAX_UNPACKED + 1)
        if len(content) > MAX_UNPACKED:
            raise zipfile.BadZipFile(f"more than {MAX_UNPACKED} bytes")
    except _FAULTS as error:
        raise AnnotationError(
            f"{path}: expected one whole .json file in a .zip or .gz, found {error}; unpack it and "
            "give the .json file"
        ) from None
    return content
