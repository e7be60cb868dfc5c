"""Irreversible removal of every privilege that video decoding does not need.

A confined process can still read files, since it must open the video. It has limited memory,
cannot write files or core dumps and, if the kernel permits, has no network access.
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
    """Confines this process; on Linux, its address space may grow by at most ``max_memory_mib``."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        leave_network(libc)
        drop_capabilities(libc)
        limit = _address_space_bytes() + max_memory_mib * _MIB
        _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
        if hard_limit == resource.RLIM_INFINITY or limit < hard_limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def leave_network(libc: ctypes.CDLL) -> None:
    """Moves to a new network namespace without connections, if the kernel permits.

    Root needs no user namespace, so it can still open other users' files. Other users need one; if
    that is forbidden, as in many containers and some distributions, the network stays reachable.
    """
    if libc.unshare(_CLONE_NEWNET) != 0 and os.geteuid() != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """Drops capabilities, so the network cannot be regained; root can still read all files."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    kept = 1 << _CAP_DAC_READ_SEARCH if os.geteuid() == 0 else 0
    # effective, permitted, inheritable: first the lower 32 capabilities, then the upper 32
    libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0))


def end_with_parent(parent: int) -> None:
    """Makes the kernel end this process when the thread that started it ends (Linux).

    If the process ``parent`` has already ended, this process ends now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def close_standard_streams() -> None:
    """Redirects standard input, output and error to the null device."""
    with contextlib.suppress(OSError):
        null_device = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null_device, standard)
        os.close(null_device)


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
