"""The choice of batch size for a machine: doubled until memory or time runs out."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines.annotation.plan.batch_speed import (
    BatchSpeeds,
    container_free_bytes,
    measure_batches,
)

CPU = torch.device("cpu")


class ToyMachine:
    """A device with memory: a batch costs a second plus one second per frame."""

    def __init__(self, total: int, each: int = 10, refuses_above: int = 10**6) -> None:
        self.total, self.each, self.refuses_above = total, each, refuses_above
        self.held, self.last, self.tried = 100, 0, list[int]()
        self.error: Exception = torch.OutOfMemoryError("out of memory")

    def run(self, frames: int) -> float:
        self.tried.append(frames)
        if frames > self.refuses_above:
            raise self.error
        self.last = frames
        return 1.0 + frames

    def free_bytes(self) -> int:
        return self.total - self.held

    def held_bytes(self) -> int:
        return self.held

    def reset_peak(self) -> None:
        self.last = 0

    def peak_bytes(self) -> int:
        return self.held + self.each * self.last


def speeds_of(machine: ToyMachine, num_sharers: int = 1, budget_s: float = 1e9) -> BatchSpeeds:
    return measure_batches(machine.run, machine, num_sharers, budget_s)


def test_sizes_double_while_the_speed_rises() -> None:
    speeds = speeds_of(ToyMachine(total=10_000))
    assert [run.frames for run in speeds.runs] == [1, 2, 4, 8, 16, 32]
    assert [run.peak_bytes for run in speeds.runs] == [10, 20, 40, 80, 160, 320]
    assert [run.frames_per_s for run in speeds.runs] == pytest.approx(
        [n / (n + 1) for n in (1, 2, 4, 8, 16, 32)]
    )
    assert speeds.allowed(40) == 40
    assert speeds.best == 16, "32 is hardly faster"


def test_workers_share_what_is_free_and_each_holds_the_model() -> None:
    # 0.8 of 1000 for two: 400 each, 100 of it for the model
    fit, full = ToyMachine(total=1000, each=300), ToyMachine(total=1000, each=301)
    assert speeds_of(fit, num_sharers=2).runs[0].fits
    assert not speeds_of(full, num_sharers=2).runs[0].fits
    assert speeds_of(full, num_sharers=2).best is None
    assert speeds_of(full, num_sharers=1).best == 2


def test_a_size_that_would_not_fit_is_not_tried() -> None:
    machine = ToyMachine(total=1000, each=50)
    speeds = speeds_of(machine, num_sharers=2)
    assert max(machine.tried) == 4  # 8 frames are 400, more than 300
    assert [(run.frames, run.fits) for run in speeds.runs][-2:] == [(4, True), (8, False)]
    assert speeds.best == 4
    assert (speeds.allowed(16), speeds.allowed(3)) == (4, 3)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_refusal_is_a_measured_limit(error: Exception) -> None:
    machine = ToyMachine(total=10_000, refuses_above=4)
    machine.error = error
    speeds = speeds_of(machine)
    assert [(run.frames, run.fits) for run in speeds.runs[-2:]] == [(4, True), (8, False)]
    assert (speeds.allowed(16), speeds.best) == (4, 4)


def test_one_frame_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        speeds_of(ToyMachine(total=10_000, refuses_above=0))


def test_an_error_that_is_none_of_memory_is_not_hidden() -> None:
    machine = ToyMachine(total=10_000, refuses_above=1)
    machine.error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        speeds_of(machine)


def test_no_larger_size_is_tried_after_the_time_is_spent() -> None:
    # 1 frame: 3 runs of 2 s; 2: 3 of 3 s; 4: 3 of 5 s, together 30 s
    speeds = speeds_of(ToyMachine(total=10_000), budget_s=30)
    assert [run.frames for run in speeds.runs] == [1, 2, 4]
    assert speeds.allowed(16) == 16


# In a process of its own, since this one may hold freed memory that the block would reuse.
_PEAK = """
import numpy as np
import torch
from pipelines.annotation.plan.batch_speed import DeviceMemory
memory = DeviceMemory(torch.device("cpu"))
before = memory.held_bytes()
memory.reset_peak()
block = np.ones(100_000_000, np.uint8)
del block
print(memory.peak_bytes() - before)
"""


def test_the_peak_of_a_process_counts_memory_that_was_freed() -> None:
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80_000_000


@pytest.mark.parametrize(
    "names",
    [
        ("memory.max", "memory.current", "memory.stat"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
        ),
    ],
)
def test_the_limit_of_a_container_counts(names: tuple[str, str, str], tmp_path: Path) -> None:
    assert container_free_bytes(tmp_path) == math.inf
    (tmp_path / "memory").mkdir()
    for name, text in zip(names, ("1000\n", "700\n", "anon 50\ninactive_file 200\n"), strict=True):
        (tmp_path / name).write_text(text)
    assert container_free_bytes(tmp_path) == 500, "files in the cache can be dropped"
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / names[1]).write_text("1300\n")
    assert container_free_bytes(tmp_path) == (0 if "/" in names[0] else math.inf)
