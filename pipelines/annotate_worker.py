"""Annotates one video after the other with one model; runs in an actor, knows no Ray.

Imports torch: the job (``pipelines/annotate.py``) imports it only when there is work.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.archive import ArchivedVideo, VideoStore
from pipelines.file_walk import FileWalk, WalkedFile
from pipelines.ledger import Ledger, VideoRow, clear_unfinished
from pipelines.registry import ModelReference
from pipelines.unfinished import UnfinishedVideo
from pipelines.video_result import ResultAbout, commit_result, file_sha256
from vis_core.errors import VideoDecodeError
from vis_core.formats.video_files import shown_name
from vis_core.inference.frame_system import FrameSystem
from vis_core.inference.settings import InferenceConfig

# Half a minute of video at 30 frames a second: a state is a few files, and a kill costs no more.
SAVE_EVERY = 1000
MAX_DEATHS = 3  # of decoders or workers, after which a video is put aside
_log = logging.getLogger(__name__)
LoadSystem = Callable[[str], FrameSystem]


@dataclass(frozen=True)
class AnnotateJob:
    """Is what every worker of a job is told.

    Attributes:
        videos: Where the videos are.
        ledger: Where the outcomes go.
        model: The model, one exact version.
        config: How a video is walked through.
        max_frames: Frames annotated of each video, or None for all.
        load: Makes a system of a model folder; None means ``load_system``.
        save_every: Frames of a video after which its state is saved, so that another worker can go
            on; the result does not depend on it.
    """

    videos: VideoStore
    ledger: Ledger
    model: ModelReference
    config: InferenceConfig
    max_frames: int | None = None
    load: LoadSystem | None = None
    save_every: int = SAVE_EVERY


class VideoAnnotator:
    """Holds a model and annotates the videos that it is given."""

    def __init__(self, job: AnnotateJob) -> None:
        self._job = job
        self._num_frames = 0

    def load(self) -> None:
        """Loads the model.

        Raises:
            CheckpointError: If it cannot be.
        """
        from vis_core.systems.build import read_categories

        torch.set_num_threads(1)  # there is an actor for each core
        folder = self._job.model.path
        self._categories = read_categories(folder)
        self._system = (self._job.load or _load_on_best_device)(str(folder))

    def num_frames(self) -> int:
        """Frames annotated so far, to be asked while ``annotate`` runs in another thread."""
        return self._num_frames

    def annotate(self, video: ArchivedVideo) -> VideoRow:
        """Annotates a video and commits its result, or the reason why there is none.

        What an earlier attempt has saved is not done again.

        Raises:
            StorageError: If the archive or the results cannot be reached.
        """
        job, ledger = self._job, self._job.ledger
        if ledger.is_done(video):
            return VideoRow(video.key, "done", result=ledger.result_key(video))
        path = Path(video.key)
        try:
            with job.videos.as_file(video.key, video.etag) as path:
                walked = self._walk(video, path)
                video_sha256 = file_sha256(path)
        except VideoDecodeError as error:
            reason = str(error).removeprefix(f"{shown_name(path)}: ")
            given_up = error.kind == "decoder died"
            row = ledger.fail(video, "quarantined" if given_up else "failed", reason, error.kind)
            clear_unfinished(ledger.storage, ledger.name(video))
            return row
        about = ResultAbout(job.model, job.config, job.max_frames, self._categories)
        commit_result(ledger, video, video_sha256, walked, about)
        clear_unfinished(ledger.storage, ledger.name(video))
        return VideoRow(
            video.key,
            "done",
            result=ledger.result_key(video),
            num_frames=walked.num_frames,
            completeness=walked.report.completeness,
            video_s=walked.video_s,
        )

    def _walk(self, video: ArchivedVideo, path: Path) -> WalkedFile:
        """Walks through a video; a decoder that dies is replaced, and goes on at the last state.

        Raises:
            VideoDecodeError: The file cannot be read, or has ended three decoders.
        """
        job = self._job
        for attempt in range(1, MAX_DEATHS + 1):
            unfinished = UnfinishedVideo.newest(job.ledger.storage, job.ledger.name(video))
            walk = FileWalk(self._system, job.config, job.max_frames, job.save_every, self._count)
            try:
                return walk.run(path, unfinished)
            except VideoDecodeError as error:
                if error.kind != "decoder died":
                    raise
                _log.warning("%s, %d of %d", error, attempt, MAX_DEATHS)
                died = error
        raise VideoDecodeError(f"{died}, {MAX_DEATHS} times", died.kind)

    def _count(self) -> None:
        self._num_frames += 1


def _load_on_best_device(folder: str) -> FrameSystem:
    """Loads on the GPU that was lent to this process, if one was."""
    from vis_core.systems.build import load_system

    return load_system(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")
