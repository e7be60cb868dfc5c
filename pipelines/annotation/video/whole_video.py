"""Processes one video file from its first to its last frame; a killed job can be resumed."""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.annotation.video.resume import UnfinishedVideo
from vis_core.config.inference import InferenceConfig
from vis_core.formats.mask_table import MaskRows
from vis_core.inference.chunk_pipeline import run_chunked
from vis_core.inference.frame_predictor import View
from vis_core.inference.online import fused_result, view_trackers
from vis_core.inference.protocols import FrameSystem
from vis_core.media.decode_report import DecodeReport, VideoInfo
from vis_core.media.sandbox.reader import SandboxedReader, read_frames_sandboxed
from vis_core.structures import Frame, Track

_log = logging.getLogger(__name__)
FrameTime = tuple[int, int, float]  # index among annotated frames, number in the file, seconds


@dataclass(frozen=True)
class ProcessedVideo:
    """The outcome of processing a whole video file."""

    info: VideoInfo
    report: DecodeReport
    size: tuple[int, int]  # height and width
    num_frames: int  # annotated frames
    video_s: float  # duration of this run's frames in seconds
    tracks: list[Track]  # best score first; their masks are in ``parts``, by serial
    # yields the rows of all frames in order, in several tables
    parts: Callable[[], Iterator[pa.Table]]
    # the cuts and each join's confidence, as written to the result; None if the video was
    # associated in one pass
    stitching: dict[str, Any] | None = None


@dataclass
class VideoJob:
    """A system with the settings for processing a video file."""

    system: FrameSystem
    config: InferenceConfig
    max_frames: int | None
    save_every: int  # frames after which a state is saved
    on_frame: Callable[[], None]  # called after reading a frame
    _pending: deque[FrameTime] = field(default_factory=deque)  # read but not yet associated
    _begin_s: float = math.inf
    _end_s: float = -math.inf

    def run(self, path: Path, unfinished: UnfinishedVideo) -> ProcessedVideo:
        """Processes the remaining frames of a video.

        ``unfinished`` contains the results of earlier attempts and saves this attempt's states.
        With several views, results stay in memory until they are fused, and no state is saved.

        Raises:
            VideoDecodeError: The file cannot be read.
            StorageError: A state cannot be saved.
        """
        done = unfinished.num_frames
        with open_reader(path, self.config, max_frames=self.max_frames, skip=done) as reader:
            if len(View.of(self.config)) == 1:
                return self._run_one_view(reader, unfinished)
            return self._run_views(reader)

    def _run_one_view(self, reader: SandboxedReader, unfinished: UnfinishedVideo) -> ProcessedVideo:
        size = reader.info.height, reader.info.width
        rows = MaskRows(size)
        (tracker,) = view_trackers(self.system, self.config, rows)
        if unfinished.state is not None:
            tracker.restore(unfinished.state, size)

        def after(last: Frame) -> None:
            for frame in self._take_pending(last):
                rows.close_frame(*frame)
            num_frames = last.index + 1
            if num_frames - unfinished.num_frames >= self.save_every:
                unfinished.save(num_frames, rows.take(), tracker.state())

        run_chunked(self._frames(reader), self.config.chunk_frames, [tracker], after)
        tracks, rest = tracker.tracks, rows.take()
        return self._processed(
            reader, tracks.num_frames, tracks.finished(), lambda: chain(unfinished.parts(), [rest])
        )

    def _run_views(self, reader: SandboxedReader) -> ProcessedVideo:
        trackers = view_trackers(self.system, self.config)
        frames: list[FrameTime] = []
        run_chunked(
            self._frames(reader),
            self.config.chunk_frames,
            trackers,
            lambda last: frames.extend(self._take_pending(last)),
        )
        result = fused_result(trackers, self.config)
        tracks, rows = rows_of_tracks(result.tracks, frames, result.size)
        return self._processed(reader, result.num_frames, tracks, lambda: iter([rows]))

    def _processed(
        self,
        reader: SandboxedReader,
        num_frames: int,
        tracks: list[Track],
        parts: Callable[[], Iterator[pa.Table]],
    ) -> ProcessedVideo:
        info, video_s = reader.info, played_s(self._begin_s, self._end_s, reader.info)
        size = info.height, info.width
        return ProcessedVideo(info, reader.report, size, num_frames, video_s, tracks, parts)

    def _frames(self, reader: SandboxedReader) -> Iterator[Frame]:
        for frame in reader:
            self._pending.append((frame.index, reader.number, frame.time_s))
            self._begin_s = min(self._begin_s, frame.time_s)
            self._end_s = max(self._end_s, frame.time_s)
            self.on_frame()
            yield frame

    def _take_pending(self, last: Frame) -> Iterator[FrameTime]:
        """Removes and yields pending frames up to ``last``; later frames may also be pending."""
        while self._pending and self._pending[0][0] <= last.index:
            yield self._pending.popleft()


def open_reader(
    path: Path, config: InferenceConfig, *, max_frames: int | None, skip: int = 0
) -> SandboxedReader:
    """Opens a video as configured; see ``read_frames_sandboxed`` for the arguments."""
    reader = read_frames_sandboxed(
        path,
        max_frames=max_frames,
        limits=config.decoding,
        sample_fps=config.sample_fps,
        skip=skip,
        picture_rate=config.picture_rate,
    )
    if reader.info.hdr:
        _warn_about_hdr(reader.info.hdr)
    return reader


@cache
def _warn_about_hdr(transfer: str) -> None:
    """Logs once per process that HDR is not tone-mapped."""
    _log.warning(
        "a video is HDR, %s: no tone mapping is applied, so its colours are flat; results of such"
        ' videos say "hdr"',
        transfer,
    )


def played_s(begin_s: float, end_s: float, info: VideoInfo) -> float:
    """Computes the duration of frames from the first and last frame's times; 0 without frames."""
    step_s = 1 / info.rate if info.rate > 0 else 0.0
    return max(0.0, end_s - begin_s + step_s)


def rows_of_tracks(
    tracks: Iterable[Track], frames: list[FrameTime], size: tuple[int, int]
) -> tuple[list[Track], pa.Table]:
    """Converts track masks to rows, frame by frame; also returns the numbered tracks."""
    numbered = [replace(track, serial=serial) for serial, track in enumerate(tracks)]
    rows = MaskRows(size)
    for track in numbered:
        scores = track.frame_scores or ()
        masks = track.masks.between(0, len(frames))
        for (frame_index, counts), score in zip(masks, scores, strict=True):
            rows.add(frame_index, track.serial, score, counts)
    for frame in frames:
        rows.close_frame(*frame)
    return numbered, rows.take()
