"""A small archive job, without Ray, that can be killed at any of its steps."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.storage.base import Storage
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import open_storage
from pipelines.storage.s3 import S3Storage
from tests.helpers.killing import CONTEXT, Events, num_events, run_child
from tests.helpers.toy_archive import outcome, toy_model
from tests.helpers.toy_loaders import load_remembering, load_toy
from vis_core.config.inference import InferenceConfig
from vis_core.config.stitching import StitchConfig
from vis_core.media.sandbox.reader import SandboxedReader

# the job's steps before or after which a kill may come
_EVENTS = (
    (SandboxedReader, "__next__"),
    (VideoAnnotator, "do"),
    (LocalStorage, "_write_partial"),
    (LocalStorage, "write_once"),
    (LocalStorage, "write_once_file"),
    (LocalStorage, "replace"),
    (LocalStorage, "delete"),
    (S3Storage, "_put"),
    (S3Storage, "as_file"),
    (S3Storage, "delete"),
    (os, "link"),
)


@dataclass(frozen=True)
class Job:
    """The parameters of a child process.

    Attributes:
        folder: For the child's files besides the results.
        videos: The archive.
        out: The folder of results.
        environment: Variables of the child.
        segments: The number of segments per video.
        stitched: Whether segments are associated separately, then joined.
    """

    folder: Path
    videos: str
    out: str
    environment: dict[str, str] = field(default_factory=dict)
    segments: int = 1
    stitched: bool = False

    @property
    def results(self) -> Storage:
        return open_storage(self.out)

    def contents(self) -> dict[str, bytes]:
        """Reads every file in the folder of results."""
        return {entry.key: self.results.read(entry.key) for entry in self.results.list()}

    def run(self, kill_at: int | None = None) -> int:
        """Annotates the pending videos; returns the exit code (-9 if it was killed)."""
        return run_child(_annotate, self, kill_at)

    def run_twice_at_once(self) -> list[int | None]:
        """Starts two jobs that are unaware of each other; returns their exit codes."""
        children = [CONTEXT.Process(target=_annotate, args=(self, None)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        return [child.exitcode for child in children]

    def num_events(self) -> int:
        return num_events(self.folder)

    def annotated(self) -> list[str]:
        """Returns the videos that all runs together have begun."""
        path = self.folder / "begun"
        return path.read_text().splitlines() if path.is_file() else []


def _annotate(job: Job, kill_at: int | None) -> None:
    os.environ.update(job.environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job.folder.mkdir(parents=True, exist_ok=True)
    model = toy_model(job.folder / "model")
    archive = list_archive(job.videos)
    ledger = Ledger(job.results, "settings")
    events = Events(kill_at, _EVENTS)
    ledger.storage.remove_stale_partials()
    survey = ledger.survey(archive.videos)
    ledger.clear_finished(survey)
    config = InferenceConfig(chunk_frames=2, stitching=StitchConfig(overlap_frames=3))
    annotator = VideoAnnotator(
        AnnotateJob(
            archive.storage,
            ledger,
            model,
            config,
            AnnotateOptions(save_every=4, join="stitched" if job.stitched else "exact"),
            load_remembering if job.stitched else load_toy,
        )
    )
    annotator.load()
    rows = [ledger.failure(video) for video in survey.failed]
    for video in survey.done + survey.pending:
        if video in survey.pending:
            with (job.folder / "begun").open("a") as file:
                file.write(f"{video.key}\n")
        rows.append(outcome(annotator, video, job.segments, job.stitched))
    ledger.write_manifest({"model": str(model)}, rows)
    events.write(job.folder)
