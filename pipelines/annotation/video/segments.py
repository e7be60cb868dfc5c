"""Walks through a long video in segments: workers see them at once, one of them names all.

Naming is a function of what was seen, frame after frame, and of nothing else, so the result of any
number of segments is, bit by bit, that of one walk (``vis_core/inference/predictions.py``). A
segment is some blocks (``prediction_store.py``); those that are there are not made again.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.annotation.video.prediction_store import PredictionBlock, PredictionStore, VideoEnd
from pipelines.annotation.video.resume import UnfinishedVideo
from pipelines.annotation.video.whole_video import (
    ProcessedVideo,
    ended_tracks,
    open_reader,
    played_s,
)
from vis_core.config.inference import InferenceConfig
from vis_core.files import file_sha256
from vis_core.formats.mask_table import MaskRows
from vis_core.inference.chunk_pipeline import run_chunked
from vis_core.inference.frame_predictor import FramePredictor, View
from vis_core.inference.online import OnlineTracker
from vis_core.inference.predictions import PredictionCollector
from vis_core.inference.protocols import FrameSystem
from vis_core.media.decode_report import VideoInfo
from vis_core.media.sandbox.reader import SandboxedReader
from vis_core.structures import Frame

_ROUNDING_S = 1e-6  # as in the reader: times are fractions of the stream's clock


def frames_to_annotate(
    info: VideoInfo, sample_fps: float | None, max_frames: int | None
) -> int | None:
    """Returns how many frames of a video will be annotated if its container tells the truth.

    The reader yields the first frame, then the first one in each further period of
    ``1 / sample_fps``.

    Args:
        info: What the container states.
        sample_fps: Frames per second that are annotated at most; None means all.
        max_frames: Frames that are annotated at most; None means all.

    Returns:
        The number of frames, or None if the container states neither frames nor duration.
    """
    count = info.declared_frames
    if count is None and info.duration_s is not None:
        count = round(info.duration_s * info.rate)
    if not count:
        return None
    if sample_fps is not None and info.rate > 0:
        last_s = (count - 1) / info.rate
        count = min(count, math.floor((last_s + _ROUNDING_S) * sample_fps) + 1)
    return count if max_frames is None else min(count, max_frames)


def segment_range(
    expected: int | None, number: int, count: int, block_frames: int
) -> tuple[int, int | None]:
    """Cuts a video at blocks, into segments whose lengths differ by one block at most.

    Args:
        expected: Frames that it will probably have; None leaves all to the first segment.
        number: Of the segment, from 0.
        count: Of segments; those beyond the number of blocks are empty.
        block_frames: Frames of a block.

    Returns:
        The first frame and where the segment ends (exclusive); that of the last one is None: it
        goes on to the end of the file, wherever that is.
    """
    if expected is None:
        return (0, None) if number == 0 else (0, 0)
    num_blocks = math.ceil(expected / block_frames)
    first = num_blocks * number // count * block_frames
    last = num_blocks * (number + 1) // count * block_frames
    return first, None if number == count - 1 else last


class SegmentJob:
    """Sees the segments of video files.

    Args:
        system: Segments frames.
        config: How a video is walked through; with one view at most.
        max_frames: Frames that are annotated; None means all.
        on_frame: Is told of each frame that is read.
    """

    def __init__(
        self,
        system: FrameSystem,
        config: InferenceConfig,
        max_frames: int | None,
        on_frame: Callable[[], None],
    ) -> None:
        (view,) = View.of(config.views)  # several are fused at the end of one walk
        self._predictor = FramePredictor(view.seen_by(system), config.tracks, view.flip)
        self._config = config
        self._max_frames = max_frames
        self._on_frame = on_frame

    def run(self, path: Path, blocks: PredictionStore, number: int, count: int) -> None:
        """Makes the blocks of one segment that are not there.

        Args:
            path: The video file.
            blocks: Where they are and come.
            number: Of the segment, from 0.
            count: Of segments of the video.

        Raises:
            VideoDecodeError: The file cannot be read.
            StorageError: A block cannot be stored.
        """
        config = self._config
        with open_reader(path, config, max_frames=1) as reader:
            expected = frames_to_annotate(reader.info, config.sample_fps, self._max_frames)
        first, last = segment_range(expected, number, count, blocks.block_frames)
        end = blocks.end()
        if end is not None:
            last = end.num_frames if last is None else min(last, end.num_frames)
        for run_first, run_last in missing_runs(set(blocks.held()), first, last, blocks):
            self._see(path, blocks, run_first, run_last)

    def _see(self, path: Path, blocks: PredictionStore, first: int, last: int | None) -> None:
        """Sees the frames from ``first`` to ``last`` (exclusive), or to the end of the file."""
        limits = [limit for limit in (last, self._max_frames) if limit is not None]
        limit = min(limits) if limits else None
        walk = PredictionCollector(self._predictor)
        unseen: deque[tuple[int, float]] = deque()  # or seen and not yet put

        def noted(reader: SandboxedReader) -> Iterator[Frame]:
            for frame in reader:
                unseen.append((reader.number, frame.time_s))
                self._on_frame()
                yield frame

        def put(begin: int) -> None:
            frames = walk.take()
            own = [unseen.popleft() for _ in frames]
            blocks.put(PredictionBlock(begin, [n for n, _ in own], [t for _, t in own], frames))

        def after(newest: Frame) -> None:
            if (newest.index + 1) % blocks.block_frames == 0:
                put(newest.index + 1 - blocks.block_frames)

        with open_reader(path, self._config, max_frames=limit, skip=first) as reader:
            run_chunked(noted(reader), self._config.chunk_frames, [walk], after)
            num_frames = reader.num_frames
            assert num_frames is not None, "the reader is exhausted"
            if num_frames % blocks.block_frames and num_frames > first:
                put(num_frames // blocks.block_frames * blocks.block_frames)
            if last is None or num_frames < last or num_frames == self._max_frames:
                end = VideoEnd(num_frames, reader.info, reader.report, file_sha256(path))
                blocks.put_end(end)


def missing_runs(
    held: set[int], first: int, last: int | None, blocks: PredictionStore
) -> Iterator[tuple[int, int | None]]:
    """Yields the parts of a segment whose blocks are not there; an open end is one of them.

    Args:
        held: First frames of the blocks that are there.
        first: Of the segment.
        last: Where it ends (exclusive); None if nobody knows.
        blocks: Says how long a block is.
    """
    step = blocks.block_frames
    if last is None:
        while first in held:
            first += step
        yield first, None
        return
    begin: int | None = None
    for place in range(first, last, step):
        if place in held and begin is not None:
            yield begin, place
            begin = None
        elif place not in held and begin is None:
            begin = place
    if begin is not None:
        yield begin, last


def associate_blocks(
    system: FrameSystem,
    config: InferenceConfig,
    blocks: PredictionStore,
    unfinished: UnfinishedVideo,
) -> tuple[ProcessedVideo, VideoEnd] | None:
    """Names what the segments of a video have seen.

    Args:
        system: Names instances.
        config: How the video is walked through.
        blocks: What was seen.
        unfinished: What earlier attempts have named, and where this one saves.

    Returns:
        The video after its last frame, and its end; None if a block is missing.

    Raises:
        StorageError: A state cannot be saved.
    """
    end = blocks.end()
    if end is None:
        return None
    (view,) = View.of(config.views)
    rows = MaskRows(end.size)
    walk = OnlineTracker(view.seen_by(system), config.tracks, mirrored=view.flip, sink=rows)
    if unfinished.state is not None:
        walk.restore(unfinished.state, end.size)
    begin_s, end_s = math.inf, -math.inf
    for block in blocks.whole(0, end.num_frames, end.num_frames):
        if block is None:
            return None
        first = block.first
        begin_s, end_s = min(begin_s, *block.times_s), max(end_s, *block.times_s)
        done = max(0, unfinished.num_frames - first)
        if done < len(block.frames):
            walk.associate_predictions(first + done, block.frames[done:], end.size)
            for place in range(done, len(block.frames)):
                rows.frame(first + place, block.numbers[place], block.times_s[place])
            unfinished.save(block.last, rows.take(), walk.state())
    size, num_frames = walk.tracks.video
    return (
        ProcessedVideo(
            end.info,
            end.report,
            size,
            num_frames,
            played_s(begin_s, end_s, end.info),
            ended_tracks(walk.tracks.listed()),
            unfinished.parts,
        ),
        end,
    )
