"""What a decoder in a process of its own and its owner tell each other, and how it travels.

The decoder reads foreign bytes and may have been taken over by them: its owner takes from it JSON
of a closed set of shapes, checked field by field, and no more bytes than a message may have.
Decoding is in ``media/sandbox/worker.py``, its owner in ``media/sandbox/process.py``.
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

MAX_MESSAGE_BYTES = 2**18  # a name of 4096 bytes, each escaped, and words around it
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Ready:
    """The decoder has started and is confined."""

    says: Literal["ready"] = "ready"


@dataclass(frozen=True)
class Alive:
    """Frames are being decoded, although none is handed out."""

    says: Literal["alive"] = "alive"


@dataclass(frozen=True)
class Opened:
    """A video is open and its first frame decoded."""

    info: VideoInfo
    report: DecodeReport
    says: Literal["opened"] = "opened"


@dataclass(frozen=True)
class Delivered:
    """A frame lies in a slot of the ring.

    Attributes:
        slot: Where it lies until the owner releases it.
        index: Position among the frames that are handed out.
        number: Position among all frames of the file.
        time_s: Presentation time in seconds.
        report: As of this frame.
    """

    slot: int
    index: int
    number: int
    time_s: float
    report: DecodeReport
    says: Literal["delivered"] = "delivered"


@dataclass(frozen=True)
class Ended:
    """The video is over; the decoder is free.

    Attributes:
        report: Of all that was decoded.
        num_frames: That were handed out or skipped.
    """

    report: DecodeReport
    num_frames: int
    says: Literal["ended"] = "ended"


@dataclass(frozen=True)
class Refused:
    """The video cannot be read, or not further; the decoder is free."""

    message: str
    kind: DecodeFailure
    says: Literal["refused"] = "refused"


Reply = Ready | Alive | Opened | Delivered | Ended | Refused
_REPLIES: TypeAdapter[Reply] = TypeAdapter(Reply, config={"extra": "forbid"})


class ProtocolError(Exception):
    """The other side sent what is no message."""


@dataclass
class Channel:
    """Sends and receives messages over a socket, each with its length before it.

    Attributes:
        socket: A connected stream socket.
    """

    socket: socket.socket
    _received: bytearray = field(default_factory=bytearray)

    def send(self, message: Reply) -> None:
        """Sends what a decoder has to say."""
        self._send(_REPLIES.dump_json(message))

    def receive(self, timeout_s: float) -> Reply:
        """Waits for a message of a decoder.

        Raises:
            TimeoutError: If there is none in time.
            EOFError: If there will be none, because the decoder is gone.
            ProtocolError: If it is no message.
        """
        body = self._receive(timeout_s)
        try:
            return _REPLIES.validate_json(body, strict=True)
        except ValidationError as error:
            raise ProtocolError(str(error.error_count())) from error

    @property
    def has_news(self) -> bool:
        """Whether something came or the other side has gone, without waiting."""
        waiting = select.poll()  # select() knows no descriptor above 1023
        waiting.register(self.socket, select.POLLIN)
        return bool(self._received) or bool(waiting.poll(0))

    def send_request(self, **order: Any) -> None:
        """Sends what the owner wants; a lone surrogate of a file name travels as JSON's escape."""
        self._send(json.dumps(order).encode("ascii"))

    def receive_request(self) -> dict[str, Any]:
        """Waits for what the owner wants.

        Raises:
            EOFError: If the owner is gone.
        """
        order: dict[str, Any] = json.loads(self._receive(None))
        return order

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
        """Gives the next bytes; what has come is kept when the rest does not come in time."""
        while len(self._received) < count:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            try:
                came = self.socket.recv(2**16)
            except ConnectionError as error:
                raise EOFError from error
            if not came:
                raise EOFError
            self._received += came
        taken = bytes(self._received[:count])
        if not keep:
            del self._received[:count]
        return taken
