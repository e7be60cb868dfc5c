"""Starts, lends and ends the processes in which videos are decoded.

A process decodes one video at a time and is kept for the next one; one that died, hung or spoke
nonsense is not. What it does is in ``media/sandbox/worker.py``.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import vis_core
from vis_core.config.decoding import DecodeLimits
from vis_core.errors import DecoderError
from vis_core.media.sandbox.frame_ring import FrameRing, make_ring_file
from vis_core.media.sandbox.protocol import Channel, ProtocolError, Ready
from vis_core.media.sandbox.worker import OUT_OF_MEMORY

CHILD_MODULE = "vis_core.media.sandbox.worker"
START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 10.0
# Of a fresh interpreter that knows nothing: where to import from is told, not inherited.
_PROGRAM = (
    "import importlib, json, sys; path, module, *rest = json.loads(sys.argv[1]);"
    " sys.path[:] = path; sys.exit(importlib.import_module(module).main(*rest))"
)
# What an interpreter may need to find its own libraries; nothing else is passed on.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Decoder:
    """Is a running process that decodes, seen from its owner.

    Attributes:
        limits: What a video may ask of it.
        channel: For orders and answers.
        ring: Where its frames lie.
        is_fresh: Whether no video was read in it yet.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        """Starts the process and waits until it is confined.

        Raises:
            DecoderError: If it does not start.
        """
        self.limits = limits
        self.is_fresh = True
        ring_file = make_ring_file(limits.max_pixels)
        try:
            self.ring = FrameRing(ring_file)
            ours, theirs = socket.socketpair()
            with theirs:
                self.channel = Channel(ours)
                self._process = _start(limits, theirs.fileno(), ring_file)
        finally:
            os.close(ring_file)
        self._wait_until_ready()

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_waiting(self) -> bool:
        """Whether the process, when no video is read, has neither died nor said anything."""
        return self._process.poll() is None and not self.channel.has_news

    def end(self) -> None:
        """Kills the process."""
        self._process.kill()
        self.exit_reason()

    def exit_reason(self) -> tuple[bool, str]:
        """Waits for the end of the process.

        Returns:
            Whether it ran out of memory, and how it ended, in words.
        """
        self.channel.socket.close()
        try:
            code = self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it hung up, but lives
            self._process.kill()
            code = self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        if code >= 0:
            return code == OUT_OF_MEMORY, f"exit code {code}"
        with contextlib.suppress(ValueError):
            return False, f"signal {signal.Signals(-code).name}"
        return False, f"signal {-code}"

    def _wait_until_ready(self) -> None:
        try:
            answer = self.channel.receive(START_TIMEOUT_S)
            if not isinstance(answer, Ready):
                raise ProtocolError(answer.says)
        except (EOFError, TimeoutError, ProtocolError) as error:
            self._process.kill()
            complaint = self._complaint()
            _, how = self.exit_reason()
            raise DecoderError(
                f"the process that decodes videos did not start ({type(error).__name__}, {how}):"
                f" {complaint or 'it said nothing'}"
            ) from error
        assert self._process.stderr is not None, "a pipe until it has started"
        self._process.stderr.close()

    def _complaint(self) -> str:
        """The last line that the process wrote before it had started."""
        assert self._process.stderr is not None, "a pipe until it has started"
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


class _Pool:
    """Keeps at most one decoder that has nothing to do, for this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: Decoder | None = None
        # The kernel ends a decoder with the THREAD that started it: one that stays.
        self.starter = ThreadPoolExecutor(1, "decoder-starter")

    def take(self, limits: DecodeLimits) -> Decoder:
        """Lends the decoder that is idle, or a new one."""
        with self._lock:
            kept, self._idle = self._idle, None
        if kept is not None and kept.limits == limits and kept.is_waiting:
            return kept
        if kept is not None:
            kept.end()
        return Decoder(limits)

    def give_back(self, decoder: Decoder) -> None:
        """Takes a decoder whose video is over."""
        decoder.ring.give_back()
        with self._lock:
            surplus, self._idle = self._idle, decoder
        if surplus is not None:
            surplus.end()

    def end_idle(self) -> None:
        """Ends the decoder that is idle, if there is one."""
        with self._lock:
            kept, self._idle = self._idle, None
        if kept is not None:
            kept.end()


_pool = _Pool()


def _forget() -> None:
    """After a fork: the decoders are those of the parent."""
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_forget)


def take_decoder(limits: DecodeLimits) -> Decoder:
    """Lends a running decoder.

    Raises:
        DecoderError: If none can be started.
    """
    return _pool.take(limits)


def give_back_decoder(decoder: Decoder) -> None:
    """Takes back a decoder that has said that its video is over."""
    _pool.give_back(decoder)


def end_idle_decoder() -> None:
    """Frees the memory of the decoder that waits for the next video; another one can start."""
    _pool.end_idle()


def _start(limits: DecodeLimits, channel_file: int, ring_file: int) -> "subprocess.Popen[bytes]":
    """Starts the process, in a thread that lives as long as this process."""
    root = str(Path(vis_core.__path__[0]).parent)
    places = [root, *(place for place in sys.path if Path(place).exists())]
    told = [places, CHILD_MODULE, channel_file, ring_file, os.getpid(), limits.model_dump_json()]
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, json.dumps(told)]
    variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    variables["OPENBLAS_NUM_THREADS"] = "1"  # address space for each thread, and no use for them

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            env=variables,
            pass_fds=(channel_file, ring_file),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    try:
        return _pool.starter.submit(start).result()
    except OSError as error:
        raise DecoderError(f"no process to decode videos in: {error.strerror}") from error
