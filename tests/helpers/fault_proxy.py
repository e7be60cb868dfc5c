"""A proxy to an S3 server that makes requests fail at the given rates."""

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal[
    "500",  # the server answers with an error and does nothing
    "503",
    "409",  # the same, for conditional writes only
    "reset",  # the connection is reset before the request reaches the server
    "hang",  # no answer comes
    "cut",  # the body of an answer ends early
    "flip",  # one bit of an object's content is flipped on reading
    "flip sent",  # one bit of the content is flipped on writing
    "lost",  # the server acts, but its answer is lost
]
HANG_S = 30.0  # longer than any test waits
EVERY_KIND: tuple[Fault, ...] = ("500", "503", "409", "reset", "cut", "flip", "lost")


@dataclass(frozen=True)
class _Message:
    """A request or an answer.

    Attributes:
        start: First line.
        fields: Values by name in lower case.
        head: All bytes before the body, as received.
        body: As received, chunked or not.
    """

    start: list[str]
    fields: dict[str, str]
    head: bytes
    body: bytes = b""

    def may_suffer(self, fault: Fault) -> bool:
        """Returns whether a fault is possible for this request."""
        method, target = self.start[:2]
        reads = method == "GET" and "list-type=2" not in target
        return {
            "409": "if-none-match" in self.fields,
            "cut": method == "GET",
            "flip": reads,  # a listing has no digest; TLS guards it
            "flip sent": method == "PUT" and bool(self.body),
            "lost": method in ("PUT", "DELETE"),
        }.get(fault, True)


@dataclass
class FaultProxy:
    """A proxy that passes requests on to a server, some of them with faults.

    Attributes:
        upstream: URL of the server.
        rates: Share of the requests that suffer each kind of fault, where it can happen.
        seed: Of the random draws.
        refuse_after: Requests after which all are refused with ``refusal``; None means never.
        refusal: Status and code of the refusal.
        faults: The number of faults of each kind.
        num_requests: Requests received so far.
    """

    upstream: str
    rates: Mapping[Fault, float]
    seed: int
    refuse_after: int | None = None
    refusal: tuple[int, str] = (403, "AccessDenied")
    faults: Counter[str] = field(default_factory=Counter)
    num_requests: int = 0

    def __enter__(self) -> "FaultProxy":
        self._draw = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        )
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def endpoint(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._pass_on(await _request(reader, writer), writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client or a fault has closed the connection
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

    async def _pass_on(self, request: _Message, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; returns whether the connection stays open."""
        self.num_requests += 1
        if self.refuse_after is not None and self.num_requests > self.refuse_after:
            writer.write(_error(*self.refusal, request.start[0]))
            return True
        fault = self._drawn(request)
        self.faults[fault] += 1
        if fault in ("500", "503", "409"):
            writer.write(_error(int(fault), "Injected", request.start[0]))
            return True
        if fault == "hang":
            await asyncio.sleep(HANG_S)
        if fault in ("reset", "hang"):
            writer.transport.abort()
            return False
        sent = self._flipped(request.body) if fault == "flip sent" else request.body
        answer = await self._ask(request.head + sent, request.start[0])
        if fault == "lost":
            writer.transport.abort()
            return False
        if fault == "cut":
            writer.write(answer.head + answer.body[: len(answer.body) // 2])
            return False
        writer.write(answer.head + (self._flipped(answer.body) if fault == "flip" else answer.body))
        return True

    def _drawn(self, request: _Message) -> Fault | Literal["none"]:
        chance = self._draw.random()
        for fault, rate in self.rates.items():
            chance -= rate if request.may_suffer(fault) else 0
            if chance < 0:
                return fault
        return "none"

    def _flipped(self, body: bytes) -> bytes:
        if not body:
            return body
        place = self._draw.randrange(len(body))
        return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]

    async def _ask(self, request: bytes, method: str) -> _Message:
        url = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        try:
            writer.write(request)
            await writer.drain()
            answer = await _message(reader)
            has_body = method != "HEAD" and answer.start[1] not in ("204", "304")
            return await _with_body(answer, reader) if has_body else answer
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Message:
    request = await _message(reader)
    if "expect" in request.fields:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = re.sub(rb"(?i)\r\nexpect: [^\r]*", b"", request.head)
        request = _Message(request.start, request.fields, head)
    return await _with_body(request, reader)


async def _message(reader: asyncio.StreamReader) -> _Message:
    head = await reader.readuntil(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").strip().split("\r\n")
    fields = dict(line.lower().split(":", 1) for line in lines)
    return _Message(start.split(" "), {name: text.strip() for name, text in fields.items()}, head)


async def _with_body(message: _Message, reader: asyncio.StreamReader) -> _Message:
    if message.fields.get("transfer-encoding") == "chunked":
        body = b"".join([chunk async for chunk in _chunks(reader)])
    else:
        body = await reader.readexactly(int(message.fields.get("content-length", 0)))
    return _Message(message.start, message.fields, message.head, body)


async def _chunks(reader: asyncio.StreamReader):
    size = 1
    while size:
        line = await reader.readline()
        size = int(line.split(b";")[0], 16)
        yield line + await reader.readexactly(size + 2)


def _error(status: int, code: str, method: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>by the test</Message></Error>".encode()
    head = (
        f"HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
    )
    return f"{head}\r\n\r\n".encode() + (b"" if method == "HEAD" else body)


@contextmanager
def faulty(upstream: str, total: float, seed: int) -> Iterator[FaultProxy]:
    """Returns a proxy where every kind of fault that needs no waiting is equally frequent."""
    rates = dict.fromkeys(EVERY_KIND, total / len(EVERY_KIND))
    with FaultProxy(upstream, rates, seed) as proxy:
        yield proxy
