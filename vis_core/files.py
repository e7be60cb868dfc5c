"""One way to write a file that nobody ever sees half-written."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vis_core.errors import StorageError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write; on success it becomes ``path``, else it goes.

    Args:
        path: The file to be; its folders are made.

    Raises:
        StorageError: A folder or a disk refuses.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}: {reason}; free or open it, run again") from error
    finally:
        with suppress(OSError):  # the first error is the one to tell
            partial.unlink(missing_ok=True)
