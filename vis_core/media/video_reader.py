"""Decodes a video file that nobody vouches for, one frame in memory at a time.

A damaged packet costs its own frames only; frames that are missing are counted and said; frames
come as they are shown (rotation applied) with their true time. Nothing is resampled or invented.
"""

import logging
import math
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Self

import av.error
import av.logging
import cv2
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from vis_core.config.decoding import DecodeLimits
from vis_core.errors import VideoDecodeError, shown_name
from vis_core.frame import Frame
from vis_core.media.container import (
    CONTAINERS_WITHOUT_LENGTH,
    choose_stream,
    ends_within_packet,
    moving_streams,
    num_complaints,
    open_container,
)
from vis_core.media.decode_report import DecodeReport as DecodeReport
from vis_core.media.decode_report import VideoInfo as VideoInfo
from vis_core.media.timestamps import VideoClock
from vis_core.media.video_files import find_videos as find_videos

logger = logging.getLogger(__name__)

_ROUNDING_S = 1e-6  # times are fractions of the stream's clock
MICROSECONDS = 1_000_000  # the unit of av's container.duration


class VideoReader(Iterator[Frame]):
    """Hands out the frames of one video file, in order, once.

    Attributes:
        info: Known as soon as the reader exists.
        report: Complete as soon as the last frame is handed out.
        number: Of the frame that was handed out last, among all frames of the file, from 0.

    ``on_decoded`` is called whenever something was decoded, handed out or not. ``new_image`` gives
    the (H, W, 3) uint8 array that a frame is written to; without it none is copied.
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
    ) -> None:
        assert max_frames is None or max_frames > 0, f"max_frames must be positive: {max_frames}"
        assert sample_fps is None or sample_fps > 0, f"sample_fps must be positive: {sample_fps}"
        assert skip >= 0, f"skip must not be negative: {skip}"
        self._path = path
        self._max_frames = max_frames
        self._skip = skip
        self._on_decoded = on_decoded
        self._new_image = new_image
        self._period_s = 0.0 if sample_fps is None else 1 / sample_fps
        self._handed_out = self.number = 0
        self._container, num_open_complaints = open_container(path)
        try:
            self._stream = choose_stream(self._container, path)
            self._start_decoder(limits.max_pixels)
            declared = self._stream.frames if self._stream.frames > 0 else None
            self.report = DecodeReport(declared, error_lines=num_open_complaints)
            self._num_packets = self._num_hidden = 0
            self._reformatter = VideoReformatter()  # one for all: each sets up its tables
            self._stored = self._decode()
            self._next_stored = next(self._stored, None)
            self.info = self._describe()
            # holds one: a tag whose type was changed makes a second one of its own
            self.report.error_lines += self.info.container == "flv" and (
                self.info.num_video_streams > 1
            )
            self._clock = VideoClock(self.info.rate)
            assert self._next_stored is not None, "described"
            self._due_s = self._clock.follow(self._next_stored) + self._period_s
        except BaseException:
            self._container.close()
            raise
        self.report.length_known = self.info.container not in CONTAINERS_WITHOUT_LENGTH and (
            declared is not None or self.info.duration_s is not None
        )

    def __next__(self) -> Frame:
        while self._next_stored is not None and self._handed_out < self._skip:
            self._advance(self._next_stored)
        stored = self._next_stored
        if stored is None:
            self.close()
            raise StopIteration
        frame = Frame(self._shown_image(stored), self._handed_out, self._clock.time_s)
        self._advance(stored)
        return frame

    @property
    def num_frames(self) -> int:
        """Frames that were handed out or skipped."""
        return self._handed_out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the decoder; no frame comes after it."""
        self._next_stored = None
        self._stored.close()
        self._container.close()

    def _advance(self, stored: VideoFrame) -> None:
        """Counts a frame that was wanted and decodes on to the next one.

        One ahead, so that the report is whole when the last frame is handed out.
        """
        self.number = self.report.decoded_frames
        self.report.decoded_frames += 1
        self.report.resized_frames += _shown_size(stored) != (self.info.height, self.info.width)
        self._handed_out += 1
        self._next_stored = self._next_due()
        if self._next_stored is None:
            self._judge_end()
        elif self._handed_out == self._max_frames:
            self.report.stopped_early = True
            self._next_stored = None

    def _next_due(self) -> VideoFrame | None:
        """Decodes on to the next frame that is wanted; the others are counted and no more."""
        for stored in self._stored:
            before_s = self._clock.time_s
            time_s = self._clock.follow(stored)
            if self.report.declared_frames is None:
                self.report.gaps = self._clock.gaps
            if not self._period_s:
                return stored
            if time_s < before_s:  # the clock of the file starts anew
                self._due_s = time_s
            if time_s >= self._due_s - _ROUNDING_S:
                passed = math.floor((time_s + _ROUNDING_S - self._due_s) / self._period_s) + 1
                self._due_s += passed * self._period_s
                return stored
            self.report.decoded_frames += 1
        return None

    def _start_decoder(self, max_pixels: int) -> None:
        """Sets the limits of the decoder before it decodes a frame."""
        codec = self._stream.codec_context
        if codec.width * codec.height > max_pixels:
            raise VideoDecodeError(
                f"{shown_name(self._path)}: frames of {codec.width} x {codec.height} pixels exceed"
                f" max_pixels {max_pixels}; raise inference.decoding.max_pixels to read it",
                "too large",
            )
        codec.options = {"max_pixels": str(max_pixels)}  # for frames that grow later on
        # One thread: with several, libav ends a cut file silently and some frames early, and a
        # pool with one actor on each core has no idle core to offer.
        codec.thread_type = "NONE"

    def _decode(self) -> Generator[VideoFrame, None, None]:
        """Yields what is decoded, packet by packet, so that a bad one costs only its own frames."""
        packets = self._packets()
        flushed = False
        while not flushed:
            frames: list[VideoFrame] = []
            with av.logging.Capture(local=True) as lines:
                packet = next(packets)
                flushed = packet is None
                try:
                    frames = self._stream.decode(packet)
                except av.error.MemoryError as error:
                    raise VideoDecodeError(
                        f"{shown_name(self._path)}: frame {self.report.decoded_frames} takes more"
                        " memory to decode than there is",
                        "too large",
                    ) from error
                except FFmpegError:
                    self.report.bad_packets += 1
            if frames and self._on_decoded is not None:
                self._on_decoded()
            self.report.error_lines += num_complaints(lines)
            self.report.corrupt_frames += sum(frame.is_corrupt for frame in frames)
            yield from frames

    def _packets(self) -> Iterator[Packet | None]:
        """Yields the packets of the stream, then None, which makes the decoder give the rest."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size > 0:
                    self._num_packets += 1
                    self._num_hidden += packet.is_discard and not _is_out_of_time(packet)
                    self.report.corrupt_frames += packet.is_corrupt
                    yield packet
        except FFmpegError:
            self.report.bad_packets += 1
        except IndexError:
            # av at the end of a file in which a stream began after the header (av 18.1,
            # ``InputContainer.demux``: its flush loop counts streams that it does not know).
            logger.debug("%s: a stream begins after the header", shown_name(self._path))
        yield None

    def _describe(self) -> VideoInfo:
        """Reads the header and the first frame.

        Raises:
            VideoDecodeError: If there is no first frame.
        """
        stored, stream = self._next_stored, self._stream
        if stored is None:
            raise VideoDecodeError(
                f"{shown_name(self._path)}: {self._no_frame_reason()}", "no frames"
            )
        height, width = _shown_size(stored)
        return VideoInfo(
            height=height,
            width=width,
            rotation=stored.rotation,
            rate=float(stream.average_rate or 0),
            duration_s=self._duration_s(),
            declared_frames=self.report.declared_frames,
            container=self._container.format.name,
            codec=stream.codec_context.name,
            stream_index=stream.index,
            num_video_streams=len(moving_streams(self._container)),
        )

    def _duration_s(self) -> float | None:
        stream = self._stream
        if stream.duration and stream.duration > 0 and stream.time_base:
            return float(stream.duration * stream.time_base)
        duration = self._container.duration
        return duration / MICROSECONDS if duration and duration > 0 else None

    def _shown_image(self, stored: VideoFrame) -> np.ndarray:
        """Turns a decoded frame as it is shown and sizes it as the first one."""
        try:
            image = self._reformatter.reformat(stored, format="rgb24").to_ndarray()
        except FFmpegError as error:
            raise VideoDecodeError(
                f"{shown_name(self._path)}: frame {self.report.decoded_frames} of format"
                f" {stored.format.name} cannot be turned into RGB ({error.strerror})",
                "decode error",
            ) from error
        # Counter-clockwise, like av's rotation: equal to what OpenCV shows, byte for byte.
        image = np.rot90(image, _quarter_turns(stored.rotation))
        height, width = self.info.height, self.info.width
        if image.shape[:2] != (height, width):
            image = cv2.resize(
                np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA
            )
        if self._new_image is None:
            return np.ascontiguousarray(image)
        shown = self._new_image((height, width, 3))
        shown[:] = image
        return shown

    def _judge_end(self) -> None:
        """Says whether frames are missing, at the end of all packets."""
        report, duration_s = self.report, self.info.duration_s
        if report.declared_frames is not None:
            report.truncated = report.decoded_frames + self._num_hidden < report.declared_frames
            return
        if ends_within_packet(self._path, self._container):
            report.truncated = True
        elif report.length_known:
            has_audio = bool(self._container.streams.audio)
            report.truncated = self._clock.ends_before(
                duration_s, may_be_audio=has_audio and not self._stream.duration
            )
            report.gaps += not report.truncated and self._clock.may_end_before(duration_s)

    def _no_frame_reason(self) -> str:
        if self._num_packets == 0:
            why = "no data where the index says, the file is cut or damaged"
        elif self._num_hidden == self._num_packets:
            why = "its edit list hides all of them"
        else:
            why = "the decoder refuses all of them, the file is encrypted or damaged"
        return f"opens but yields 0 frames of {self._num_packets} packets: {why}"


def _is_out_of_time(packet: Packet) -> bool:
    """Whether a packet would be shown before it is decoded: its time is damaged."""
    return packet.pts is not None and packet.dts is not None and packet.pts < packet.dts


def read_frames(
    path: Path,
    *,
    max_frames: int | None = None,
    limits: DecodeLimits | None = None,
    sample_fps: float | None = None,
    skip: int = 0,
) -> VideoReader:
    """Opens a video file and decodes its first frame.

    Args:
        path: A regular file, followed if it is a link.
        max_frames: Frames after which the reader stops, at least 1, skipped ones included; None
            reads all.
        limits: What the video may ask of this machine.
        sample_fps: Frames a second that are handed out at most: the first one, then the first at or
            after each further multiple of the period. None hands out all.
        skip: Frames that are decoded and counted, but not handed out; the index of the first one
            that is handed out is ``skip``.

    Returns:
        An iterator of frames with ``info`` and, when exhausted, ``report``. Close it or exhaust it.

    Raises:
        VideoDecodeError: If the file cannot be trusted, opened, or yields no frame.
    """
    return VideoReader(path, max_frames, limits or DecodeLimits(), sample_fps, skip)


def _shown_size(stored: VideoFrame) -> tuple[int, int]:
    """Height and width of a decoded frame after its rotation."""
    if _quarter_turns(stored.rotation) % 2 == 1:
        return stored.width, stored.height
    return stored.height, stored.width


def _quarter_turns(rotation: int) -> int:
    """Quarter turns counter-clockwise (0..3) nearest to a rotation in degrees."""
    return round(rotation / 90) % 4
