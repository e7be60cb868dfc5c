"""Annotates one video after the other with one model; runs in an actor, knows no Ray.

Imports torch: the job (``pipelines/annotate.py``) imports it only when there is work.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipelines.archive import ArchivedVideo, VideoStore
from pipelines.ledger import Ledger, VideoRow
from pipelines.registry import ModelReference
from pipelines.result_document import result_document
from vis_core.errors import VideoDecodeError
from vis_core.formats.categories import Categories
from vis_core.formats.video import VideoReader, read_frames
from vis_core.formats.video_files import shown_name
from vis_core.inference.frame_system import FrameSystem
from vis_core.inference.online import annotate_views
from vis_core.inference.settings import InferenceConfig
from vis_core.structures import Frame, VideoResult

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
    """

    videos: VideoStore
    ledger: Ledger
    model: ModelReference
    config: InferenceConfig
    max_frames: int | None = None
    load: LoadSystem | None = None


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

        Raises:
            StorageError: If the archive or the results cannot be reached.
        """
        job = self._job
        if job.ledger.is_done(video):
            return VideoRow(video.key, "done", result=job.ledger.result_key(video))
        with job.videos.as_file(video.key, video.etag) as path:
            try:
                with read_frames(
                    path,
                    max_frames=job.max_frames,
                    limits=job.config.decoding,
                    sample_fps=job.config.sample_fps,
                ) as reader:
                    seen = SeenFrames()
                    frames = self._counted(reader, seen)
                    result = annotate_views(self._system, frames, job.config)
            except VideoDecodeError as error:
                reason = str(error).removeprefix(f"{shown_name(path)}: ")
                return job.ledger.fail(video, "failed", reason)
        job.ledger.commit(video, video_document(video, result, reader, seen, self._about()))
        return VideoRow(
            video.key,
            "done",
            result=job.ledger.result_key(video),
            num_frames=result.num_frames,
            completeness=reader.report.completeness,
        )

    def _counted(self, reader: VideoReader, seen: "SeenFrames") -> Iterator[Frame]:
        for frame in reader:
            seen.times_s.append(frame.time_s)
            seen.numbers.append(reader.number)
            self._num_frames += 1
            yield frame

    def _about(self) -> "ResultAbout":
        job = self._job
        return ResultAbout(job.model, job.config, job.max_frames, self._categories)


@dataclass(frozen=True)
class SeenFrames:
    """Is which frames of a file were annotated.

    Attributes:
        times_s: (T,) presentation times.
        numbers: (T,) places among all frames of the file, from 0.
    """

    times_s: "array[float]" = field(default_factory=lambda: array("d"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(frozen=True)
class ResultAbout:
    """Is what the results of a job have in common.

    Attributes:
        model: The model.
        config: How the videos are walked through.
        max_frames: Frames annotated of each video, or None for all.
        categories: Classes of the model.
    """

    model: ModelReference
    config: InferenceConfig
    max_frames: int | None
    categories: Categories


def video_document(
    video: ArchivedVideo,
    result: VideoResult,
    reader: VideoReader,
    seen: SeenFrames,
    about: ResultAbout,
) -> dict[str, Any]:
    """The result of one video with what made it; a function of its arguments.

    ``file_names`` names the frames as a tool that extracts them would; ``times_s`` is their true
    presentation time.
    """
    info = {
        "video": video.key,
        "video_version": video.version,
        "video_bytes": video.size,
        "model": about.model.name,
        "model_version": about.model.version,
        "model_digest": about.model.digest,
        "settings": about.config.model_dump(mode="json"),
        "max_frames": about.max_frames,
    }
    return result_document(info, _video_entry(video, reader, seen), about.categories, result)


def _video_entry(video: ArchivedVideo, reader: VideoReader, seen: SeenFrames) -> dict[str, Any]:
    folder = f"video_{video.version[:12]}"
    return {
        "name": video.key,
        "file_names": [f"{folder}/{number:06d}.jpg" for number in seen.numbers],
        "times_s": list(seen.times_s),
        "rate": reader.info.rate,
        "rotation": reader.info.rotation,
        "decoding": {
            **asdict(reader.report),
            "completeness": reader.report.completeness,
            "container": reader.info.container,
            "codec": reader.info.codec,
            "stream_index": reader.info.stream_index,
            "num_video_streams": reader.info.num_video_streams,
        },
    }


def _load_on_best_device(folder: str) -> FrameSystem:
    """Loads on the GPU that was lent to this process, if one was."""
    from vis_core.systems.build import load_system

    return load_system(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")
