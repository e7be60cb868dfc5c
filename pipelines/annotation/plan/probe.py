"""Opens one video of a sample: what is in it, and how long a short walk through it takes."""

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.error import FFmpegError

from pipelines.annotation.video.whole_video import rows_of_tracks
from vis_core.config.inference import InferenceConfig
from vis_core.formats.categories import Categories
from vis_core.formats.mask_table import TableHeader, write_mask_table
from vis_core.inference.online import annotate_views
from vis_core.inference.protocols import FrameSystem
from vis_core.media.container import choose_stream, open_container
from vis_core.media.video_reader import VideoReader, read_frames
from vis_core.structures import Frame, VideoResult


@dataclass(frozen=True)
class VideoFacts:
    """Is what one video holds.

    Attributes:
        num_frames: All of them, as its header or its packets say.
        frames_to_annotate: What the settings leave of them.
        duration_s: Seconds that it plays, up to the last frame that the settings leave.
        height: Pixels of the shown frame.
        width: Pixels of the shown frame.
        images: (H, W, 3) its first frames.
    """

    num_frames: int
    frames_to_annotate: int
    duration_s: float
    height: int
    width: int
    images: list[np.ndarray]


@dataclass(frozen=True)
class Probe:
    """Is what the start of a video took.

    Attributes:
        num_frames: Frames that were annotated.
        open_s: Until its first frame was there.
        walk_s: From then on.
        result_bytes: Of its result, without what does not grow with the frames.
    """

    num_frames: int
    open_s: float
    walk_s: float
    result_bytes: int


def read_facts(
    path: Path, config: InferenceConfig, max_frames: int | None, num_images: int
) -> VideoFacts:
    """Reads a header and a few frames.

    Args:
        path: The video.
        config: How it would be walked through.
        max_frames: Frames that would be annotated of it; None for all.
        num_images: Frames that are kept.

    Raises:
        VideoDecodeError: It cannot be read.
    """
    with read_frames(
        path, max_frames=num_images, limits=config.decoding, sample_fps=config.sample_fps
    ) as reader:
        images = [frame.image for frame in reader]
        info = reader.info
    num_frames = info.declared_frames
    if num_frames is None and info.duration_s is not None and info.rate > 0:
        num_frames = round(info.duration_s * info.rate)
    num_frames = max(num_frames or _count_packets(path), len(images))
    duration_s = info.duration_s or (num_frames / info.rate if info.rate > 0 else 0.0)
    uncut = frames_of_settings(num_frames, duration_s, config.sample_fps, None)
    wanted = frames_of_settings(num_frames, duration_s, config.sample_fps, max_frames)
    played_s = duration_s * wanted / max(1, uncut)
    return VideoFacts(num_frames, wanted, played_s, info.height, info.width, images)


def frames_of_settings(
    num_frames: int, duration_s: float, sample_fps: float | None, max_frames: int | None
) -> int:
    """Says how many frames of a video are annotated: at most so many a second, and in all."""
    wanted = num_frames
    if sample_fps is not None and num_frames > 0:
        last_s = duration_s * (1 - 1 / num_frames)  # when the last frame begins
        wanted = min(wanted, math.floor(last_s * sample_fps + 1e-6) + 1)
    return wanted if max_frames is None else min(wanted, max_frames)


def probe_video(
    path: Path,
    system: FrameSystem,
    categories: Categories,
    config: InferenceConfig,
    *,
    max_frames: int,
    until_s: float,
    clock: Callable[[], float],
) -> Probe:
    """Annotates the start of a video as a worker does: decoding, network, association, run lengths.

    Args:
        path: The video.
        system: The model.
        categories: Its classes.
        config: How a video is walked through.
        max_frames: Frames at most.
        until_s: No further frame is begun after this time of ``clock``.
        clock: Gives seconds from any start.

    Raises:
        VideoDecodeError: It cannot be read.
    """
    start_s = clock()
    with read_frames(
        path, max_frames=max_frames, limits=config.decoding, sample_fps=config.sample_fps
    ) as reader:
        opened_s = clock()
        result = annotate_views(system, _until(reader, until_s, clock), config)
    size = _result_bytes(result, categories)
    walk_s = clock() - opened_s
    fixed = _result_bytes(VideoResult(result.height, result.width, 0, []), categories)
    return Probe(result.num_frames, opened_s - start_s, walk_s, max(0, size - fixed))


def _until(reader: VideoReader, until_s: float, clock: Callable[[], float]) -> Iterator[Frame]:
    """Hands frames on, at least one, until it is late."""
    for frame in reader:
        yield frame
        if clock() >= until_s:
            return


def _result_bytes(result: VideoResult, categories: Categories) -> int:
    """Bytes of the masks of a result as they are written; the times of its frames are made up."""
    frames = [(frame, frame, frame / 30) for frame in range(result.num_frames)]
    tracks, rows = rows_of_tracks(result.tracks, frames, result.size)
    header = TableHeader("video", "0" * 64, result.size, "model", "1", "0" * 64, categories)
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        path = Path(folder) / "masks.parquet"
        write_mask_table(path, [rows], tracks, header)
        return path.stat().st_size


def _count_packets(path: Path) -> int:
    """Reads a file without decoding it, up to where it is damaged, if it is."""
    count = 0
    container, _ = open_container(path)
    with container:
        stream = choose_stream(container, path)
        try:
            for packet in container.demux(stream):
                count += packet.size > 0
        except (FFmpegError, IndexError):  # see ``VideoReader`` for the second
            return count
    return count
