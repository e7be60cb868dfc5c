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

LARGEST = 64  # frames per batch; a worker also keeps this many decoded images
MEMORY_SHARE = 0.8  # of the free memory; the rest is for masks, run lengths and the decoder
_REPEATS = 2
_GAIN = 1.05  # a larger batch must be faster by this factor to be worth its memory
# PyTorch has no error class for running out of main memory
_OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class BatchRun:
    """The speed of the network alone, and its memory use, for one batch size."""

    frames: int
    frames_per_s: float = 0.0  # 0 if memory ran out
    peak_bytes: int = 0  # in addition to the loaded model; 0 if memory ran out
    fits: bool = False  # whether every worker on the machine can use that much
    out_of_memory: bool = False


@dataclass(frozen=True)
class BatchSpeeds:
    """Measurements for increasing batch sizes."""

    runs: list[BatchRun]
    limit_bytes: int = 0  # memory that each worker may use in addition to the loaded model
    held_bytes: int = 0  # memory of a worker with the loaded model
    stopped: str = ""  # why no larger batch was measured

    def best(self) -> BatchRun | None:
        """Returns the smallest batch nearly as fast as the fastest that fits; None if none fits."""
        fitting = [run for run in self.runs if run.fits]
        top = max((run.frames_per_s for run in fitting), default=0.0)
        return next((run for run in fitting if _GAIN * run.frames_per_s >= top), None)

    def allowed(self, frames: int) -> int:
        """Returns ``frames``, or the largest batch known to fit in memory if that is smaller."""
        if "memory" not in self.stopped:
            return frames
        return min(frames, max((run.frames for run in self.runs if run.fits), default=1))


def measure_batches(
    run: Callable[[int], None],
    memory: "DeviceMemory",
    clock: Callable[[], float],
    num_sharers: int,
    budget_s: float,
) -> BatchSpeeds:
    """Doubles the batch size while speed rises and memory and time allow.

    A batch that would exceed the limit, judging by the previous one, is not tried: the system may
    kill a process that requests too much memory. Nor is one that would exceed ``budget_s`` seconds.
    ``run`` processes a number of frames and waits for the result; ``num_sharers`` workers share
    the memory.
    """
    start_s, held = clock(), memory.held_bytes()
    limit = int(MEMORY_SHARE * (memory.free_bytes() + held) / num_sharers) - held
    runs: list[BatchRun] = []

    def stopped(why: str) -> BatchSpeeds:
        return BatchSpeeds(runs, limit, held, why)

    frames = 1
    while frames <= LARGEST:
        if runs and 2 * runs[-1].peak_bytes > limit:
            return stopped(f"{frames} would need more memory than there is")
        expected_s = (1 + _REPEATS) * frames / runs[-1].frames_per_s if runs else 0.0
        if clock() - start_s + expected_s > budget_s:
            return stopped(f"{frames} would take too long to measure")
        memory.reset_peak()
        try:
            seconds = _fastest(run, frames, clock)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            runs.append(BatchRun(frames, out_of_memory=True))
            return stopped(f"{frames} ran out of memory")
        need = max(0, memory.peak_bytes() - held)
        runs.append(BatchRun(frames, frames / seconds, need, fits=need <= limit))
        if len(runs) > 1 and runs[-1].frames_per_s < _GAIN * runs[-2].frames_per_s:
            return stopped(f"{frames} is hardly faster than {frames // 2}")
        frames *= 2
    return stopped(f"{LARGEST} is the most that is tried")


def _fastest(run: Callable[[int], None], frames: int, clock: Callable[[], float]) -> float:
    """Returns the shortest of several run times, after one warm-up run."""
    times_s = []
    for _ in range(1 + _REPEATS):
        start_s = clock()
        run(frames)
        times_s.append(clock() - start_s)
    return max(min(times_s[1:]), 1e-9)  # a clock may be too coarse


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error means that memory ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in _OUT_OF_MEMORY_WORDS
    )


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
    v1 = "memory/memory."
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        (f"{v1}limit_in_bytes", f"{v1}usage_in_bytes", f"{v1}stat"),
    ):
        with suppress(OSError, ValueError):  # no such file, or "max"
            free = int((root / limit).read_text()) - int((root / used).read_text())
            rows = (row.split() for row in (root / stat).read_text().splitlines())
            # cached files count as used, but are dropped when memory is needed
            return max(0, free + sum(int(size) for name, size in rows if name == "inactive_file"))
    return math.inf
