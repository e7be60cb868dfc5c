"""The process that decodes videos for its owner; started by ``media/sandbox/process.py``.

It has no secrets in its environment and few privileges (``media/sandbox/confinement.py``), and ends
with its owner. It does not import torch, so it starts in a fraction of a second.
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

from vis_core.config.media import DecodeLimits
from vis_core.errors import VideoDecodeError
from vis_core.media.container import failure
from vis_core.media.sandbox.confinement import close_standard_streams, confine, end_with_parent
from vis_core.media.sandbox.frame_ring import FrameRing
from vis_core.media.sandbox.protocol import Alive, Channel, Delivered, Ended, Opened, Ready, Refused
from vis_core.media.video_reader import VideoReader

OUT_OF_MEMORY = errno.ENOMEM  # exit code; after a MemoryError the process cannot be relied on
ALIVE_PERIOD_S = 1.0


def main(channel_file: int, ring_file: int, parent: int, limits: str) -> int:
    """Serves requests from the process ``parent`` until that process ends; ``limits`` is JSON."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the owner, which ends this process
    cv2.setNumThreads(1)
    decoding = DecodeLimits.model_validate_json(limits)
    channel = Channel(socket.socket(fileno=channel_file))
    ring = FrameRing(ring_file)
    confine(decoding.max_memory_mib)
    channel.send(Ready())
    close_standard_streams()
    try:
        while True:
            request = channel.receive_request()
            if request["do"] == "read":  # other requests concern a video that has ended
                Delivery(channel, ring, decoding).run(request)
    except (EOFError, ConnectionError):
        return 0
    except MemoryError:
        return OUT_OF_MEMORY


class _Stopped(Exception):
    """A request from the owner to send no further frames of this video."""


class Delivery:
    """The decoding of one video, ahead of its reader by at most one frame per ring slot."""

    def __init__(self, channel: Channel, ring: FrameRing, limits: DecodeLimits) -> None:
        self._channel = channel
        self._ring = ring
        self._limits = limits
        self._free: deque[int] = deque()
        self._slot = 0
        self._last_alive_s = time.monotonic()

    def run(self, request: dict[str, Any]) -> None:
        """Sends a video's frames, then ``Ended`` or ``Refused``."""
        path = Path(request["path"])
        try:
            with (
                VideoReader(
                    path,
                    request["max_frames"],
                    self._limits,
                    request["sample_fps"],
                    request["skip"],
                    self._send_alive,
                    self._image_in_ring,
                    request["picture_rate"],
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
            why = f"frames of {height} x {width} pixels exceed max_pixels"
            raise failure(path, why, "too large")
        self._free.extend(range(num_slots))
        self._channel.send(Opened(reader.info, reader.report))
        for frame in reader:
            self._channel.send(
                Delivered(self._slot, frame.index, reader.number, frame.time_s, reader.report)
            )

    def _image_in_ring(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Waits for a free slot and returns its image array."""
        while not self._free:
            request = self._channel.receive_request()
            if request["do"] == "stop":
                raise _Stopped
            if request["do"] == "release":
                self._free.append(request["slot"])
        self._slot = self._free.popleft()
        return self._ring.slot(self._slot, *shape[:2])

    def _send_alive(self) -> None:
        """Reports, once per period, that frames are being decoded."""
        now_s = time.monotonic()
        period_s = min(ALIVE_PERIOD_S, self._limits.frame_timeout_s / 4)
        if now_s - self._last_alive_s >= period_s:
            self._last_alive_s = now_s
            self._channel.send(Alive())
