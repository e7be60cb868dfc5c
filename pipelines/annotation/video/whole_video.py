"""Walks a model through one video file and keeps what a result needs; can stop and go on."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.annotation.video.resume import UnfinishedVideo
from vis_core.config.inference import InferenceConfig
from vis_core.formats.mask_table import MaskRows
from vis_core.inference.chunk_pipeline import run_chunked
from vis_core.inference.frame_predictor import View
from vis_core.inference.fusion import fuse_tracks
from vis_core.inference.online import OnlineTracker
from vis_core.inference.packed_tracks import PackedTrack
from vis_core.inference.protocols import FrameSystem
from vis_core.inference.track_builder import ListedTrack
from vis_core.media.decode_report import DecodeReport, VideoInfo
from vis_core.media.sandbox.reader import SandboxedReader, read_frames_sandboxed
from vis_core.structures import Frame


@dataclass(frozen=True)
class EndedTrack:
    """Is one entry of the result of a video, without its masks.

    Attributes:
        serial: Names its rows.
        track_id: Its identity.
        label: Class index.
        score: In [0, 1].
        num_frames: Frames in which it shows a pixel.
        first_frame: The first of them; -1 if there is none.
        last_frame: The last of them; -1 if there is none.
        predicted_quality: Mean predicted quality; None if the system does not say.
    """

    serial: int
    track_id: int
    label: int
    score: float
    num_frames: int
    first_frame: int
    last_frame: int
    predicted_quality: float | None


@dataclass(frozen=True)
class ProcessedVideo:
    """Is a video file after its last frame.

    Attributes:
        info: What the container says.
        report: What happened while it was decoded.
        size: Height and width.
        num_frames: Frames that were annotated.
        video_s: Seconds that the frames of this walk play.
        tracks: Best score first.
        parts: Gives the rows of all frames, in order, some at a time.
        stitching: Where the video was cut and how sure each join is, as the result says it; None
            if it was named in one pass.
    """

    info: VideoInfo
    report: DecodeReport
    size: tuple[int, int]
    num_frames: int
    video_s: float
    tracks: list[EndedTrack]
    parts: Callable[[], Iterator[pa.Table]]
    stitching: dict[str, Any] | None = None


class VideoJob:
    """Is the walk of a system through a video file.

    Args:
        system: Segments frames and names instances.
        config: How the video is walked through.
        max_frames: Frames that are annotated; None means all.
        save_every: Frames between two states that are saved.
        on_frame: Is told of each frame that is read.
    """

    def __init__(
        self,
        system: FrameSystem,
        config: InferenceConfig,
        max_frames: int | None,
        save_every: int,
        on_frame: Callable[[], None],
    ) -> None:
        self._system = system
        self._config = config
        self._max_frames = max_frames
        self._save_every = save_every
        self._on_frame = on_frame
        self._open: deque[tuple[int, int, float]] = deque()  # read, and not yet named
        self._begin_s, self._end_s = math.inf, -math.inf

    def run(self, path: Path, unfinished: UnfinishedVideo) -> ProcessedVideo:
        """Walks through what is left of a video.

        Several views are kept in memory until they are fused: nothing of them is saved on the way.

        Args:
            path: The video file.
            unfinished: What earlier attempts have done, and where this one saves.

        Raises:
            VideoDecodeError: The file cannot be read.
            StorageError: A state cannot be saved.
        """
        config = self._config
        views = View.of(config.views)
        done = unfinished.num_frames
        with open_reader(path, config, max_frames=self._max_frames, skip=done) as reader:
            if len(views) == 1:
                return self._in_one_view(reader, views[0], unfinished)
            return self._in_views(reader, views)

    def _in_one_view(
        self, reader: SandboxedReader, view: View, unfinished: UnfinishedVideo
    ) -> ProcessedVideo:
        size = reader.info.height, reader.info.width
        rows = MaskRows(size)
        walk = OnlineTracker(
            view.seen_by(self._system), self._config.tracks, mirrored=view.flip, sink=rows
        )
        if unfinished.state is not None:
            walk.restore(unfinished.state, size)

        def after(last: Frame) -> None:
            for frame in self._named(last):
                rows.frame(*frame)
            num_frames = last.index + 1
            if num_frames - unfinished.num_frames >= self._save_every:
                unfinished.save(num_frames, rows.take(), walk.state())

        run_chunked(self._noted(reader), self._config.chunk_frames, [walk], after)
        _, num_frames = walk.tracks.video
        rest = rows.take()
        return ProcessedVideo(
            reader.info,
            reader.report,
            size,
            num_frames,
            played_s(self._begin_s, self._end_s, reader.info),
            ended_tracks(walk.tracks.listed()),
            lambda: chain(unfinished.parts(), [rest]),
        )

    def _in_views(self, reader: SandboxedReader, views: list[View]) -> ProcessedVideo:
        config = self._config
        walks = [
            OnlineTracker(view.seen_by(self._system), config.tracks, mirrored=view.flip)
            for view in views
        ]
        frames: list[tuple[int, int, float]] = []

        def after(last: Frame) -> None:
            frames.extend(self._named(last))

        run_chunked(self._noted(reader), config.chunk_frames, walks, after)
        size, num_frames = walks[0].tracks.video
        packed = [walk.tracks.packed() for walk in walks]
        fused = fuse_tracks(packed, size, num_frames, config.fusion)[: config.tracks.max_tracks]
        return ProcessedVideo(
            reader.info,
            reader.report,
            size,
            num_frames,
            played_s(self._begin_s, self._end_s, reader.info),
            [_ended(serial, track) for serial, track in enumerate(fused)],
            lambda: iter([rows_of_tracks(fused, frames, size)]),
        )

    def _noted(self, reader: SandboxedReader) -> Iterator[Frame]:
        for frame in reader:
            self._open.append((frame.index, reader.number, frame.time_s))
            self._begin_s = min(self._begin_s, frame.time_s)
            self._end_s = max(self._end_s, frame.time_s)
            self._on_frame()
            yield frame

    def _named(self, last: Frame) -> Iterator[tuple[int, int, float]]:
        """Takes index, number and time of the frames up to one; others may already be read."""
        while self._open and self._open[0][0] <= last.index:
            yield self._open.popleft()


def open_reader(
    path: Path, config: InferenceConfig, *, max_frames: int | None, skip: int = 0
) -> SandboxedReader:
    """Opens a video file as a config says; the arguments are those of ``read_frames_sandboxed``."""
    return read_frames_sandboxed(
        path,
        max_frames=max_frames,
        limits=config.decoding,
        sample_fps=config.sample_fps,
        skip=skip,
    )


def ended_tracks(tracks: Iterable[ListedTrack]) -> list[EndedTrack]:
    """Keeps of listed tracks what a result says of them."""
    return [
        EndedTrack(
            listed.serial,
            listed.track_id,
            listed.label,
            listed.score,
            listed.sums.num_shown,
            listed.sums.first_shown,
            listed.sums.last_shown,
            listed.sums.predicted_quality,
        )
        for listed in tracks
    ]


def played_s(begin_s: float, end_s: float, info: VideoInfo) -> float:
    """Seconds that frames play, given the times of the first and the last; 0 if there is none."""
    step_s = 1 / info.rate if info.rate > 0 else 0.0
    return max(0.0, end_s - begin_s + step_s)


def _ended(serial: int, track: PackedTrack) -> EndedTrack:
    frames = track.masks.frame_indices
    assert track.track_id is not None, "fused tracks are numbered"
    return EndedTrack(
        serial,
        track.track_id,
        track.label,
        track.score,
        len(frames),
        frames[0] if frames else -1,
        frames[-1] if frames else -1,
        track.predicted_quality,
    )


def rows_of_tracks(
    tracks: list[PackedTrack], frames: list[tuple[int, int, float]], size: tuple[int, int]
) -> pa.Table:
    """Lays packed tracks out frame by frame; the serial of a track is its place."""
    rows = MaskRows(size)
    for serial, track in enumerate(tracks):
        assert track.frame_scores is not None, "fused tracks have the scores of their frames"
        shown = zip(track.masks.between(0, len(frames)), track.frame_scores, strict=True)
        for (frame_index, counts), score in shown:
            rows.show(frame_index, serial, score, counts)
    for frame in frames:
        rows.frame(*frame)
    return rows.take()
