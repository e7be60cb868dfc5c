"""Sends what a training does to its run in the tracking store, each number once."""

import json
import threading
from typing import Any

from pipelines.config.run import RunConfig
from pipelines.mlflow_runs.runs import MlflowRun
from pipelines.results.score import LabelledVideos
from pipelines.run.pictures import write_loss_curves, write_samples
from pipelines.training.listener import StageResult
from pipelines.training.stages import TrainingPlace
from pipelines.training.worker.loss_log import read_losses
from vis_core.files import write_json

_NOT_METRICS = ("stage", "step", "time")


class MlflowListener:
    """Logs losses as they come, scores, pictures; steps are counted over all stages.

    A line of losses that a worker writes again, after it went back to a checkpoint, says the same
    and is not sent again: a file beside the run remembers how far it is.

    Args:
        record: The run in the store.
        config: Of the run.
        place: Where the training writes; the file and the pictures go to ``tracking/`` there.
    """

    def __init__(self, record: MlflowRun, config: RunConfig, place: TrainingPlace) -> None:
        self._record, self._config, self._place = record, config, place
        self._memory = place.folder / "tracking" / "sent.json"
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        self._first = config.stage_starts
        self._lock = threading.Lock()
        known = self._memory.is_file()
        self._sent: dict[str, int] = json.loads(self._memory.read_text()) if known else {}

    def losses(self, row: dict[str, Any]) -> None:
        """Logs one line."""
        numbers = {name: value for name, value in row.items() if name not in _NOT_METRICS}
        self._once(f"losses/{row['stage']}", row["stage"], row["step"], numbers, row["time"])

    def scored(self, stage: str, step: int, scores: dict[str, float]) -> None:
        """Logs scores on validation videos."""
        numbers = {f"val/{name}": value for name, value in scores.items()}
        self._once(f"val/{stage}", stage, step, numbers)

    def finished(self, result: StageResult) -> None:
        """Logs scores on test videos, the loss curves so far, and what the model finds."""
        numbers = {f"test/{name}": value for name, value in result.metrics.items()}
        numbers["time/stage_s"] = result.seconds
        if self._once(f"test/{result.name}", result.name, result.steps, numbers):
            self._draw(result.name)

    def _draw(self, stage: str) -> None:
        folder = self._memory.parent / "pictures"
        folder.mkdir(exist_ok=True)
        curves, samples = folder / "losses.png", folder / f"predictions_{stage}.jpg"
        write_loss_curves(curves, read_losses(self._place.losses))
        videos = self._place.data.videos
        results = self._place.folder / "evaluation" / stage / "results.json"
        write_samples(samples, LabelledVideos(videos.test, videos.frames), results)
        for picture in (curves, samples):
            self._record.log_artifact(picture, "pictures")

    def _once(
        self,
        kind: str,
        stage: str,
        step: int,
        numbers: dict[str, float],
        time_s: float | None = None,
    ) -> bool:
        """Logs numbers, unless those of this kind are known up to this step; says whether."""
        with self._lock:
            if step <= self._sent.get(kind, 0):
                return False
            self._record.log_metrics(numbers, self._first[stage] + step, time_s)
            self._sent[kind] = step
            write_json(self._memory, self._sent)
        return True
