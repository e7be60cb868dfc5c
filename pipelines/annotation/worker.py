"""Annotates videos with one model, one or some at a time; runs in an actor, knows no Ray.

Imports torch: the job (``pipelines/annotation/job.py``) imports it only when there is work.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from pipelines.annotation.archive.listing import ArchivedVideo, VideoStore
from pipelines.annotation.ledger import Ledger, VideoRow, clear_unfinished
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.video.prediction_store import PredictionStore
from pipelines.annotation.video.result import ResultAbout, commit_result
from pipelines.annotation.video.resume import UnfinishedVideo
from pipelines.annotation.video.segments import SegmentJob, associate_blocks
from pipelines.annotation.video.stitched_segments import StitchedSegments
from pipelines.annotation.video.whole_video import ProcessedVideo, VideoJob
from pipelines.annotation.work_queue import Work
from pipelines.registry.mlflow_registry import ModelReference
from vis_core.config.inference import InferenceConfig
from vis_core.errors import VideoDecodeError, shown_name
from vis_core.files import file_sha256
from vis_core.inference.batching import SharedNetwork
from vis_core.inference.protocols import FrameSystem

MAX_DEATHS = 3  # of decoders or workers, after which a video is put aside
Read = TypeVar("Read")
_log = logging.getLogger(__name__)
LoadSystem = Callable[[str], FrameSystem]


@dataclass(frozen=True)
class AnnotateJob:
    """The description of a job that every worker receives.

    Attributes:
        videos: Store of the videos.
        ledger: Where outcomes are written.
        model: One exact model version.
        config: Inference settings.
        options: The other options.
        load: Loads a system from a model folder; None means ``load_system``.
    """

    videos: VideoStore
    ledger: Ledger
    model: ModelReference
    config: InferenceConfig
    options: AnnotateOptions = AnnotateOptions()
    load: LoadSystem | None = None


class VideoAnnotator:
    """Holds a model and annotates the videos that it is given."""

    def __init__(self, job: AnnotateJob) -> None:
        self._job = job
        self._num_frames = 0
        self._counting = threading.Lock()  # several videos may be annotated at once

    def load(self) -> None:
        """Loads the model.

        Raises:
            CheckpointError: If it cannot be.
        """
        from vis_core.models.systems.build import read_categories

        torch.set_num_threads(1)  # there is an actor for each core
        folder = self._job.model.path
        self._categories = read_categories(folder)
        system = (self._job.load or _load_on_best_device)(str(folder))
        config = self._job.config
        if config.videos_at_once > 1:
            system = SharedNetwork(system, config.chunk_frames)
        self._system = system

    def num_frames(self) -> int:
        """Frames annotated so far, to be asked while ``annotate`` runs in another thread."""
        return self._num_frames

    def do(self, work: Work) -> VideoRow | None:
        """Does some work; gives the outcome of the video if that is known now.

        Raises:
            StorageError: If the archive or the results cannot be reached.
        """
        if work.num_segments == 1:
            return self.annotate(work.video)
        if work.segment is None:
            return self.associate(work.video, work.num_segments)
        if work.named:
            return self.track_segment(work.video, work.segment, work.num_segments)
        return self.predict(work.video, work.segment, work.num_segments)

    def annotate(self, video: ArchivedVideo) -> VideoRow:
        """Annotates a video and commits its result, or the reason why there is none.

        What an earlier attempt has saved is not done again.

        Raises:
            StorageError: If the archive or the results cannot be reached.
        """
        if (done := self._done_elsewhere(video)) is not None:
            return done
        path = Path(video.key)
        try:
            with self._job.videos.as_file(video.key, video.etag) as path:
                walked = self._with_decoders(lambda: self._walk(video, path))
                video_sha256 = file_sha256(path)
        except VideoDecodeError as error:
            return self._failed(video, path, error)
        return self._commit(video, video_sha256, walked)

    def predict(self, video: ArchivedVideo, segment: int, num_segments: int) -> VideoRow | None:
        """Sees one segment of a video and stores what it has found; gives a row if it fails.

        What is stored already is not done again.

        Raises:
            StorageError: If the archive or the results cannot be reached.
        """
        job = self._job
        if (done := self._done_elsewhere(video)) is not None:
            return done
        walk = SegmentJob(self._system, job.config, job.options.max_frames, self._count)
        blocks, path = self._blocks(video), Path(video.key)
        try:
            with job.videos.as_file(video.key, video.etag) as path:
                self._with_decoders(lambda: walk.run(path, blocks, segment, num_segments))
        except VideoDecodeError as error:
            return self._failed(video, path, error)
        return self._done_elsewhere(video)

    def track_segment(
        self, video: ArchivedVideo, segment: int, num_segments: int
    ) -> VideoRow | None:
        """Names one segment of a video by itself, for ``name`` to join it.

        Raises:
            StorageError: If the results cannot be reached.
        """
        if (done := self._done_elsewhere(video)) is None:
            self._stitched().associate(self._blocks(video), segment, num_segments)
            done = self._done_elsewhere(video)
        return done

    def associate(self, video: ArchivedVideo, num_segments: int) -> VideoRow | None:
        """Names what all segments of a video have seen, or joins them, and commits the result.

        Args:
            video: The video.
            num_segments: Into which it is cut.

        Returns:
            None if something of it is missing.

        Raises:
            StorageError: If the results cannot be reached.
        """
        job, storage, name = self._job, self._job.ledger.storage, self._job.ledger.name(video)
        if (done := self._done_elsewhere(video)) is not None:
            return done
        if not job.options.is_stitched:
            unfinished = UnfinishedVideo.newest(storage, name)
            named = associate_blocks(self._system, job.config, self._blocks(video), unfinished)
        else:
            named = self._stitched().join(self._blocks(video), num_segments)
        if named is None:
            return self._done_elsewhere(video)
        walked, end = named
        return self._commit(video, end.video_sha256, walked)

    def _done_elsewhere(self, video: ArchivedVideo) -> VideoRow | None:
        """Gives the row of a video that a job beside this one has finished; None if none has.

        What was stored for it since then leaves.
        """
        ledger = self._job.ledger
        if not ledger.is_done(video):
            return None
        clear_unfinished(ledger.storage, ledger.name(video))
        return self._done(video)

    def _done(self, video: ArchivedVideo) -> VideoRow:
        return VideoRow(video.key, "done", result=self._job.ledger.result_key(video))

    def _commit(self, video: ArchivedVideo, video_sha256: str, walked: ProcessedVideo) -> VideoRow:
        """Writes a result; what was kept of the video on the way leaves."""
        job, ledger = self._job, self._job.ledger
        about = ResultAbout(job.model, job.config, job.options.max_frames, self._categories)
        commit_result(ledger, video, video_sha256, walked, about)
        clear_unfinished(ledger.storage, ledger.name(video))
        return replace(
            self._done(video),
            num_frames=walked.num_frames,
            completeness=walked.report.completeness,
            video_s=walked.video_s,
        )

    def _failed(self, video: ArchivedVideo, path: Path, error: VideoDecodeError) -> VideoRow:
        """Writes why there is no result; the reason begins with the path that was read."""
        ledger = self._job.ledger
        reason = str(error).removeprefix(f"{shown_name(path)}: ")
        given_up = error.kind == "decoder died"
        row = ledger.fail(video, "quarantined" if given_up else "failed", reason, error.kind)
        clear_unfinished(ledger.storage, ledger.name(video))
        return row

    def _blocks(self, video: ArchivedVideo) -> PredictionStore:
        job = self._job
        chunk = job.config.chunk_frames
        return PredictionStore(
            job.ledger.storage, job.ledger.name(video), -(-job.options.save_every // chunk) * chunk
        )

    def _stitched(self) -> StitchedSegments:
        job = self._job
        return StitchedSegments(
            self._system, job.config, job.options.max_frames, job.config.stitching
        )

    def _with_decoders(self, read: Callable[[], Read]) -> Read:
        """Reads a video; a decoder that dies is replaced, and goes on at what was saved last.

        Raises:
            VideoDecodeError: The file cannot be read, or has ended three decoders.
        """
        for attempt in range(1, MAX_DEATHS + 1):
            try:
                return read()
            except VideoDecodeError as error:
                if error.kind != "decoder died":
                    raise
                _log.warning("%s, %d of %d", error, attempt, MAX_DEATHS)
                died = error
        raise VideoDecodeError(f"{died}, {MAX_DEATHS} times", died.kind)

    def _walk(self, video: ArchivedVideo, path: Path) -> ProcessedVideo:
        job = self._job
        unfinished = UnfinishedVideo.newest(job.ledger.storage, job.ledger.name(video))
        walk = VideoJob(
            self._system, job.config, job.options.max_frames, job.options.save_every, self._count
        )
        return walk.run(path, unfinished)

    def _count(self) -> None:
        with self._counting:
            self._num_frames += 1


def _load_on_best_device(folder: str) -> FrameSystem:
    """Loads on the GPU that was lent to this process, if one was."""
    from vis_core.models.systems.build import load_system

    return load_system(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")
