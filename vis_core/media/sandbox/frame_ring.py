"""The memory that a decoder and its owner share: a few slots, each large enough for one frame."""

import mmap
import os
import sys
import tempfile

import numpy as np

# Decoded frames that may wait for their reader, where they are small.
MAX_SLOTS = 8
MIN_SLOTS = 2  # one is read while the next one is written
# Bytes that they may take; MIN_SLOTS frames are held even if they take more.
RING_BYTES = 64 * 2**20


class FrameRing:
    """Is shared memory, seen as slots of one frame size at a time.

    Memory that no frame has touched is not taken. Who made it gives its file to the other process.
    """

    def __init__(self, descriptor: int) -> None:
        """Maps the memory of an open file."""
        self._bytes = mmap.mmap(descriptor, os.fstat(descriptor).st_size)

    def num_slots(self, height: int, width: int) -> int:
        """Slots for frames of one size; 0 if the memory does not hold two of them."""
        frame_bytes = height * width * 3
        if MIN_SLOTS * frame_bytes > len(self._bytes):
            return 0
        return max(MIN_SLOTS, min(MAX_SLOTS, RING_BYTES // frame_bytes))

    def slot(self, number: int, height: int, width: int) -> np.ndarray:
        """The (H, W, 3) uint8 image in a slot, in the shared memory itself."""
        frame_bytes = height * width * 3
        flat = np.frombuffer(self._bytes, np.uint8, frame_bytes, number * frame_bytes)
        return flat.reshape(height, width, 3)

    def give_back(self) -> None:
        """Returns the memory that large frames have taken."""
        if sys.platform == "linux" and len(self._bytes) > RING_BYTES:
            self._bytes.madvise(mmap.MADV_REMOVE)


def make_ring_file(max_pixels: int) -> int:
    """Opens memory for frames of up to ``max_pixels``, as a file without a name.

    It cannot be made smaller: a process whose mapping ends early dies when it reads there.
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
