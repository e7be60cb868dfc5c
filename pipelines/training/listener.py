"""The interface through which a training reports its losses, scores and finished stages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class StageResult:
    """The result of a finished stage.

    Attributes:
        seconds: Wall time of the training.
        metrics: Scores on the test videos.
        model: Folder of the model.
    """

    name: str
    steps: int
    seconds: float
    metrics: dict[str, float]
    model: Path


class TrainingListener(Protocol):
    """A receiver of the progress of a training.

    Calls may come from several threads, and may repeat earlier ones after a restart.
    """

    def losses(self, row: dict[str, Any]) -> None:
        """Receives one line of losses (``loss_log.py``), in the order of steps."""

    def scored(self, stage: str, step: int, scores: dict[str, float]) -> None:
        """Receives scores on validation videos while a stage runs."""

    def finished(self, result: StageResult) -> None:
        """Receives the result of a finished stage."""
