"""The interface through which a training run reports its losses, scores and finished stages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class StageResult:
    """The result of a finished stage.

    Attributes:
        seconds: Wall-clock time of training.
        metrics: Scores on the test videos; empty if these have other classes than the model.
        model: Model folder.
    """

    name: str
    steps: int
    seconds: float
    metrics: dict[str, float]
    model: Path

    @property
    def score(self) -> str:
        """The AP as text, or the reason why there is none."""
        if not self.metrics:
            return "not scored on videos: it has the classes of the still images"
        return f"AP {self.metrics.get('ap', -1):.3f}"


class TrainingListener(Protocol):
    """A receiver of training progress.

    Several threads may call its methods, and a restarted run may repeat earlier calls.
    """

    def losses(self, row: dict[str, Any]) -> None:
        """Receives one loss line (``loss_log.py``); the lines arrive in step order."""

    def scored(self, stage: str, step: int, scores: dict[str, float]) -> None:
        """Receives scores on validation videos while a stage runs."""

    def finished(self, result: StageResult) -> None:
        """Receives the result of a finished stage."""
