"""A training listener that reports to the tracking store and sends each number once."""

import json
import threading
from typing import Any

from pipelines.config.run import RunConfig
from pipelines.mlflow_runs.runs import MlflowRun
from pipelines.results.score import LabelledVideos
from pipelines.run.pictures import write_samples
from pipelines.training.listener import StageResult
from pipelines.training.stages import TrainingPlace
from vis_core.files import write_json

_NOT_METRICS = ("stage", "step", "time")


class MlflowListener:
    """A listener that logs losses, scores and a picture; steps are counted across all stages.

    A worker that restarts from a checkpoint writes the same loss lines again. These lines are not
    sent again, because a file in ``tracking/`` records the last step sent.
    """

    def __init__(self, record: MlflowRun, config: RunConfig, place: TrainingPlace) -> None:
        self._record, self._config, self._place = record, config, place
        self._sent_file = place.folder / "tracking" / "sent.json"
        self._sent_file.parent.mkdir(parents=True, exist_ok=True)
        self._stage_starts = config.stage_starts
        self._lock = threading.Lock()
        self._sent: dict[str, int] = {}
        if self._sent_file.is_file():
            self._sent = json.loads(self._sent_file.read_text())

    def losses(self, row: dict[str, Any]) -> None:
        """Logs one loss line."""
        numbers = {name: value for name, value in row.items() if name not in _NOT_METRICS}
        self._log_once(f"losses/{row['stage']}", row["stage"], row["step"], numbers, row["time"])

    def scored(self, stage: str, step: int, scores: dict[str, float]) -> None:
        """Logs scores on validation videos."""
        numbers = {f"val/{name}": value for name, value in scores.items()}
        self._log_once(f"val/{stage}", stage, step, numbers)

    def finished(self, result: StageResult) -> None:
        """Logs the scores and a picture of predictions on test videos."""
        numbers = {f"test/{name}": value for name, value in result.metrics.items()}
        numbers["time/stage_s"] = result.seconds
        logged = self._log_once(f"test/{result.name}", result.name, result.steps, numbers)
        if logged and result.metrics:
            samples = self._sent_file.parent / "pictures" / f"predictions_{result.name}.jpg"
            videos = self._place.data.videos
            results = self._place.folder / "evaluation" / result.name / "results.json"
            write_samples(
                samples, LabelledVideos(videos.test, videos.frames_of(videos.test)), results
            )
            self._record.log_artifact(samples, "pictures")

    def _log_once(
        self,
        kind: str,
        stage: str,
        step: int,
        numbers: dict[str, float],
        time_s: float | None = None,
    ) -> bool:
        """Logs a step's numbers unless they were already sent; returns whether it logged them."""
        with self._lock:
            if step <= self._sent.get(kind, 0):
                return False
            self._record.log_metrics(numbers, self._stage_starts[stage] + step, time_s)
            self._sent[kind] = step
            write_json(self._sent_file, self._sent)
        return True
