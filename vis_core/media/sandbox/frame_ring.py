"""Memory shared by a decoder and its owner: a few slots, each large enough for one frame."""

import mmap
import os
import sys
import tempfile

import numpy as np

MAX_SLOTS = 8  # for small frames
MIN_SLOTS = 2  # one is read while the next one is written
RING_BYTES = 64 * 2**20  # exceeded only if MIN_SLOTS frames need more


class FrameRing:
    """Shared memory, divided into slots of the current frame size; unused pages take no memory."""

    def __init__(self, descriptor: int) -> None:
        self._bytes = mmap.mmap(descriptor, os.fstat(descriptor).st_size)

    def num_slots(self, height: int, width: int) -> int:
        """Returns the number of slots for a frame size; 0 if there is no room for two frames."""
        frame_bytes = height * width * 3
        if MIN_SLOTS * frame_bytes > len(self._bytes):
            return 0
        return max(MIN_SLOTS, min(MAX_SLOTS, RING_BYTES // frame_bytes))

    def slot(self, number: int, height: int, width: int) -> np.ndarray:
        """Returns a view of the (H, W, 3) uint8 image in a slot."""
        frame_bytes = height * width * 3
        flat = np.frombuffer(self._bytes, np.uint8, frame_bytes, number * frame_bytes)
        return flat.reshape(height, width, 3)

    def release_memory(self) -> None:
        """Frees the memory taken by large frames."""
        if sys.platform == "linux" and len(self._bytes) > RING_BYTES:
            self._bytes.madvise(mmap.MADV_REMOVE)


def make_ring_file(max_pixels: int) -> int:
    """Creates an unnamed file in memory for frames of up to ``max_pixels``; returns its descriptor.

    The file's size is sealed, since a process that reads beyond the end of a mapped file is killed.
    """
    size = max(RING_BYTES, MIN_SLOTS * max_pixels * 3)
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            os.ftruncate(file.fileno(), size)
            return os.dup(file.fileno())
    import fcntl

    descriptor = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
