"""The process that decodes videos for another one (``media/sandbox/process.py`` starts it).

It has no secrets in its environment, little that it may do (``media/sandbox/confinement.py``), and
ends when its owner does. It imports no torch: it starts in a fraction of a second.
"""

import contextlib
import errno
import signal
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vis_core.config.decoding import DecodeLimits
from vis_core.errors import VideoDecodeError, shown_name
from vis_core.media.sandbox.confinement import confine, end_with_parent, fall_silent
from vis_core.media.sandbox.frame_ring import FrameRing
from vis_core.media.sandbox.protocol import Alive, Channel, Delivered, Ended, Opened, Ready, Refused
from vis_core.media.video_reader import VideoReader

# What the process returns when it ran out of memory: nothing can be relied on after that.
OUT_OF_MEMORY = errno.ENOMEM
ALIVE_PERIOD_S = 1.0


def main(channel_file: int, ring_file: int, parent: int, limits: str) -> int:
    """Serves until the owner goes away.

    Args:
        channel_file: Descriptor of the socket to the owner.
        ring_file: Descriptor of the memory that frames are put into.
        parent: Process id of the owner.
        limits: ``DecodeLimits`` as JSON.
    """
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # is meant for the owner, which ends this one
    cv2.setNumThreads(1)
    decoding = DecodeLimits.model_validate_json(limits)
    channel = Channel(socket.socket(fileno=channel_file))
    ring = FrameRing(ring_file)
    confine(decoding.max_memory_mib)
    channel.send(Ready())
    fall_silent()
    try:
        while True:
            order = channel.receive_request()
            if order["do"] == "read":  # what else comes is about a video that is over
                Delivery(channel, ring, decoding).run(order)
    except (EOFError, ConnectionError):
        return 0
    except MemoryError:
        return OUT_OF_MEMORY


class _Stopped(Exception):
    """No more frames of this video are wanted."""


class Delivery:
    """Decodes one video into the ring, ahead of its reader by as many frames as there are slots."""

    def __init__(self, channel: Channel, ring: FrameRing, limits: DecodeLimits) -> None:
        self._channel = channel
        self._ring = ring
        self._limits = limits
        self._free: deque[int] = deque()
        self._slot = 0
        self._said_alive_s = time.monotonic()

    def run(self, order: dict[str, Any]) -> None:
        """Hands out the frames of a video and says how it ended."""
        path = Path(order["path"])
        try:
            with (
                VideoReader(
                    path,
                    order["max_frames"],
                    self._limits,
                    order["sample_fps"],
                    order["skip"],
                    self._say_alive,
                    self._image_in_ring,
                ) as reader,
                contextlib.suppress(_Stopped),
            ):
                self._deliver(reader, path)
            self._channel.send(Ended(reader.report, reader.num_frames))
        except VideoDecodeError as error:
            self._channel.send(Refused(str(error), error.kind))

    def _deliver(self, reader: VideoReader, path: Path) -> None:
        height, width = reader.info.height, reader.info.width
        num_slots = self._ring.num_slots(height, width)
        if num_slots == 0:
            raise VideoDecodeError(
                f"{shown_name(path)}: frames of {height} x {width} pixels exceed max_pixels",
                "too large",
            )
        self._free.extend(range(num_slots))
        self._channel.send(Opened(reader.info, reader.report))
        for frame in reader:
            self._channel.send(
                Delivered(self._slot, frame.index, reader.number, frame.time_s, reader.report)
            )

    def _image_in_ring(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Waits for a slot, so that a frame is written where its reader finds it."""
        while not self._free:
            order = self._channel.receive_request()
            if order["do"] == "stop":
                raise _Stopped
            if order["do"] == "release":
                self._free.append(order["slot"])
        self._slot = self._free.popleft()
        return self._ring.slot(self._slot, *shape[:2])

    def _say_alive(self) -> None:
        """Tells the owner, now and then, that frames are decoded that it does not see."""
        now_s = time.monotonic()
        period_s = min(ALIVE_PERIOD_S, self._limits.frame_timeout_s / 4)
        if now_s - self._said_alive_s >= period_s:
            self._said_alive_s = now_s
            self._channel.send(Alive())
