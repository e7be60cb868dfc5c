"""Writes pictures as a video file that every browser plays."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from math import isfinite
from pathlib import Path

import av
import numpy as np

_FALLBACK_FPS = 25.0


def write_video(path: Path, pictures: Iterable[np.ndarray], fps: float) -> int:
    """Encodes pictures as H.264 in mp4; the caller makes the file appear whole.

    Args:
        path: The mp4 file.
        pictures: (H, W, 3) uint8 RGB, all of one size with even sides (yuv420p asks for it).
        fps: Frames per second; not finite or not positive means 25, and 240 is the most.

    Returns:
        The number of pictures; 0 writes no file.
    """
    rest = iter(pictures)
    first = next(rest, None)
    if first is None:
        return 0
    count = 0
    # An absolute path: FFmpeg would take what stands before a colon for a protocol.
    url = str(path.absolute())
    with av.open(url, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=_frame_rate(fps), options={"crf": "21", "preset": "veryfast"}
        )
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in chain([first], rest):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            count += 1
        container.mux(stream.encode(None))
    return count


def _frame_rate(fps: float) -> Fraction:
    """Makes a rate that mp4 can hold of what a container declared, which may be anything."""
    usable = fps if isfinite(fps) and fps > 0 else _FALLBACK_FPS
    return Fraction(min(max(usable, 0.1), 240.0)).limit_denominator(1001)
