"""Takes from this process what decoding a video does not need. There is no way back.

Nothing here stops a process from reading files: it must open the video. What it does not get:
memory without end, a file to write, a core dump with what it read, and, where the kernel lets it
go, the network.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

MAX_OPEN_FILES = 32
_MIB = 2**20
# linux/prctl.h, linux/sched.h, linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAPABILITY_VERSION = 0x20080522
_CAP_DAC_READ_SEARCH = 2


def confine(max_memory_mib: int) -> None:
    """Sets the limits of this process.

    Args:
        max_memory_mib: Address space on top of what the process has now (Linux).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        leave_network(libc)
        drop_capabilities(libc)
        limit = _address_space_bytes() + max_memory_mib * _MIB
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        if most == resource.RLIM_INFINITY or limit < most:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def leave_network(libc: ctypes.CDLL) -> None:
    """Moves to a network of its own, without a way out, if the kernel permits.

    Root goes alone, so that it can still open the files of others; another user needs a namespace
    of users for it, which many containers and some distributions forbid. Then the network stays.
    """
    if libc.unshare(_CLONE_NEWNET) != 0 and os.geteuid() != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """Gives up all that root may do but read the files of others: also to take the network back."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    kept = 1 << _CAP_DAC_READ_SEARCH if os.geteuid() == 0 else 0
    # effective, permitted, inheritable: of the lower 32 capabilities, then of the upper ones
    libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0))


def end_with_parent(parent: int) -> None:
    """Asks the kernel to end this process when the thread that started it ends (Linux).

    Args:
        parent: Process id of the parent; if it has gone already, this process ends now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def fall_silent() -> None:
    """Closes the ways in and out that every process is born with."""
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        os.close(nothing)


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
