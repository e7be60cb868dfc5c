"""Processes a long video in segments, which several workers predict and one worker associates.

Association depends on the predictions alone, so any number of segments gives bit for bit the same
result as one pass (``vis_core/inference/predictions.py``). A segment consists of blocks
(``prediction_store.py``); existing blocks are not recomputed.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.annotation.video.prediction_store import PredictionBlock, PredictionStore, VideoEnd
from pipelines.annotation.video.resume import UnfinishedVideo
from pipelines.annotation.video.source import Source
from pipelines.annotation.video.whole_video import ProcessedVideo, open_reader, played_s
from vis_core.config.inference import InferenceConfig
from vis_core.formats.mask_table import MaskRows
from vis_core.inference.chunk_pipeline import run_chunked
from vis_core.inference.frame_predictor import FramePredictor, View
from vis_core.inference.online import view_trackers
from vis_core.inference.predictions import PredictionCollector
from vis_core.inference.protocols import FrameSystem
from vis_core.media.decode_report import VideoInfo
from vis_core.media.sandbox.reader import SandboxedReader
from vis_core.structures import Frame

_ROUNDING_S = 1e-6  # as in the reader: times are fractions of the stream's clock


def frames_to_annotate(
    info: VideoInfo, sample_fps: float | None, max_frames: int | None
) -> int | None:
    """Returns how many frames of a video will be annotated if its container is accurate.

    The reader yields the first frame of the video and of each further period of
    ``1 / sample_fps`` seconds. Returns None if the container declares neither frames nor duration.
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
    """Returns the frame range of one segment of a video that is cut between blocks.

    The segments' lengths differ by at most one block, and some may be empty. The range is the first
    frame and the exclusive end of segment ``number`` (from 0); None is the end of the file. If
    ``expected``, the estimated frame count, is None, the first segment has all frames.
    """
    if expected is None:
        return (0, None) if number == 0 else (0, 0)
    num_blocks = math.ceil(expected / block_frames)
    first = num_blocks * number // count * block_frames
    last = num_blocks * (number + 1) // count * block_frames
    return first, None if number == count - 1 else last


@dataclass(frozen=True)
class SegmentJob:
    """A predictor of segments in one view, which calls ``on_frame`` after reading each frame."""

    system: FrameSystem
    config: InferenceConfig
    max_frames: int | None
    on_frame: Callable[[], None]

    def run(self, source: Source, blocks: PredictionStore, number: int, count: int) -> None:
        """Predicts the missing blocks of segment ``number`` (from 0) out of ``count``.

        Raises:
            VideoDecodeError: The file cannot be read, or other segments were of another content.
            StorageError: A block cannot be stored.
        """
        if not blocks.is_of(source.sha256):
            raise source.changed("differs from the file whose other segments were read")
        config = self.config
        with open_reader(source.path, config, max_frames=1) as reader:
            expected = frames_to_annotate(reader.info, config.sample_fps, self.max_frames)
        first, last = segment_range(expected, number, count, blocks.block_frames)
        end = blocks.end()
        if end is not None:
            last = end.num_frames if last is None else min(last, end.num_frames)
        for run_first, run_last in missing_runs(set(blocks.held()), first, last, blocks):
            self._predict(source, blocks, run_first, run_last)

    def _predict(
        self, source: Source, blocks: PredictionStore, first: int, last: int | None
    ) -> None:
        """Predicts frames ``first`` to ``last`` (exclusive; None means the end of the file)."""
        limits = [limit for limit in (last, self.max_frames) if limit is not None]
        limit = min(limits) if limits else None
        (view,) = View.of(self.config)  # several views are fused at the end of one pass
        system = view.applied_to(self.system)
        collector = PredictionCollector(FramePredictor(system, self.config.tracks, view.flip))
        pending: deque[tuple[int, float]] = deque()  # number and time of frames not yet stored

        def frames_of(reader: SandboxedReader) -> Iterator[Frame]:
            for frame in reader:
                source.note_frame()
                pending.append((reader.number, frame.time_s))
                self.on_frame()
                yield frame

        def put(begin: int) -> None:
            frames = collector.take()
            times = [pending.popleft() for _ in frames]
            numbers, times_s = [number for number, _ in times], [time_s for _, time_s in times]
            blocks.put(PredictionBlock(begin, numbers, times_s, frames))

        def after(newest: Frame) -> None:
            if (newest.index + 1) % blocks.block_frames == 0:
                put(newest.index + 1 - blocks.block_frames)

        source.begin()
        with open_reader(source.path, self.config, max_frames=limit, skip=first) as reader:
            run_chunked(frames_of(reader), self.config.chunk_frames, [collector], after)
            num_frames = reader.num_frames
            assert num_frames is not None, "the reader is exhausted"
            if num_frames % blocks.block_frames and num_frames > first:
                put(num_frames // blocks.block_frames * blocks.block_frames)
            if last is None or num_frames < last or num_frames == self.max_frames:
                blocks.put_end(VideoEnd(num_frames, reader.info, reader.report, source.sha256))


def missing_runs(
    held: set[int], first: int, last: int | None, blocks: PredictionStore
) -> Iterator[tuple[int, int | None]]:
    """Yields the frame ranges of a segment that have no blocks yet.

    ``held`` contains the first frames of existing blocks. ``last`` is exclusive; while it is
    unknown (None), there is one range without an end.
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
    """Associates the predictions of a video's segments; returns None if any block is missing.

    ``unfinished`` contains the results of earlier attempts and saves this attempt's states.
    """
    end = blocks.end()
    if end is None:
        return None
    rows = MaskRows(end.size)
    (tracker,) = view_trackers(system, config, rows)
    if unfinished.state is not None:
        tracker.restore(unfinished.state, end.size)
    begin_s, end_s = math.inf, -math.inf
    for block in blocks.complete(0, end.num_frames, end.num_frames):
        if block is None:
            return None
        first = block.first
        begin_s, end_s = min(begin_s, *block.times_s), max(end_s, *block.times_s)
        done = max(0, unfinished.num_frames - first)
        if done < len(block.frames):
            tracker.associate_predictions(first + done, block.frames[done:], end.size)
            for place in range(done, len(block.frames)):
                rows.close_frame(first + place, block.numbers[place], block.times_s[place])
            unfinished.save(block.last, rows.take(), tracker.state())
    counts = tracker.tracks.size, tracker.tracks.num_frames, played_s(begin_s, end_s, end.info)
    tracks = tracker.tracks.finished()
    return ProcessedVideo(end.info, end.report, *counts, tracks, unfinished.parts), end
