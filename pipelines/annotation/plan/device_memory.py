"""The memory that a network has: what is free, what this process holds, and the peak of a block."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import torch

_LOOK_EVERY_S = 0.002  # a peak that is shorter goes unseen
_CONTROL_GROUP = Path("/sys/fs/cgroup")


@dataclass
class Peak:
    """Is the most that this process held while a block ran.

    Attributes:
        num_bytes: Complete when the block has ended.
    """

    num_bytes: int = 0


class Memory(Protocol):
    """Is the memory of the device that a network runs on."""

    def free_bytes(self) -> int:
        """What nobody holds."""

    def held_bytes(self) -> int:
        """What this process holds."""

    def watch(self) -> AbstractContextManager[Peak]:
        """Finds the peak of a block."""


def memory_of(device: torch.device) -> Memory:
    """The memory of a device."""
    return GpuMemory(device) if device.type == "cuda" else ProcessMemory()


class ProcessMemory:
    """Is the main memory, within the limit of the container if there is one."""

    def __init__(self, control_group: Path = _CONTROL_GROUP) -> None:
        self._process = psutil.Process()
        self._control_group = control_group

    def free_bytes(self) -> int:
        """What can be had without swapping."""
        free = int(psutil.virtual_memory().available)
        return min(free, _free_in_control_group(self._control_group) or free)

    def held_bytes(self) -> int:
        """Resident memory."""
        return int(self._process.memory_info().rss)

    @contextmanager
    def watch(self) -> Iterator[Peak]:
        """Looks at the resident memory again and again, in a thread."""
        peak, ended = Peak(self.held_bytes()), threading.Event()

        def look() -> None:
            while not ended.wait(_LOOK_EVERY_S):
                peak.num_bytes = max(peak.num_bytes, self.held_bytes())

        thread = threading.Thread(target=look, daemon=True, name="memory")
        thread.start()
        try:
            yield peak
        finally:
            ended.set()
            thread.join()
            peak.num_bytes = max(peak.num_bytes, self.held_bytes())


class GpuMemory:
    """Is the memory of one GPU; what PyTorch has reserved counts as held."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free_bytes(self) -> int:
        """What neither this process nor another one holds."""
        return int(torch.cuda.mem_get_info(self._device)[0])

    def held_bytes(self) -> int:
        """What PyTorch has reserved and needs."""
        torch.cuda.empty_cache()
        return int(torch.cuda.memory_reserved(self._device))

    @contextmanager
    def watch(self) -> Iterator[Peak]:
        """Reads PyTorch's own peak."""
        peak = Peak(self.held_bytes())
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            yield peak
        finally:
            peak.num_bytes = int(torch.cuda.max_memory_reserved(self._device))


def _free_in_control_group(folder: Path) -> int | None:
    """What the container may still take (cgroup v2); None if it has no limit.

    Files that were read are counted as used there, and given up when memory is asked for.
    """
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        rows = (folder / "memory.stat").read_text().splitlines()
    except OSError:  # no such thing on this system
        return None
    if not limit.isdigit():
        return None
    cached = sum(int(row.split()[1]) for row in rows if row.startswith("inactive_file "))
    return max(0, int(limit) - used + cached)
