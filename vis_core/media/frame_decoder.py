"""Packet-by-packet decoding of one video stream, with a damage report.

Only the frames of a damaged packet are lost. Sampling, rotation and sizes are in
``media/video_reader.py``.
"""

import logging
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import av
import av.logging
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from vis_core.errors import shown_name
from vis_core.media.container import (
    CONTAINERS_WITHOUT_LENGTH,
    CONTAINERS_WITHOUT_RATE,
    RAW_STREAMS,
    choose_stream,
    ends_within_packet,
    failure,
    moving_streams,
    num_complaints,
    open_container,
)
from vis_core.media.decode_report import DecodeReport, VideoInfo
from vis_core.media.orientation import Orientation, orientation_of
from vis_core.media.timestamps import VideoClock

logger = logging.getLogger(__name__)

# Names of the transfer functions of HDR (ITU-T H.273).
HDR_TRANSFERS = {16: "smpte2084 (PQ)", 18: "arib-std-b67 (HLG)"}


class FrameDecoder:
    """The decoder of one video file, which yields frames as stored, in presentation order."""

    def __init__(
        self, path: Path, max_pixels: int, on_decoded: Callable[[], None] | None = None
    ) -> None:
        """Opens a file with frames of at most ``max_pixels``; see ``VideoReader``."""
        self.path = path
        self._on_decoded = on_decoded
        self._num_packets = self._num_hidden = 0
        self._container, num_open_complaints = open_container(path)
        try:
            self._stream = choose_stream(self._container, path)
            self._limit_decoder(max_pixels)
            declared = self._stream.frames if self._stream.frames > 0 else None
        except BaseException:
            self._container.close()
            raise
        self._is_raw = self._container.format.name in RAW_STREAMS
        # complete once the frames are exhausted and ``check_end`` was called
        self.report = DecodeReport(declared, error_lines=num_open_complaints)
        self.frames = self._decode()

    def close(self) -> None:
        """Frees the decoder and closes the file."""
        self.frames.close()
        self._container.close()

    def start(self) -> tuple[VideoFrame, VideoInfo]:
        """Decodes the first frame and describes the video; raises if there is no frame."""
        first = next(self.frames, None)
        if first is None:
            raise failure(self.path, self._no_frame_reason(), "no frames")
        info = self._describe(first)
        if info.container == "flv" and info.num_video_streams > 1:
            # FLV contains one video stream; a second one means that a tag's type is damaged.
            self.report.error_lines += 1
        self.report.length_known = info.container not in CONTAINERS_WITHOUT_LENGTH and (
            info.declared_frames is not None or info.duration_s is not None
        )
        return first, info

    def orientation_of(self, stored: VideoFrame) -> Orientation:
        """Returns how a frame is displayed; raises if its display matrix is not supported."""
        try:
            return orientation_of(stored)
        except ValueError as error:
            why = f"{error}; ffmpeg -i FILE OUT.mkv writes the video upright"
            raise failure(self.path, why, "orientation") from error

    def check_end(self, info: VideoInfo, clock: VideoClock) -> None:
        """Adds to the report, after the last packet, whether frames are missing."""
        report = self.report
        if report.declared_frames is not None:
            report.truncated = report.decoded_frames + self._num_hidden < report.declared_frames
            return
        if ends_within_packet(self.path, self._container):
            report.truncated = True
        elif report.length_known:
            has_audio = bool(self._container.streams.audio)
            report.truncated = clock.ends_before(
                info.duration_s, may_be_audio=has_audio and not self._stream.duration
            )
            report.gaps += not report.truncated and clock.may_end_before(info.duration_s)

    def _limit_decoder(self, max_pixels: int) -> None:
        codec = self._stream.codec_context
        if codec.width * codec.height > max_pixels:
            why = f"frames of {codec.width} x {codec.height} pixels exceed max_pixels {max_pixels}"
            why += "; raise inference.decoding.max_pixels to read it"
            raise failure(self.path, why, "too large")
        codec.options = {"max_pixels": str(max_pixels)}  # in case later frames are larger
        # One thread: with several, libav ends a truncated file silently and several frames early,
        # and a pool with one actor per core has no idle cores.
        codec.thread_type = "NONE"

    def _decode(self) -> Generator[VideoFrame, None, None]:
        """Yields the frames packet by packet, so that only the frames of a bad packet are lost."""
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
                    why = f"frame {self.report.decoded_frames} needs more memory to decode"
                    raise failure(self.path, f"{why} than there is", "too large") from error
                except FFmpegError:
                    self.report.bad_packets += 1
            if frames and self._on_decoded is not None:
                self._on_decoded()
            self.report.error_lines += num_complaints(lines)
            self.report.corrupt_frames += sum(frame.is_corrupt for frame in frames)
            if self._is_raw:
                for frame in frames:  # libav invents times for some of them
                    frame.pts = frame.dts = None
            yield from frames

    def _packets(self) -> Iterator[Packet | None]:
        """Yields the packets of the stream, then None, which flushes the decoder."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size > 0:
                    self._num_packets += 1
                    self._num_hidden += packet.is_discard and not _has_damaged_time(packet)
                    self.report.corrupt_frames += packet.is_corrupt
                    yield packet
        except FFmpegError:
            self.report.bad_packets += 1
        except IndexError:
            # av raises this at the end of a file if a stream began after the header (av 18.1,
            # ``InputContainer.demux``: its flush loop counts streams that it did not open).
            logger.debug("%s: a stream begins after the header", shown_name(self.path))
        yield None

    def _describe(self, first: VideoFrame) -> VideoInfo:
        stream = self._stream
        orientation = self.orientation_of(first)
        height, width = orientation.size(first)
        return VideoInfo(
            height=height,
            width=width,
            rotation=orientation.rotation,
            rate=self._rate(),
            duration_s=self._duration_s(),
            declared_frames=self.report.declared_frames,
            container=self._container.format.name,
            codec=stream.codec_context.name,
            stream_index=stream.index,
            num_video_streams=len(moving_streams(self._container)),
            mirrored=orientation.mirrored,
            pixel_aspect=self._pixel_aspect(orientation),
            times=self._source_of_times(),
            hdr=HDR_TRANSFERS.get(first.color_trc, ""),
        )

    def _pixel_aspect(self, orientation: Orientation) -> str:
        """Returns the displayed width and height of a pixel as "W:H"; empty if square."""
        aspect = self._stream.sample_aspect_ratio
        if not aspect or aspect == 1:
            return ""
        shown = aspect if orientation.rotation % 180 == 0 else 1 / aspect
        return f"{shown.numerator}:{shown.denominator}"

    def _rate(self) -> float:
        is_unknown = self._container.format.name in CONTAINERS_WITHOUT_RATE
        stream = self._stream
        return float((stream.guessed_rate if is_unknown else stream.average_rate) or 0)

    def _source_of_times(self) -> str:
        """Returns what the times are computed from if the file stores none, or ""."""
        if not self._is_raw:
            return ""
        is_stated = bool(self._stream.codec_context.framerate)
        return f"frame number / rate; the rate is {'stated' if is_stated else 'assumed'}"

    def _duration_s(self) -> float | None:
        stream = self._stream
        if stream.duration and stream.duration > 0 and stream.time_base:
            return float(stream.duration * stream.time_base)
        duration = self._container.duration
        return duration / av.time_base if duration and duration > 0 else None

    def _no_frame_reason(self) -> str:
        if self._num_packets == 0:
            why = "no data at the places of its index, the file is truncated or damaged"
        elif self._num_hidden == self._num_packets:
            why = "its edit list hides all of them"
        else:
            why = "the decoder refuses all of them, the file is encrypted or damaged"
        return f"opens but yields 0 frames of {self._num_packets} packets: {why}"


def _has_damaged_time(packet: Packet) -> bool:
    """Returns whether a packet would be shown before it is decoded."""
    return packet.pts is not None and packet.dts is not None and packet.pts < packet.dts
