"""Measures how many frames at once suit a network here: speed and memory, one size after another.

The result of a video does not depend on ``chunk_frames``, only how long it takes and what it needs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from pipelines.annotation.plan.device_memory import Memory

LARGEST = 64  # frames at once; a worker also holds this many decoded images
MEMORY_SHARE = 0.8  # of what is free; the rest is for masks, run lengths and the decoder
_REPEATS = 2
_NEARLY = 0.95  # of the best speed: what a larger batch adds to it is not worth its memory
# what PyTorch says when the main memory does not suffice; it has no class of its own
_REFUSALS = ("can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class BatchRun:
    """Is what one number of frames at once took.

    Attributes:
        frames: How many.
        frames_per_s: Of the network alone; 0 if it ran out of memory.
        peak_bytes: What it needed beside the loaded model; 0 if it ran out of memory.
        fits: Whether the memory suffices for all workers of the machine.
        out_of_memory: Whether the device refused.
    """

    frames: int
    frames_per_s: float
    peak_bytes: int
    fits: bool
    out_of_memory: bool = False


@dataclass(frozen=True)
class BatchSpeeds:
    """Is what all numbers of frames at once took.

    Attributes:
        runs: In growing order.
        limit_bytes: What each worker may need beside the loaded model.
        held_bytes: What a worker needs for the loaded model and the program.
        stopped: Why no larger number was tried.
        by_memory: Whether it was for want of memory.
    """

    runs: list[BatchRun] = field(default_factory=list)
    limit_bytes: int = 0
    held_bytes: int = 0
    stopped: str = ""
    by_memory: bool = False

    def best(self) -> BatchRun | None:
        """The smallest that is nearly as fast as the fastest that fits; None if none fits."""
        fitting = [run for run in self.runs if run.fits]
        top = max((run.frames_per_s for run in fitting), default=0.0)
        return next((run for run in fitting if run.frames_per_s >= _NEARLY * top), None)

    def allowed(self, frames: int) -> int:
        """``frames``, or the most that memory is known to allow if that is less; at least 1."""
        fitting = [run.frames for run in self.runs if run.fits]
        if self.by_memory or len(fitting) < len(self.runs):
            return min(frames, max(fitting, default=1))
        return frames


def memory_for_each(memory: Memory, num_sharers: int) -> int:
    """Bytes that each of some workers may need beside its loaded model, this process being one."""
    held = memory.held_bytes()
    return int(MEMORY_SHARE * (memory.free_bytes() + held) / num_sharers) - held


def measure_batches(
    run: Callable[[int], None],
    memory: Memory,
    clock: Callable[[], float],
    *,
    num_sharers: int = 1,
    budget_s: float,
    largest: int = LARGEST,
) -> BatchSpeeds:
    """Doubles the number of frames at once until memory, time or ``largest`` ends it.

    A size whose need, judged by those before, exceeds the limit is not tried: where memory is
    promised before it is there, trying would kill the process.

    Args:
        run: Takes so many frames through the network, and waits until it has.
        memory: Of the device.
        clock: Gives seconds from any start.
        num_sharers: Workers that share the memory.
        budget_s: Seconds; a size that would exceed them, judged by the last one, is not tried.
        largest: Frames at once that are tried at most.
    """
    start_s, held = clock(), memory.held_bytes()
    limit = memory_for_each(memory, num_sharers)
    runs: list[BatchRun] = []

    def ended(why: str, by_memory: bool = False) -> BatchSpeeds:
        return BatchSpeeds(runs, limit, held, why, by_memory)

    frames = 1
    while frames <= largest:
        if runs and _expected_peak(runs) > limit:
            return ended(f"{frames} would need more memory than there is", by_memory=True)
        expected_s = (1 + _REPEATS) * frames / runs[-1].frames_per_s if runs else 0.0
        if clock() - start_s + expected_s > budget_s:
            return ended(f"{frames} would take too long to measure")
        speed, peak = _measure(run, frames, memory, clock)
        if speed is None:
            runs.append(BatchRun(frames, 0.0, 0, fits=False, out_of_memory=True))
            return ended(f"{frames} ran out of memory", by_memory=True)
        need = max(0, peak - held)
        runs.append(BatchRun(frames, speed, need, fits=need <= limit))
        frames *= 2
    return ended(f"{largest} is the most that is tried")


def _measure(
    run: Callable[[int], None], frames: int, memory: Memory, clock: Callable[[], float]
) -> tuple[float | None, int]:
    """Runs one size, once to warm up; gives the best frames a second, or None, and the peak."""
    durations = []
    try:
        with memory.watch() as peak:
            run(frames)
            for _ in range(_REPEATS):
                start_s = clock()
                run(frames)
                durations.append(clock() - start_s)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None, 0
    return frames / max(min(durations), 1e-9), peak.num_bytes  # a clock may be too coarse


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the system refused memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _REFUSALS)


def _expected_peak(runs: list[BatchRun]) -> float:
    """What twice the last size needs, if each frame adds what the last ones added."""
    last = runs[-1]
    if len(runs) == 1:
        return 2 * last.peak_bytes
    step = (last.peak_bytes - runs[-2].peak_bytes) / (last.frames - runs[-2].frames)
    return last.peak_bytes + max(0.0, step) * last.frames
