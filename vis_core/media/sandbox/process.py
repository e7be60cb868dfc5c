"""Starting, reusing and ending the processes that decode videos.

A process decodes one video at a time and is kept for the next one, unless it died, hung or sent an
invalid message. It runs ``media/sandbox/worker.py``.
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
from vis_core.config.media import DecodeLimits
from vis_core.errors import DecoderError, last_line
from vis_core.media.sandbox.frame_ring import FrameRing, make_ring_file
from vis_core.media.sandbox.protocol import Channel, ProtocolError, Ready
from vis_core.media.sandbox.worker import OUT_OF_MEMORY

WORKER_MODULE = "vis_core.media.sandbox.worker"
START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 10.0
# Run by an isolated interpreter: the import path is passed as an argument, not inherited.
_PROGRAM = (
    "import importlib, json, sys; path, module, *rest = json.loads(sys.argv[1]);"
    " sys.path[:] = path; sys.exit(importlib.import_module(module).main(*rest))"
)
# An interpreter may need these to find its libraries; no other variable is passed on.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Decoder:
    """A running decoding process."""

    def __init__(self, limits: DecodeLimits) -> None:
        """Starts the process and waits until it is confined; raises DecoderError if it fails."""
        self.limits = limits
        self.is_fresh = True  # it has not read a video yet
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
        """Process id of the decoder."""
        return self._process.pid

    @property
    def is_waiting(self) -> bool:
        """Returns whether the process is alive and has sent nothing since its last video."""
        return self._process.poll() is None and not self.channel.has_input

    def end(self) -> None:
        """Kills the process."""
        self._process.kill()
        self.exit_reason()

    def exit_reason(self) -> tuple[bool, str]:
        """Awaits the process's end; returns whether memory ran out, and the exit code or signal."""
        self.channel.socket.close()
        try:
            code = self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it closed its channel but is still alive
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
        stderr = self._process.stderr
        assert stderr is not None, "a pipe until it has started"
        try:
            reply = self.channel.receive(START_TIMEOUT_S)
            if not isinstance(reply, Ready):
                raise ProtocolError(reply.type)
        except (EOFError, TimeoutError, ProtocolError) as error:
            self._process.kill()
            complaint = last_line(stderr.read().decode(errors="replace"))
            _, exit_reason = self.exit_reason()
            raise DecoderError(
                f"the process that decodes videos did not start ({type(error).__name__},"
                f" {exit_reason}): {complaint or 'it reported no error'}"
            ) from error
        stderr.close()


class DecoderPool:
    """The decoders of this process, of which at most one is idle."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Empties the pool: after a fork, its decoders belong to the parent."""
        self._lock = threading.Lock()
        self._idle: Decoder | None = None
        # The kernel ends a decoder when the THREAD that started it ends, so one thread is kept.
        self.starter = ThreadPoolExecutor(1, "decoder-starter")

    def acquire(self, limits: DecodeLimits) -> Decoder:
        """Returns the idle decoder, or a new one if no idle decoder has these limits."""
        with self._lock:
            idle, self._idle = self._idle, None
        if idle is not None and idle.limits == limits and idle.is_waiting:
            return idle
        if idle is not None:
            idle.end()
        return Decoder(limits)

    def release(self, decoder: Decoder) -> None:
        """Keeps a decoder as the idle one, after it has reported the end of its video."""
        decoder.ring.release_memory()
        with self._lock:
            surplus, self._idle = self._idle, decoder
        if surplus is not None:
            surplus.end()


decoders = DecoderPool()


def _start(limits: DecodeLimits, channel_file: int, ring_file: int) -> "subprocess.Popen[bytes]":
    """Starts the process from a thread that lives as long as this process."""
    root = str(Path(vis_core.__path__[0]).parent)
    folders = [root, *(folder for folder in sys.path if Path(folder).exists())]
    arguments = [channel_file, ring_file, os.getpid(), limits.model_dump_json()]
    program = [_PROGRAM, json.dumps([folders, WORKER_MODULE, *arguments])]
    command = [sys.executable, "-I", "-S", "-c", *program]
    variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    variables["OPENBLAS_NUM_THREADS"] = "1"  # threads take address space and are not used here

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
        return decoders.starter.submit(start).result()
    except OSError as error:
        raise DecoderError(f"cannot start a process to decode videos: {error.strerror}") from error
