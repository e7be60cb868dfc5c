"""The video annotator that runs in each actor; it does not depend on Ray.

This module imports torch, so ``pipelines/annotation/job.py`` imports it only when there is work.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from pipelines.annotation.archive.listing import ArchivedVideo, VideoStore
from pipelines.annotation.ledger import Ledger, Status, VideoRow, clear_unfinished
from pipelines.annotation.machine_errors import machine_errors_named, raise_machine_error
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.video.prediction_store import PredictionStore
from pipelines.annotation.video.result import ResultAbout, commit_result
from pipelines.annotation.video.resume import UnfinishedVideo
from pipelines.annotation.video.segments import SegmentJob, associate_blocks
from pipelines.annotation.video.source import Source, open_source
from pipelines.annotation.video.stitched_segments import StitchedSegments
from pipelines.annotation.video.whole_video import ProcessedVideo, VideoJob
from pipelines.annotation.work_queue import Work
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.local import LocalStorage
from vis_core.config.inference import InferenceConfig
from vis_core.errors import VideoDecodeError, shown_name
from vis_core.inference.batching import SharedNetwork
from vis_core.inference.frame_predictor import View
from vis_core.inference.protocols import FrameSystem

MAX_DEATHS = 3  # lost decoders or workers after which a video is quarantined
Result = TypeVar("Result")
_log = logging.getLogger(__name__)
LoadSystem = Callable[[str], FrameSystem]


@dataclass(frozen=True)
class AnnotateJob:
    """The job description that every worker receives."""

    videos: VideoStore
    ledger: Ledger
    model: ModelReference
    config: InferenceConfig
    options: AnnotateOptions = AnnotateOptions()
    load: LoadSystem | None = None  # loads a system from a model folder; None means ``load_system``


class VideoAnnotator:
    """A loaded model that annotates videos and their segments."""

    def __init__(self, job: AnnotateJob) -> None:
        self._job = job
        self._num_frames = 0
        self._count_lock = threading.Lock()  # several videos may be annotated at once

    def load(self) -> None:
        """Loads the model; raises CheckpointError, or MachineError if this machine is the cause."""
        with machine_errors_named("while it loaded the model"):
            self._load()

    def _load(self) -> None:
        from vis_core.models.systems.build import load_system, read_categories

        torch.set_num_threads(1)  # there is one actor per core
        folder = self._job.model.path
        self._categories = read_categories(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        load = self._job.load
        self._system: FrameSystem = load(str(folder)) if load else load_system(folder, device)
        if self._job.config.videos_at_once > 1:
            (view,) = View.of(self._job.config)
            system = view.applied_to(self._system)
            self._system = SharedNetwork(system, self._job.config.chunk_frames)

    def num_frames(self) -> int:
        """Returns the frame count so far; this is safe while another thread annotates."""
        return self._num_frames

    def do(self, work: Work) -> VideoRow | None:
        """Processes one work item; returns the video's outcome, or None if it has none yet.

        Raises StorageError if the archive or the results cannot be reached, and MachineError if
        this machine cannot work.
        """
        with machine_errors_named(f"while it processed {work.shown}"):
            return self._do(work)

    def _do(self, work: Work) -> VideoRow | None:
        if work.num_segments == 1:
            return self.annotate(work.video)
        if work.segment is None:
            return self.associate(work.video, work.num_segments)
        if work.named:
            return self.track_segment(work.video, work.segment, work.num_segments)
        return self.predict(work.video, work.segment, work.num_segments)

    def annotate(self, video: ArchivedVideo) -> VideoRow:
        """Annotates a video from its last saved state; commits its result or failure."""
        if (done := self._done_elsewhere(video)) is not None:
            return done
        path = Path(video.key)
        try:
            with (
                self._job.videos.as_file(video.key, video.etag) as path,
                self._source(video, path) as source,
            ):
                processed = self._with_decoders(lambda: self._process(video, source))
        except VideoDecodeError as error:
            return self._failed(video, path, error)
        return self._commit(video, source.sha256, processed)

    def predict(self, video: ArchivedVideo, segment: int, num_segments: int) -> VideoRow | None:
        """Predicts and stores a segment's missing blocks; returns the video's outcome, if any."""
        job = self._job
        if (done := self._done_elsewhere(video)) is not None:
            return done
        segment_job = SegmentJob(self._system, job.config, job.options.max_frames, self._count)
        blocks, path = self._blocks(video), Path(video.key)
        try:
            with (
                job.videos.as_file(video.key, video.etag) as path,
                self._source(video, path) as source,
            ):
                self._with_decoders(lambda: segment_job.run(source, blocks, segment, num_segments))
        except VideoDecodeError as error:
            return self._failed(video, path, error)
        return self._done_elsewhere(video)

    def track_segment(
        self, video: ArchivedVideo, segment: int, num_segments: int
    ) -> VideoRow | None:
        """Associates one segment of a video on its own; ``associate`` joins the segments."""
        if (done := self._done_elsewhere(video)) is not None:
            return done
        self._stitched().associate(self._blocks(video), segment, num_segments)
        return self._done_elsewhere(video)

    def associate(self, video: ArchivedVideo, num_segments: int) -> VideoRow | None:
        """Associates the predictions of all segments, or joins the segments; commits the result.

        Returns None if predictions are missing.
        """
        if (done := self._done_elsewhere(video)) is not None:
            return done
        blocks, config = self._blocks(video), self._job.config
        if self._job.options.is_stitched:
            associated = self._stitched().join(blocks, num_segments)
        else:
            unfinished = UnfinishedVideo.newest(blocks.storage, blocks.name)
            associated = associate_blocks(self._system, config, blocks, unfinished)
        if associated is None:
            return self._done_elsewhere(video)
        processed, end = associated
        return self._commit(video, end.video_sha256, processed)

    def _done_elsewhere(self, video: ArchivedVideo) -> VideoRow | None:
        """Returns the row of a video that a concurrent job finished; removes its leftovers."""
        ledger = self._job.ledger
        if not ledger.is_done(video):
            return None
        clear_unfinished(ledger.storage, ledger.result_name(video))
        return self._done(video)

    def _done(self, video: ArchivedVideo) -> VideoRow:
        return VideoRow(video.key, "done", result=self._job.ledger.result_key(video))

    def _commit(
        self, video: ArchivedVideo, video_sha256: str, processed: ProcessedVideo
    ) -> VideoRow:
        """Writes a result and removes the video's intermediate state."""
        job, ledger = self._job, self._job.ledger
        about = ResultAbout(job.model, job.config, job.options.max_frames, self._categories)
        commit_result(ledger, video, video_sha256, processed, about)
        clear_unfinished(ledger.storage, ledger.result_name(video))
        return replace(
            self._done(video),
            num_frames=processed.num_frames,
            completeness=processed.report.completeness,
            video_s=processed.video_s,
        )

    def _failed(self, video: ArchivedVideo, path: Path, error: VideoDecodeError) -> VideoRow:
        """Records a failure; the reason omits the path, which may belong to a temporary copy."""
        ledger, reason = self._job.ledger, str(error).removeprefix(f"{shown_name(path)}: ")
        if error.kind == "changed":  # not recorded, so that the next run annotates it
            clear_unfinished(ledger.storage, ledger.result_name(video))
            return VideoRow(video.key, "failed", reason, kind=error.kind)
        if error.kind == "unreadable":
            raise_machine_error(reason)
        status: Status = "quarantined" if error.kind == "decoder died" else "failed"
        row = ledger.fail(video, status, reason, error.kind)
        clear_unfinished(ledger.storage, ledger.result_name(video))
        return row

    def _blocks(self, video: ArchivedVideo) -> PredictionStore:
        ledger, chunk = self._job.ledger, self._job.config.chunk_frames
        block_frames = -(-self._job.options.save_every // chunk) * chunk
        return PredictionStore(ledger.storage, ledger.result_name(video), block_frames)

    def _stitched(self) -> StitchedSegments:
        return StitchedSegments(self._system, self._job.config, self._job.options.max_frames)

    def _with_decoders(self, read: Callable[[], Result]) -> Result:
        """Calls ``read``, again if the decoder dies, with at most ``MAX_DEATHS`` calls in all."""
        for attempt in range(1, MAX_DEATHS + 1):
            try:
                return read()
            except VideoDecodeError as error:
                if error.kind != "decoder died":
                    raise
                _log.warning("%s, %d of %d", error, attempt, MAX_DEATHS)
                died = error
        raise VideoDecodeError(f"{died}, {MAX_DEATHS} times", died.kind)

    def _source(self, video: ArchivedVideo, path: Path) -> AbstractContextManager[Source]:
        videos = self._job.videos
        root = videos.root if isinstance(videos, LocalStorage) else None
        return open_source(path, root, video.version, video.etag, self._job.config.picture_rate)

    def _process(self, video: ArchivedVideo, source: Source) -> ProcessedVideo:
        job, options = self._job, self._job.options
        name = job.ledger.result_name(video)
        unfinished = UnfinishedVideo.newest(job.ledger.storage, name, source.sha256)
        settings = job.config, options.max_frames, options.save_every
        source.begin()

        def on_frame() -> None:
            source.note_frame()
            self._count()

        return VideoJob(self._system, *settings, on_frame).run(source.path, unfinished)

    def _count(self) -> None:
        with self._count_lock:
            self._num_frames += 1
