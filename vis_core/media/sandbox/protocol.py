"""The messages between a sandboxed decoder and its owner, and their transport over a socket.

A malicious video may have taken over its decoder. The owner therefore accepts only JSON messages of
known types and limited length, and checks them field by field.
"""

import json
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from vis_core.errors import DecodeFailure
from vis_core.media.decode_report import DecodeReport, VideoInfo

MAX_MESSAGE_BYTES = 2**18  # enough for a message with a 4096-byte file name, every byte escaped
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Ready:
    """A reply: the decoder has started and is confined."""

    type: Literal["ready"] = "ready"


@dataclass(frozen=True)
class Alive:
    """A reply: frames are being decoded, even if none is returned."""

    type: Literal["alive"] = "alive"


@dataclass(frozen=True)
class Opened:
    """A reply: a video is open and its first frame is decoded."""

    info: VideoInfo
    report: DecodeReport
    type: Literal["opened"] = "opened"


@dataclass(frozen=True)
class Delivered:
    """A reply: a frame is in the ring, in a slot reserved until the owner releases it."""

    slot: int
    index: int  # among the returned frames
    number: int  # among all frames of the file
    time_s: float  # presentation time
    report: DecodeReport  # as of this frame
    type: Literal["delivered"] = "delivered"


@dataclass(frozen=True)
class Ended:
    """A reply: the video has ended and the decoder is free."""

    report: DecodeReport
    num_frames: int  # returned or skipped
    type: Literal["ended"] = "ended"


@dataclass(frozen=True)
class Refused:
    """A reply: the video, or the rest of it, cannot be read, and the decoder is free."""

    message: str
    kind: DecodeFailure
    type: Literal["refused"] = "refused"


Reply = Ready | Alive | Opened | Delivered | Ended | Refused
_REPLIES: TypeAdapter[Reply] = TypeAdapter(Reply, config={"extra": "forbid"})


class ProtocolError(Exception):
    """An invalid message from the other side."""


@dataclass
class Channel:
    """Messages over a connected stream socket, each preceded by its length."""

    socket: socket.socket
    _received: bytearray = field(default_factory=bytearray)

    def send(self, message: Reply) -> None:
        """Sends a reply from the decoder."""
        self._send(_REPLIES.dump_json(message))

    def receive(self, timeout_s: float) -> Reply:
        """Waits for a reply from the decoder.

        Raises:
            TimeoutError: If no reply arrives in time.
            EOFError: If the decoder has ended.
            ProtocolError: If the message is not a valid reply.
        """
        body = self._receive(timeout_s)
        try:
            return _REPLIES.validate_json(body, strict=True)
        except ValidationError as error:
            raise ProtocolError(str(error.error_count())) from error

    @property
    def has_input(self) -> bool:
        """Returns whether bytes have arrived or the other side has disconnected; does not wait."""
        poller = select.poll()  # select() supports no descriptor above 1023
        poller.register(self.socket, select.POLLIN)
        return bool(self._received) or bool(poller.poll(0))

    def send_request(self, **request: Any) -> None:
        """Sends a request from the owner; lone surrogates in file names are escaped."""
        self._send(json.dumps(request).encode("ascii"))

    def receive_request(self) -> dict[str, Any]:
        """Waits for a request from the owner; raises EOFError if the owner has ended."""
        return json.loads(self._receive(None))

    def _send(self, body: bytes) -> None:
        self.socket.settimeout(None)
        self.socket.sendall(_LENGTH.pack(len(body)) + body)

    def _receive(self, timeout_s: float | None) -> bytes:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size, deadline, keep=True))
        if length > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"a message of {length} bytes")
        return self._take(_LENGTH.size + length, deadline)[_LENGTH.size :]

    def _take(self, count: int, deadline: float | None, keep: bool = False) -> bytes:
        """Returns the next ``count`` bytes; bytes that arrive before a timeout are kept."""
        while len(self._received) < count:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            try:
                arrived = self.socket.recv(2**16)
            except ConnectionError as error:
                raise EOFError from error
            if not arrived:
                raise EOFError
            self._received += arrived
        taken = bytes(self._received[:count])
        if not keep:
            del self._received[:count]
        return taken
