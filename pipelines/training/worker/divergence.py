"""Steps whose loss or gradient is not finite: skipped, noted with their clips, too many an end."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.training.worker.step import StepOutcome
from vis_core.errors import TrainingDivergedError


@dataclass
class BadSteps:
    """Notes the steps of one rank that were skipped.

    Attributes:
        path: Gets a JSON line a skipped step.
        stage: Name of the stage.
        rank: Of the worker.
        limit: Skipped steps in a row that end the training.
        in_a_row: How many there are.
    """

    path: Path
    stage: str
    rank: int
    limit: int
    in_a_row: int = 0

    def note(self, step: int, outcome: StepOutcome, clip_ids: tuple[str, ...]) -> None:
        """Notes step number ``step``, from 1.

        Raises:
            TrainingDivergedError: As many steps in a row as the limit were skipped.
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
                f"steps in a row; {self.path} names their clips: look at them, lower "
                "optimizer.learning_rate, or start from the last checkpoint"
            )
