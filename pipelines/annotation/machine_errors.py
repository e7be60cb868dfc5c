"""Errors of the machine that annotates, such as a full disk, as opposed to errors of a video."""

import errno
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vis_core.errors import MachineError, VisError, first_line

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_FILES = {errno.EMFILE, errno.ENFILE}
# PyTorch raises a plain RuntimeError for many errors of a GPU and its libraries
_GPU_WORDS = re.compile(r"\b(CUDA|cuDNN|CUBLAS\w*|CUDNN\w*|NCCL|HIP)\b")


@contextmanager
def machine_errors_named(doing: str) -> Iterator[None]:
    """Turns an error of this machine into a MachineError with its mend; passes on other errors.

    Any OSError of a worker is the machine's: an unreadable video raises a VideoDecodeError.
    """
    try:
        yield
    except VisError:
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        mend = _mend(error)
        if mend is None:
            raise
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise MachineError(
            f"{socket.gethostname()}: {reason} ({doing}); {mend}, then run the same command again;"
            " no video was put aside for it"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error means that memory ran out."""
    # PyTorch has no error class for running out of main memory
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "not enough memory")
    )


def _mend(error: OSError | MemoryError | RuntimeError) -> str | None:
    """Returns how to mend an error of the machine; None if it is another error."""
    if is_out_of_memory(error) and not isinstance(error, torch.OutOfMemoryError):
        return "use fewer workers (--workers) or a machine with more memory"
    if isinstance(error, OSError):
        return _mend_of_files(error)
    if isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError) or _GPU_WORDS.search(
        str(error)
    ):
        return "check the GPU (nvidia-smi), or lower inference.chunk_frames or the workers per GPU"
    return None


def _mend_of_files(error: OSError) -> str:
    where = f"TMPDIR ({_temporary_folder()})"
    if error.errno in _NO_ROOM:
        return f"make room in {where} and in --out"
    if error.errno in _NO_ACCESS:
        return f"give access to {where}"
    if error.errno in _NO_FILES:
        return "raise the limit on open files (ulimit -n)"
    if error.errno == errno.ENOMEM:
        return "use fewer workers (--workers) or a machine with more memory"
    if error.errno == errno.ENOENT:
        return f"restore {where}, or set TMPDIR to a folder that no other program removes"
    return f"check the disks of {where}"


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "no usable folder"
