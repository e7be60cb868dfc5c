"""Who wants to know how a training gets on: the tracking store, or nobody."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StageResult:
    """Is what is known of a finished stage.

    Attributes:
        name: Of the stage.
        steps: Optimizer steps.
        seconds: Wall time of the training.
        metrics: Of the model on the test videos.
        model: Its folder.
    """

    name: str
    steps: int
    seconds: float
    metrics: dict[str, float]
    model: Path


class TrainingListener:
    """Is told how a training gets on; this one does nothing with it.

    Its methods may be called from several threads, and again with what was told before.
    """

    def losses(self, row: dict[str, Any]) -> None:
        """Is told of one line of losses (``loss_log.py``), in the order of steps."""

    def scored(self, stage: str, step: int, scores: dict[str, float]) -> None:
        """Is told of scores on validation videos while a stage runs."""

    def finished(self, result: StageResult) -> None:
        """Is told of a finished stage."""
