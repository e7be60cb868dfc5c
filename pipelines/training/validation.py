"""Validation during training: scores the models that a worker saves and keeps the best one.

    candidates/step-00000200/   a model that may be the best one
    candidates/scores.json      the scores of every model, by step
A model and its scores depend only on the step, not on when the model is scored.
"""

import logging
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from pipelines.results.score import LabelledVideos, score_model
from pipelines.training.worker.job import StageJob, candidate_folder, read_scores, scores_file
from vis_core.config.model_files import CATEGORIES_FILE
from vis_core.files import write_json

OnScores = Callable[[int, dict[str, float]], object]
_NAME = re.compile(r"step-(\d{8})")
_log = logging.getLogger(__name__)


class StageScores:
    """A thread that scores models as they appear, while a ``with`` block trains.

    Leaving the block scores the remaining models and raises the thread's errors.

    Args:
        videos: Validation videos; the first ``stage.evaluate_videos`` of them are scored.
        on_scores: Receives each model's step and scores, including those from an earlier process.
    """

    def __init__(self, job: StageJob, videos: LabelledVideos, on_scores: OnScores) -> None:
        self._job, self._videos, self._on_scores = job, videos, on_scores
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True, name="scores")

    def __enter__(self) -> "StageScores":
        self._drop_others()
        for step, scores in sorted(read_scores(self._job.candidates).items()):
            self._on_scores(step, scores)
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        # Ctrl-C does not wait for scores, because a resumed run computes them again
        self._thread.join(timeout=None if kind is None else 2.0)
        if kind is None:
            if self._error:
                raise self._error
            self._score_all()

    def best(self) -> tuple[int, Path] | None:
        """Returns the step and folder of the model with the best AP; ties go to the latest step."""
        scores = read_scores(self._job.candidates)
        if not scores:
            return None
        step = max(scores, key=lambda step: (scores[step]["ap"], step))
        return step, candidate_folder(self._job.candidates, step)

    def _follow(self) -> None:
        try:
            while not self._stop.wait(1.0):
                self._score_all(until=self._stop)
        except BaseException as error:  # re-raised when the block ends
            self._error = error
            if not self._stop.is_set():
                _log.warning("validation stopped until the stage ends: %s", error)

    def _score_all(self, until: threading.Event | None = None) -> None:
        for step in self._unscored_steps():
            if until is not None and until.is_set():
                return
            self._score(step)

    def _score(self, step: int) -> None:
        stage = self._job.stage
        scores = score_model(
            candidate_folder(self._job.candidates, step),
            self._videos,
            self._job.work / "midway",
            self._job.config.inference,
            f"score {stage.name}, step {step}",
            max_videos=stage.evaluate_videos,
        )
        known = read_scores(self._job.candidates) | {step: scores}
        write_json(
            scores_file(self._job.candidates), {str(each): known[each] for each in sorted(known)}
        )
        self._on_scores(step, scores)
        _log.info("stage %s, step %d: AP %.3f", stage.name, step, scores["ap"])
        self._drop_others()

    def _drop_others(self) -> None:
        """Removes scored models that are not the best."""
        best = self.best()
        for step in read_scores(self._job.candidates):
            if best and step != best[0]:
                shutil.rmtree(candidate_folder(self._job.candidates, step), ignore_errors=True)

    def _unscored_steps(self) -> list[int]:
        """Returns the steps of complete models that are not scored yet."""
        known = read_scores(self._job.candidates)
        steps = []
        for folder in self._job.candidates.glob("step-*"):
            match = _NAME.fullmatch(folder.name)
            if match and (folder / CATEGORIES_FILE).is_file() and int(match[1]) not in known:
                steps.append(int(match[1]))
        return sorted(steps)
