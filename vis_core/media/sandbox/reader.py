"""Decodes a video file that nobody vouches for in a process of its own.

The frames are those of ``media/video_reader.py``, byte for byte. What a file does to its decoder (a
crash, a hang, memory without end, foreign code) it does to a process that holds no secret and no
model, and costs one video. That process decodes ahead while the caller computes.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Never, Self

from vis_core.config.decoding import DecodeLimits
from vis_core.errors import VideoDecodeError, shown_name
from vis_core.frame import Frame
from vis_core.media.sandbox.process import Decoder, give_back_decoder, take_decoder
from vis_core.media.sandbox.protocol import (
    Alive,
    Delivered,
    Ended,
    Opened,
    ProtocolError,
    Refused,
    Reply,
)

# Seconds that a decoder has to leave a video that is closed in its middle, or it is ended.
LEAVE_S = 2.0


class SandboxedReader(Iterator[Frame]):
    """Hands out the frames of one video file, in order, once; they are decoded elsewhere.

    Attributes:
        info: Known as soon as the reader exists.
        report: As of the frame that was handed out last; complete with the last one.
        number: Of the frame that was handed out last, among all frames of the file, from 0.
        num_frames: That were handed out or skipped; known when the reader is exhausted.
    """

    def __init__(
        self,
        path: Path,
        max_frames: int | None,
        limits: DecodeLimits,
        sample_fps: float | None = None,
        skip: int = 0,
    ) -> None:
        self._path = path
        self._limits = limits
        self.number = 0
        self.num_frames: int | None = None
        self._decoder: Decoder | None = None
        order = {
            "do": "read",
            "path": str(path.absolute()),
            "max_frames": max_frames,
            "sample_fps": sample_fps,
            "skip": skip,
        }
        try:
            opened = self._open(order)
        except BaseException:
            self.close()
            raise
        self.info = opened.info
        self.report = opened.report

    def __next__(self) -> Frame:
        decoder = self._decoder
        if decoder is None:
            raise StopIteration
        told = self._hear(decoder)
        if isinstance(told, Ended):
            self.report, self.num_frames = told.report, told.num_frames
            self._free(decoder)
            raise StopIteration
        if not isinstance(told, Delivered):
            self._give_up(decoder, told)
        if told.slot not in range(decoder.ring.num_slots(self.info.height, self.info.width)):
            self._give_up(decoder, told)
        image = decoder.ring.slot(told.slot, self.info.height, self.info.width).copy()
        self._order(do="release", slot=told.slot)
        self.number, self.report = told.number, told.report
        return Frame(image, told.index, told.time_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the decoder; no frame comes after it."""
        decoder = self._decoder
        if decoder is None:
            return
        self._order(do="stop")
        try:
            while not isinstance(decoder.channel.receive(LEAVE_S), Ended | Refused):
                pass
        except (EOFError, TimeoutError, ProtocolError):
            self._decoder = None
            decoder.end()
        else:
            self._free(decoder)

    def _open(self, order: dict[str, str | int | float | None]) -> Opened:
        """Has a decoder open the video.

        One that has read videos before may have been dying already; only a fresh one, which nobody
        else can have killed, puts the blame on this video.
        """
        decoder = self._decoder = take_decoder(self._limits)
        was_kept, decoder.is_fresh = not decoder.is_fresh, False
        self._order(**order)
        try:
            told = self._hear(decoder)
        except VideoDecodeError as error:
            if was_kept and error.kind == "decoder died":
                return self._open(order)
            raise
        if not isinstance(told, Opened):
            self._give_up(decoder, told)
        return told

    def _order(self, **order: str | int | float | None) -> None:
        assert self._decoder is not None, "asked by a reader that is open"
        with contextlib.suppress(ConnectionError):  # the next answer tells that it has died
            self._decoder.channel.send_request(**order)

    def _hear(self, decoder: Decoder) -> Reply:
        """Waits for what the decoder says of the video.

        Raises:
            VideoDecodeError: If it says nothing in time, or has died.
        """
        name, timeout_s = shown_name(self._path), self._limits.frame_timeout_s
        try:
            while isinstance(told := decoder.channel.receive(timeout_s), Alive):
                pass
            return told
        except TimeoutError as error:
            self._end(decoder)
            raise VideoDecodeError(
                f"{name}: no frame for {timeout_s:g} s, the decoder was ended; raise"
                " inference.decoding.frame_timeout_s if this machine is that slow",
                "timed out",
            ) from error
        except ProtocolError as error:
            self._end(decoder)
            raise VideoDecodeError(f"{name}: the decoder spoke nonsense", "decoder died") from error
        except EOFError as error:
            self._decoder = None
            no_memory, how = decoder.exit_reason()
            if no_memory:
                raise self._too_large() from error
            raise VideoDecodeError(
                f"{name}: the decoder died ({how}); the file is damaged or hostile",
                "decoder died",
            ) from error

    def _give_up(self, decoder: Decoder, told: Reply) -> Never:
        """Raises for an answer that is not the expected one."""
        if not isinstance(told, Refused):
            self._end(decoder)
            raise VideoDecodeError(
                f"{shown_name(self._path)}: the decoder spoke nonsense ({told.says})",
                "decoder died",
            )
        self._free(decoder)
        message = told.message.removeprefix(shown_name(self._path.absolute()))
        # Made printable again: who says it may have been taken over.
        raise VideoDecodeError(f"{shown_name(self._path)}{shown_name(message)}", told.kind)

    def _too_large(self) -> VideoDecodeError:
        return VideoDecodeError(
            f"{shown_name(self._path)}: decoding takes more than {self._limits.max_memory_mib} MiB;"
            " raise inference.decoding.max_memory_mib to read it",
            "too large",
        )

    def _free(self, decoder: Decoder) -> None:
        self._decoder = None
        give_back_decoder(decoder)

    def _end(self, decoder: Decoder) -> None:
        self._decoder = None
        decoder.end()


def read_frames_sandboxed(
    path: Path,
    *,
    max_frames: int | None = None,
    limits: DecodeLimits | None = None,
    sample_fps: float | None = None,
    skip: int = 0,
) -> SandboxedReader:
    """Opens a video file and decodes it as ``read_frames`` does, in another process.

    That process is kept for the next video and ends with this one. It has an empty environment,
    may take ``max_memory_mib`` of memory, and can write no file; where the kernel permits, it has
    no network either (``media/sandbox/confinement.py``). Readers that are open at once have one
    each.

    Args:
        path: A regular file, followed if it is a link.
        max_frames: Frames after which the reader stops, at least 1, skipped ones included; None
            reads all.
        limits: What the video may ask of this machine.
        sample_fps: Frames a second that are handed out at most; None hands out all.
        skip: Frames that are decoded and counted, but not handed out.

    Returns:
        An iterator of frames with ``info`` and, when exhausted, ``report``. Close it or exhaust it.

    Raises:
        VideoDecodeError: If the file cannot be trusted, opened, or yields no frame; also while
            frames are read: if the decoder dies, or gives none for ``frame_timeout_s``.
        DecoderError: If this machine cannot start the process.
    """
    assert max_frames is None or max_frames > 0, f"max_frames must be positive: {max_frames}"
    assert sample_fps is None or sample_fps > 0, f"sample_fps must be positive: {sample_fps}"
    assert skip >= 0, f"skip must not be negative: {skip}"
    return SandboxedReader(path, max_frames, limits or DecodeLimits(), sample_fps, skip)
