"""A lock that keeps two processes from using the same run folder."""

import fcntl
import os
from pathlib import Path

from vis_core.errors import ConfigError

LOCK = ".lock"
_held: dict[Path, int] = {}  # descriptors, open until this process ends


def hold_folder(folder: Path) -> None:
    """Locks a run folder until this process ends; raises ConfigError if another has locked it."""
    resolved = folder.resolve()
    if resolved in _held:
        return
    descriptor = os.open(resolved / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"{folder}: another longtake (process {owner}) works in it; wait for it, stop it, or"
            " choose another --out"
        ) from error
    except OSError:  # a file system without locks; continue without one
        os.close(descriptor)
        return
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
    _held[resolved] = descriptor
