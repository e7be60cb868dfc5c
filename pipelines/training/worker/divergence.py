"""A log of steps skipped for a non-finite loss or gradient; too many in a row end training."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.training.worker.step import StepOutcome
from vis_core.errors import TrainingDivergedError


@dataclass
class BadSteps:
    """A log of one rank's skipped steps."""

    path: Path  # file with one JSON line per skipped step
    stage: str
    rank: int
    limit: int  # number of consecutive skipped steps after which training fails
    in_a_row: int = 0

    def add(self, step: int, outcome: StepOutcome, clip_ids: tuple[str, ...]) -> None:
        """Adds the outcome of a step; ``step`` counts from 1.

        Raises TrainingDivergedError if the limit of consecutive skipped steps is reached.
        """
        if not outcome.reason:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        line = {
            "stage": self.stage,
            "step": step,
            "rank": self.rank,
            "reason": outcome.reason,
            "clips": list(clip_ids),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.in_a_row >= self.limit:
            raise TrainingDivergedError(
                f"{outcome.reason} in step {step} of stage {self.stage}, as were {self.in_a_row} "
                f"steps in a row; {self.path} names their clips: check them, lower "
                "optimizer.learning_rate, or start from the last checkpoint"
            )
