"""The settings and files of one stage, shared by the driver and its workers."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.config.run import RunConfig, StageConfig
from pipelines.storage.open import open_storage
from pipelines.training.worker.checkpoints import CheckpointStore
from vis_core.formats.categories import Categories


@dataclass(frozen=True)
class StageJob:
    """A worker's input: its stage, and the files to read and write.

    Attributes:
        start: Model folder to start from, or None for random weights.
        folder: Run folder, shared by all workers.
        key: Digest of the settings of this stage and all earlier ones.
        storage: Folder or s3:// prefix for the checkpoints of all stages, the same in every
            process; None means the run folder.
        fresh_classes: Whether the class heads start anew, because ``start`` is the model of a stage
            with other classes.
    """

    config: RunConfig
    stage: StageConfig
    categories: Categories
    start: Path | None
    folder: Path
    key: str
    threads: int
    storage: str | None = None
    fresh_classes: bool = False

    @property
    def losses_path(self) -> Path:
        """The loss file, to which rank 0 appends a JSON line every few steps."""
        return self.folder / "losses.jsonl"

    @property
    def skipped_path(self) -> Path:
        """The file with every rank's skipped steps."""
        return self.folder / "skipped_steps.jsonl"

    @property
    def bad_images_path(self) -> Path:
        """The file with the images that were left out."""
        return self.folder / "bad_images.jsonl"

    @property
    def work(self) -> Path:
        """The stage's working folder, removed when the stage is finished."""
        return self.folder / "train" / self.key

    @property
    def notes_path(self) -> Path:
        """The file for messages from workers to the driver."""
        return self.work / "notes.jsonl"

    @property
    def error_path(self) -> Path:
        """The file with the last VisError of a worker."""
        return self.work / "error.json"

    @property
    def candidates(self) -> Path:
        """The folder of models to score while the stage runs."""
        return self.work / "candidates"

    @property
    def checkpoints(self) -> CheckpointStore:
        """The checkpoints of the stage."""
        root = self.storage
        uri = f"{root.rstrip('/')}/{self.key}" if root else str(self.work / "checkpoints")
        return CheckpointStore(open_storage(uri), self.config.checkpoints.keep)


def candidate_folder(candidates: Path, step: int) -> Path:
    """Returns the folder of a step's model."""
    return candidates / f"step-{step:08d}"


def scores_file(candidates: Path) -> Path:
    """Returns the file with the scores by step."""
    return candidates / "scores.json"


def read_scores(candidates: Path) -> dict[int, dict[str, float]]:
    """Reads the scores by step; empty if there are none yet."""
    path = scores_file(candidates)
    if not path.is_file():
        return {}
    return {int(step): dict(scores) for step, scores in json.loads(path.read_text()).items()}
