"""What the driver shows and does while a stage is trained elsewhere: progress, notes, scores."""

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
    """Follows the files that the workers of a stage write, in a thread, while a block runs.

    Args:
        job: The stage.
        on_losses: Is told of every line of losses.
    """

    def __init__(self, job: StageJob, on_losses: OnLosses) -> None:
        self._job, self._on_losses = job, on_losses
        self._notes = NoteReader(job.notes_path)
        self._told = 0  # step of the last line that was passed on
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="watch")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        stage = self._job.stage
        with Progress(stage.steps, "steps", f"train {stage.name}") as progress:
            while True:
                ended = self._stop.wait(1.0)
                for note in self._notes.new():
                    _log.warning("%s", note)
                self._pass_on(progress)
                if ended:
                    return

    def _pass_on(self, progress: Progress) -> None:
        rows = read_losses(self._job.losses_path)
        new = [r for r in rows if r["stage"] == self._job.stage.name and r["step"] > self._told]
        for row in new:
            self._on_losses(row)
        if new:
            # a worker that went back to a checkpoint writes its lines again, alike
            progress.update(new[-1]["step"] - self._told, note=loss_note(new[-1]))
            self._told = new[-1]["step"]
