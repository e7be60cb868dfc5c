"""A network's speed and memory use for batches of 1, 2, 4, ... frames.

``chunk_frames`` does not change a result, only the time and memory it takes.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from pipelines.annotation.machine_errors import is_out_of_memory

LARGEST = 64  # frames per batch; a worker also keeps this many decoded images
MEMORY_SHARE = 0.8  # of the free memory; the rest is for masks, run lengths and the decoder
_REPEATS = 3  # the fastest counts; the first one warms up
_GAIN = 1.05  # a larger batch must be faster by this factor to be worth its memory


@dataclass(frozen=True)
class BatchRun:
    """The speed of the network alone, and its memory use, for one batch size."""

    frames: int
    frames_per_s: float = 0.0  # 0 if memory ran out or would have run out
    peak_bytes: int = 0  # in addition to the loaded model; 0 if there is no speed
    fits: bool = False  # whether every worker on the machine can use that much


@dataclass(frozen=True)
class BatchSpeeds:
    """Measurements for increasing batch sizes; the last one may be a batch that did not fit."""

    runs: list[BatchRun]
    best: int | None  # frames of the fastest batch that fits; None if none fits

    def allowed(self, frames: int) -> int:
        """Returns ``frames``, capped at the largest batch that fits if a larger one did not fit."""
        largest = max((run.frames for run in self.runs if run.fits), default=1)
        return frames if self.runs[-1].fits else min(frames, largest)


def measure_batches(
    run: Callable[[int], float], memory: "DeviceMemory", num_sharers: int, budget_s: float
) -> BatchSpeeds:
    """Doubles the batch size while speed rises and memory and time allow.

    ``run`` processes a number of frames and returns its seconds; ``num_sharers`` workers share the
    memory. A batch that would exceed the limit, judging by the previous one, is not tried: the
    system may kill a process that requests too much memory. After ``budget_s`` seconds, no further
    batch is tried. If memory runs out at a batch of one frame, the error is raised.
    """
    held = memory.held_bytes()
    limit = int(MEMORY_SHARE * (memory.free_bytes() + held) / num_sharers) - held
    runs: list[BatchRun] = []
    best, frames, spent_s = None, 1, 0.0
    while frames <= LARGEST and spent_s < budget_s:
        memory.reset_peak()
        try:
            if runs and 2 * runs[-1].peak_bytes > limit:
                raise MemoryError
            times_s = [run(frames) for _ in range(_REPEATS)]
        except (MemoryError, RuntimeError) as error:
            if not runs or not is_out_of_memory(error):
                raise
            runs.append(BatchRun(frames))
            break
        spent_s += sum(times_s)
        speed, need = frames / max(min(times_s), 1e-9), max(0, memory.peak_bytes() - held)
        runs.append(BatchRun(frames, speed, need, fits=need <= limit))
        if len(runs) > 1 and speed < _GAIN * runs[-2].frames_per_s:
            break
        best, frames = frames if need <= limit else best, 2 * frames
    return BatchSpeeds(runs, best)


class DeviceMemory:
    """The memory of a GPU, or main memory."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None

    def free_bytes(self) -> int:
        """Returns the free bytes, within the container's limit if it has one."""
        if self._gpu is None:
            return int(min(psutil.virtual_memory().available, container_free_bytes()))
        return int(torch.cuda.mem_get_info(self._gpu)[0])

    def held_bytes(self) -> int:
        """Returns the bytes in use by this process."""
        if self._gpu is None:
            return int(psutil.Process().memory_info().rss)
        torch.cuda.empty_cache()
        return int(torch.cuda.memory_reserved(self._gpu))

    def reset_peak(self) -> None:
        """Resets the peak to the bytes in use now."""
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)
            return
        with suppress(OSError):  # without a reset, the peak includes earlier ones
            Path("/proc/self/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """Returns this process's peak bytes in use since the last reset."""
        if self._gpu is not None:
            return int(torch.cuda.max_memory_reserved(self._gpu))
        rows = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:"))


def container_free_bytes(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Returns the bytes that the container may still use (cgroup v2, or v1); inf if unlimited."""
    v2, v1 = (root, "max", "current"), (root / "memory", "limit_in_bytes", "usage_in_bytes")
    for folder, limit, used in (v2, v1):
        with suppress(OSError, ValueError):  # no such file, or "max"
            free = int((folder / f"memory.{limit}").read_text())
            free -= int((folder / f"memory.{used}").read_text())
            rows = map(str.split, (folder / "memory.stat").read_text().splitlines())
            # cached files count as used, but are dropped when memory is needed
            return max(0, free + sum(int(size) for name, size in rows if name == "inactive_file"))
    return math.inf
