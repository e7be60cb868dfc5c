"""Progress, notes and losses that the driver shows while workers train a stage."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from pipelines.progress import Progress
from pipelines.training.worker.job import StageJob
from pipelines.training.worker.loss_log import loss_note, read_losses
from pipelines.training.worker.notes import NoteReader

OnLosses = Callable[[dict[str, Any]], object]
_log = logging.getLogger(__name__)


class StageWatch:
    """A thread that follows the workers' files while a ``with`` block runs."""

    def __init__(self, job: StageJob, on_losses: OnLosses) -> None:
        self._job, self._on_losses = job, on_losses
        self._notes = NoteReader(job.notes_path)
        self._last_step = 0  # of the rows passed on so far
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="watch")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        stage = self._job.stage
        with Progress(stage.num_steps, "steps", f"train {stage.name}") as progress:
            while True:
                ended = self._stop.wait(1.0)
                for note in self._notes.new():
                    _log.warning("%s", note)
                self._pass_on(progress)
                if ended:
                    return

    def _pass_on(self, progress: Progress) -> None:
        rows = read_losses(self._job.losses_path)
        stage = self._job.stage.name
        new = [row for row in rows if row["stage"] == stage and row["step"] > self._last_step]
        for row in new:
            self._on_losses(row)
        if new:
            # a worker that restarts from a checkpoint writes the same lines again
            progress.update(new[-1]["step"] - self._last_step, note=loss_note(new[-1]))
            self._last_step = new[-1]["step"]
