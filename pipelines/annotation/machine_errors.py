"""Errors of the machine that annotates, such as a full disk, as opposed to errors of a video."""

import errno
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vis_core.errors import MachineError, VisError, first_line, shown_name

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_FILES = {errno.EMFILE, errno.ENFILE}
_NO_MEMORY = {errno.ENOMEM, errno.EAGAIN}
_DISK = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT}
# Errors that no content of a file can cause, whatever class of error reports them
_NEVER_A_FILE = _NO_ROOM | _NO_FILES | _NO_MEMORY | _DISK | {errno.EROFS}
# PyTorch raises a plain RuntimeError for many errors of a GPU and its libraries
_GPU_WORDS = re.compile(r"\b(CUDA|cuDNN|CUBLAS\w*|CUDNN\w*|NCCL|HIP|MPS)\b")
_GPU_CLASSES = {"OutOfMemoryError", "AcceleratorError"}  # of torch, which this module never loads
_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "can't start new thread")
# How earlier releases quarantined a video after three exceptions of its worker
_QUARANTINED = re.compile(r"lost its worker \d+ times \((\w+)")
_OS_ERRORS: tuple[type[OSError], ...] = (
    OSError,
    *OSError.__subclasses__(),
    *ConnectionError.__subclasses__(),
)
_EXCEPTIONS = {error.__name__ for error in _OS_ERRORS} | {"MemoryError", "ArrowMemoryError"}
_RAY_KILLED = "Task was killed"  # an OutOfMemoryError of Ray reports the death of a process
_REASON_LENGTH = 160


@contextmanager
def machine_errors_named(doing: str) -> Iterator[None]:
    """Turns an error of this machine into a MachineError with its mend; passes on other errors.

    Any OSError of a worker is the machine's: an unreadable video raises a VideoDecodeError.
    """
    try:
        yield
    except VisError as error:
        cause = error.__cause__ or error.__context__
        is_named = error.exit_code == MachineError.exit_code
        if is_named or not isinstance(cause, OSError) or cause.errno not in _NEVER_A_FILE:
            raise
        raise _named(cause, _mend_of_files(cause), doing) from error
    except (OSError, MemoryError, RuntimeError) as error:
        mend = _mend(error)
        if mend is None:
            raise
        raise _named(error, mend, doing) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error means that memory ran out."""
    # PyTorch has no error class for running out of main memory
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (
            type(error).__name__ == "OutOfMemoryError"
            or any(words in str(error) for words in _MEMORY_WORDS)
        )
    )


def raise_machine_error(reason: str) -> None:
    """Raises an OSError if a decoder's reason for an unreadable file is the machine's error.

    A single file may be unreadable because of a damaged disk, so EIO is not one of them.
    """
    for code in _NEVER_A_FILE - {errno.EIO}:
        if os.strerror(code) in reason:
            raise OSError(code, os.strerror(code))


def was_machine_error(kind: str, reason: str) -> bool:
    """Returns whether a recorded failure, perhaps of an earlier release, is the machine's."""
    worded = any(os.strerror(code) in reason for code in _NEVER_A_FILE)
    if kind == "unreadable":
        return worded or os.strerror(errno.ENOENT) in reason
    quarantined = _QUARANTINED.match(reason)
    if quarantined is None or _RAY_KILLED in reason:
        return False
    words = worded or _GPU_WORDS.search(reason) or any(map(reason.__contains__, _MEMORY_WORDS))
    return bool(words) or quarantined[1] in _EXCEPTIONS | _GPU_CLASSES


def _named(error: BaseException, mend: str, doing: str) -> MachineError:
    reason = shown_name(f"{type(error).__name__}: {first_line(error)}"[:_REASON_LENGTH])
    return MachineError(
        f"{socket.gethostname()}: {reason} ({doing}); {mend}, then run the same command again;"
        " no video was put aside for it"
    )


def _mend(error: OSError | MemoryError | RuntimeError) -> str | None:
    """Returns how to mend an error of the machine; None if it is another error."""
    is_of_gpu = type(error).__name__ in _GPU_CLASSES or _GPU_WORDS.search(str(error))
    if isinstance(error, RuntimeError) and is_of_gpu:
        return "check the GPU (nvidia-smi), or lower inference.chunk_frames or the workers per GPU"
    if is_out_of_memory(error):
        return "use fewer workers (--workers) or a machine with more memory"
    return _mend_of_files(error) if isinstance(error, OSError) else None


def _mend_of_files(error: OSError) -> str:
    where = _folder_of(error)
    if error.errno in _NO_ROOM:
        return f"make room in {where}, or set TMPDIR to a folder with room"
    if error.errno in _NO_ACCESS:
        return f"give write access to {where}, or set TMPDIR to another folder"
    if error.errno in _NO_FILES:
        return "raise the limit on open files (ulimit -n)"
    if error.errno in _NO_MEMORY:
        return "use fewer workers (--workers) or a machine with more memory"
    if error.errno == errno.ENOENT:
        return f"restore {where}, or set TMPDIR to a folder that no other program removes"
    return f"check the disks of {where}"


def _folder_of(error: OSError) -> str:
    """Returns the folder of the error's file, or the folder for temporary files."""
    if isinstance(error.filename, str):
        return shown_name(Path(error.filename).parent)
    try:
        return f"TMPDIR ({shown_name(tempfile.gettempdir())})"
    except OSError:
        return "TMPDIR"
