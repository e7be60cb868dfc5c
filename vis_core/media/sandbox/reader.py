"""Decoding of untrusted videos in a sandboxed process.

The frames are byte-identical to those of ``media/video_reader.py``. Whatever a file does to its
decoder (crash or hang it, exhaust its memory, run foreign code) affects only a process without
secrets or a model, so only that video is lost. The process decodes ahead while the caller computes.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Never, Self

from vis_core.config.media import DecodeLimits
from vis_core.errors import VideoDecodeError, shown_name
from vis_core.frame import Frame
from vis_core.media.container import failure
from vis_core.media.sandbox.process import Decoder, decoders
from vis_core.media.sandbox.protocol import (
    Alive,
    Delivered,
    Ended,
    Opened,
    ProtocolError,
    Refused,
    Reply,
)
from vis_core.media.video_reader import check_selection

# Seconds a decoder is given to stop when a video is closed early; then it is killed.
STOP_TIMEOUT_S = 2.0
_HOSTILE = "the file is damaged or hostile"


class SandboxedReader(Iterator[Frame]):
    """A single-pass iterator over the frames of one video file, decoded in another process.

    ``report`` and ``number`` are those of ``VideoReader``.
    """

    def __init__(
        self,
        path: Path,
        max_frames: int | None,
        limits: DecodeLimits,
        sample_fps: float | None = None,
        skip: int = 0,
        picture_rate: float | None = None,
    ) -> None:
        self._path = path
        self._limits = limits
        self.number = 0
        self.num_frames: int | None = None  # returned or skipped; None until exhausted
        self._decoder: Decoder | None = None
        request = {
            "do": "read",
            "path": str(path.absolute()),
            "max_frames": max_frames,
            "sample_fps": sample_fps,
            "skip": skip,
            "picture_rate": picture_rate,
        }
        try:
            opened = self._open(request)
        except BaseException:
            self.close()
            raise
        self.info = opened.info
        self.report = opened.report

    def __next__(self) -> Frame:
        decoder = self._decoder
        if decoder is None:
            raise StopIteration
        reply = self._receive(decoder)
        if isinstance(reply, Ended):
            self.report, self.num_frames = reply.report, reply.num_frames
            self._release(decoder)
            raise StopIteration
        size = self.info.height, self.info.width
        num_slots = decoder.ring.num_slots(*size)
        if not isinstance(reply, Delivered) or reply.slot not in range(num_slots):
            self._fail(decoder, reply)
        image = decoder.ring.slot(reply.slot, *size).copy()
        self._request(do="release", slot=reply.slot)
        self.number, self.report = reply.number, reply.report
        return Frame(image, reply.index, reply.time_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the decoder; no further frame is returned."""
        decoder = self._decoder
        if decoder is None:
            return
        self._request(do="stop")
        try:
            while not isinstance(decoder.channel.receive(STOP_TIMEOUT_S), Ended | Refused):
                pass
        except (EOFError, TimeoutError, ProtocolError):
            self._end(decoder)
        else:
            self._release(decoder)

    def _open(self, request: dict[str, str | int | float | None]) -> Opened:
        """Opens the video in a decoder.

        The death of a decoder that has read other videos may have another cause, so the video is
        opened again; only the death of a fresh decoder is attributed to this video.
        """
        decoder = self._decoder = decoders.acquire(self._limits)
        was_fresh, decoder.is_fresh = decoder.is_fresh, False
        self._request(**request)
        try:
            reply = self._receive(decoder)
        except VideoDecodeError as error:
            if not was_fresh and error.kind == "decoder died":
                return self._open(request)
            raise
        if not isinstance(reply, Opened):
            self._fail(decoder, reply)
        return reply

    def _request(self, **request: str | int | float | None) -> None:
        assert self._decoder is not None, "called while the reader is open"
        with contextlib.suppress(ConnectionError):  # the next receive reports the decoder's death
            self._decoder.channel.send_request(**request)

    def _receive(self, decoder: Decoder) -> Reply:
        """Waits for the next reply; raises if none arrives in time or the decoder has died."""
        timeout_s = self._limits.frame_timeout_s
        try:
            while isinstance(reply := decoder.channel.receive(timeout_s), Alive):
                pass
            return reply
        except TimeoutError as error:
            self._end(decoder)
            why = f"no frame for {timeout_s:g} s, the decoder was ended"
            why += "; raise inference.decoding.frame_timeout_s if this machine is that slow"
            raise failure(self._path, why, "timed out") from error
        except ProtocolError as error:
            self._end(decoder)
            why = f"the decoder sent an invalid message; {_HOSTILE}"
            raise failure(self._path, why, "decoder died") from error
        except EOFError as error:
            self._decoder = None
            out_of_memory, exit_reason = decoder.exit_reason()
            if out_of_memory:
                why = f"decoding takes more than {self._limits.max_memory_mib} MiB"
                why += "; raise inference.decoding.max_memory_mib to read it"
                raise failure(self._path, why, "too large") from error
            why = f"the decoder died ({exit_reason}); {_HOSTILE}"
            raise failure(self._path, why, "decoder died") from error

    def _fail(self, decoder: Decoder, reply: Reply) -> Never:
        """Raises the error for an unexpected reply."""
        if not isinstance(reply, Refused):
            self._end(decoder)
            why = f"the decoder sent an invalid message ({reply.type}); {_HOSTILE}"
            raise failure(self._path, why, "decoder died")
        self._release(decoder)
        message = reply.message.removeprefix(shown_name(self._path.absolute()))
        # Escaped once more, since the sender may have been taken over.
        raise VideoDecodeError(shown_name(self._path) + shown_name(message), reply.kind)

    def _release(self, decoder: Decoder) -> None:
        self._decoder = None
        decoders.release(decoder)

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
    picture_rate: float | None = None,
) -> SandboxedReader:
    """Opens a video file like ``read_frames``, but decodes it in another process.

    The decoder is kept for the next video and ends with the calling process. Its process inherits
    no secrets, has at most ``max_memory_mib`` of memory and cannot write files; if the kernel
    permits, it has no network (``media/sandbox/confinement.py``). Each reader has its own process.

    The caller must close or exhaust the reader.

    Raises:
        VideoDecodeError: If the file cannot be trusted or opened, or yields no frame; also during
            reading, if the decoder dies or returns no frame for ``frame_timeout_s``.
        DecoderError: If this machine cannot start the process.
    """
    check_selection(max_frames, sample_fps, skip)
    limits = limits or DecodeLimits()
    return SandboxedReader(path, max_frames, limits, sample_fps, skip, picture_rate)
