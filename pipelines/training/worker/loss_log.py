"""Training losses in a file that outlives the workers, one JSON line every ten steps.

A line contains means over the steps since the previous line, even after an interruption, because
checkpoints contain the sums for the next line.
"""

import json
import time
from pathlib import Path
from typing import Any

from pipelines.training.worker.machine_use import MachineUse
from pipelines.training.worker.step import StepOutcome
from vis_core.files import write_text

LOG_EVERY = 10
LOSS_PREFIX = "train/loss/"
# Names that have this prefix but are not terms of the total loss.
NOT_LOSSES = ("total", "gradient_norm", "rate")


class LossLog:
    """A writer that adds one stage's lines to the file for all stages.

    ``first_step`` and ``state`` come from a checkpoint; lines of later steps are removed.
    """

    def __init__(
        self, path: Path, stage: str, first_step: int = 0, state: dict[str, Any] | None = None
    ) -> None:
        self.path, self.stage = path, stage
        self._started = time.monotonic()
        self._sums: dict[str, float] = dict(state["sums"]) if state else {}
        self._count: int = state["count"] if state else 0
        self._skipped: int = state["skipped"] if state else 0
        self._seconds: float = state["seconds"] if state else 0.0
        self._waited: float = state["waited"] if state else 0.0
        rows = read_losses(path)
        kept = [row for row in rows if row["stage"] != stage or row["step"] <= first_step]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))

    @property
    def state(self) -> dict[str, Any]:
        """The sums for the next line so far, to be stored in a checkpoint."""
        return {
            "sums": dict(self._sums),
            "count": self._count,
            "skipped": self._skipped,
            "seconds": self._seconds + time.monotonic() - self._started,
            "waited": self._waited,
        }

    def add(
        self,
        step: int,
        outcome: StepOutcome,
        rate: float,
        wait_s: float = 0.0,
        *,
        last: bool,
        use: MachineUse | None = None,
    ) -> None:
        """Adds a step, numbered from 1; a skipped step is only counted.

        ``rate`` is the maximum learning rate; ``wait_s`` is the time spent waiting for the batch.
        """
        self._waited += wait_s
        if outcome.reason:
            self._skipped += 1
        else:
            for name, value in (outcome.values | {"rate": rate}).items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._count += 1
        if last or step % LOG_EVERY == 0:
            self._write(step, use.metrics() if use else {})

    def _write(self, step: int, more: dict[str, float]) -> None:
        seconds = self._seconds + time.monotonic() - self._started
        steps = max(1, self._count + self._skipped)
        row: dict[str, Any] = {"stage": self.stage, "step": step}
        row |= {LOSS_PREFIX + name: value / self._count for name, value in self._sums.items()}
        row["train/skipped_steps"] = self._skipped
        row |= {"time/step_s": seconds / steps, "time/data_wait_s": self._waited / steps} | more
        row["time"] = time.time()
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._sums, self._count, self._skipped = {}, 0, 0
        self._seconds, self._waited, self._started = 0.0, 0.0, time.monotonic()


def read_losses(path: Path) -> list[dict[str, Any]]:
    """Reads the complete loss lines; a killed worker may leave an incomplete last one."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def loss_note(row: dict[str, Any]) -> str:
    """Formats a row's losses as text: ``loss 3.41 (class 0.91 mask 1.20)``."""
    parts = {k.removeprefix(LOSS_PREFIX): v for k, v in row.items() if k.startswith(LOSS_PREFIX)}
    terms = " ".join(
        f"{name} {value:.2f}" for name, value in parts.items() if name not in NOT_LOSSES
    )
    skipped = row.get("train/skipped_steps")
    note = f"loss {parts.get('total', float('nan')):.2f} ({terms})"
    return f"{note}, {skipped} steps skipped" if skipped else note
