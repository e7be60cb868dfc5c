"""What the driver and the workers of one stage share: settings, places, and how they are named."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.config.run import RunConfig, StageConfig
from pipelines.storage.open import open_storage
from pipelines.training.worker.checkpoints import CheckpointStore
from vis_core.formats.categories import Categories


@dataclass(frozen=True)
class StageJob:
    """Is all that a worker must know of its stage.

    Attributes:
        config: The whole run.
        stage: This stage.
        categories: Classes to learn.
        start: Model folder to start from, or None for random weights.
        folder: Of the run; every worker must see it.
        key: Names the stage with its settings and all before it.
        threads: CPU threads of one worker.
        storage: Folder or s3:// prefix of the checkpoints of all stages, the same in every
            process; None means the run folder.
    """

    config: RunConfig
    stage: StageConfig
    categories: Categories
    start: Path | None
    folder: Path
    key: str
    threads: int
    storage: str | None = None

    @property
    def losses_path(self) -> Path:
        """Where rank 0 appends one JSON line of losses each few steps."""
        return self.folder / "losses.jsonl"

    @property
    def skipped_path(self) -> Path:
        """Where every rank notes the steps that it skipped."""
        return self.folder / "skipped_steps.jsonl"

    @property
    def work(self) -> Path:
        """What the stage leaves while it runs; removed when it is finished."""
        return self.folder / "train" / self.key

    @property
    def notes_path(self) -> Path:
        """Where workers leave words for the person who waits."""
        return self.work / "notes.jsonl"

    @property
    def candidates(self) -> Path:
        """Where models are left to be scored while the stage runs."""
        return self.work / "candidates"

    @property
    def checkpoints(self) -> CheckpointStore:
        """Where the checkpoints are."""
        root = self.storage
        place = f"{root.rstrip('/')}/{self.key}" if root else str(self.work / "checkpoints")
        return CheckpointStore(open_storage(place), self.config.checkpoints.keep)


def candidate_folder(candidates: Path, step: int) -> Path:
    """Says where the model of a step waits for its scores."""
    return candidates / f"step-{step:08d}"


def scores_file(candidates: Path) -> Path:
    """Says where the scores are, by step."""
    return candidates / "scores.json"


def read_scores(candidates: Path) -> dict[int, dict[str, float]]:
    """Reads the scores that there are."""
    path = scores_file(candidates)
    if not path.is_file():
        return {}
    return {int(step): dict(found) for step, found in json.loads(path.read_text()).items()}
