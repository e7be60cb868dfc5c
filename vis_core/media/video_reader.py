"""Reading untrusted video files with one frame in memory at a time.

Frames have their display orientation (turned and mirrored) and their true times. Missing frames are
reported; no frames are interpolated or invented.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from vis_core.config.media import DecodeLimits
from vis_core.frame import Frame
from vis_core.media.container import failure
from vis_core.media.frame_decoder import FrameDecoder
from vis_core.media.timestamps import VideoClock

if TYPE_CHECKING:
    from vis_core.media.pictures import PictureDecoder

_ROUNDING_S = 1e-6  # tolerance: times are multiples of the stream's clock tick


class VideoReader(Iterator[Frame]):
    """A single-pass iterator over the frames of one video file.

    ``report`` is complete as soon as the final frame is returned; ``number`` is the index (from 0)
    of the last returned frame among all frames of the file.

    ``on_decoded`` is called after a frame is decoded, whether or not it is returned. ``new_image``
    returns the (H, W, 3) uint8 array to write a frame to; without it, frames are not copied.
    """

    def __init__(
        self,
        path: Path,
        max_frames: int | None,
        limits: DecodeLimits,
        sample_fps: float | None = None,
        skip: int = 0,
        on_decoded: Callable[[], None] | None = None,
        new_image: Callable[[tuple[int, int, int]], np.ndarray] | None = None,
        picture_rate: float | None = None,
    ) -> None:
        check_selection(max_frames, sample_fps, skip)
        self._max_frames = max_frames
        self._skip = skip
        self._new_image = new_image
        self._period_s = 0.0 if sample_fps is None else 1 / sample_fps
        self._num_returned = self.number = 0
        self._reformatter = VideoReformatter()  # one for all frames, since setting it up takes time
        self._decoder = _new_decoder(path, picture_rate, limits.max_pixels, on_decoded)
        self.report = self._decoder.report
        self._next_stored: VideoFrame | None
        try:
            self._next_stored, self.info = self._decoder.start()
            self._clock = VideoClock(self.info.rate)
            self._due_s = self._clock.follow(self._next_stored) + self._period_s
        except BaseException:
            self._decoder.close()
            raise

    def __next__(self) -> Frame:
        while self._next_stored is not None and self._num_returned < self._skip:
            self._advance(self._next_stored)
        stored = self._next_stored
        if stored is None:
            self.close()
            raise StopIteration
        frame = Frame(self._shown_image(stored), self._num_returned, self._clock.time_s)
        self._advance(stored)
        return frame

    @property
    def num_frames(self) -> int:
        """Number of returned or skipped frames."""
        return self._num_returned

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the decoder; no further frame is returned."""
        self._next_stored = None
        self._decoder.close()

    def _advance(self, stored: VideoFrame) -> None:
        """Counts a selected frame and decodes the next one.

        Decoding runs one frame ahead, so the report is complete when the final frame is returned.
        """
        self.number = self.report.decoded_frames
        self.report.decoded_frames += 1
        size = self._decoder.orientation_of(stored).size(stored)
        self.report.resized_frames += size != (self.info.height, self.info.width)
        self._num_returned += 1
        self._next_stored = self._next_due()
        if self._next_stored is None:
            self._decoder.check_end(self.info, self._clock)
        elif self._num_returned == self._max_frames:
            self.report.stopped_early = True
            self._next_stored = None

    def _next_due(self) -> VideoFrame | None:
        """Decodes up to the next selected frame; the frames before it are only counted."""
        for stored in self._decoder.frames:
            before_s = self._clock.time_s
            time_s = self._clock.follow(stored)
            if self.report.declared_frames is None:
                self.report.gaps = self._clock.gaps
            if not self._period_s:
                return stored
            if time_s < before_s:  # the file's clock starts again
                self._due_s = time_s
            if time_s >= self._due_s - _ROUNDING_S:
                passed = math.floor((time_s + _ROUNDING_S - self._due_s) / self._period_s) + 1
                self._due_s += passed * self._period_s
                return stored
            self.report.decoded_frames += 1
        return None

    def _shown_image(self, stored: VideoFrame) -> np.ndarray:
        """Turns a decoded frame for display and resizes it to the first frame's size."""
        try:
            image = self._reformatter.reformat(stored, format="rgb24").to_ndarray()
        except FFmpegError as error:
            why = f"frame {self.report.decoded_frames} of format {stored.format.name}"
            why += f" cannot be converted to RGB ({error.strerror})"
            raise failure(self._decoder.path, why, "decode error") from error
        image = self._decoder.orientation_of(stored).apply(image)
        height, width = self.info.height, self.info.width
        if image.shape[:2] != (height, width):
            whole = np.ascontiguousarray(image)
            image = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        if self._new_image is None:
            return np.ascontiguousarray(image)
        written = self._new_image((height, width, 3))
        written[:] = image
        return written


def read_frames(
    path: Path | str,
    *,
    max_frames: int | None = None,
    limits: DecodeLimits | None = None,
    sample_fps: float | None = None,
    skip: int = 0,
    picture_rate: float | None = None,
) -> VideoReader:
    """Opens a video file, or a folder of pictures, and decodes its first frame.

    The caller must close or exhaust the reader.

    Args:
        path: A regular file; links are followed.
        max_frames: Number of frames, including skipped ones, after which the reader stops; at
            least 1. None reads all.
        sample_fps: Maximum frames per second; returns the first frame, then the first frame at or
            after each further multiple of the period. None returns all frames.
        skip: Number of frames that are decoded and counted but not returned; the index of the
            first returned frame is ``skip``.
        picture_rate: Pictures per second if ``path`` is a folder; None reads files only.

    Raises:
        VideoDecodeError: If the file cannot be trusted or opened, or yields no frame.
    """
    limits = limits or DecodeLimits()
    return VideoReader(Path(path), max_frames, limits, sample_fps, skip, picture_rate=picture_rate)


def _new_decoder(
    path: Path,
    picture_rate: float | None,
    max_pixels: int,
    on_decoded: Callable[[], None] | None,
) -> "FrameDecoder | PictureDecoder":
    if picture_rate is None or not path.is_dir():
        return FrameDecoder(path, max_pixels, on_decoded)
    from vis_core.media.pictures import PictureDecoder  # most decoders need no image libraries

    return PictureDecoder(path, picture_rate, max_pixels, on_decoded)


def check_selection(max_frames: int | None, sample_fps: float | None, skip: int) -> None:
    """Asserts that a frame selection is valid for a reader."""
    assert max_frames is None or max_frames > 0, f"max_frames must be positive: {max_frames}"
    assert sample_fps is None or sample_fps > 0, f"sample_fps must be positive: {sample_fps}"
    assert skip >= 0, f"skip must not be negative: {skip}"
