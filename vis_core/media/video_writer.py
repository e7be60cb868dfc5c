"""Encoding images as a video file that every browser can play."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from math import isfinite
from pathlib import Path

import av
import numpy as np

_FALLBACK_FPS = 25.0


def write_video(path: Path, images: Iterable[np.ndarray], fps: float) -> int:
    """Encodes (H, W, 3) uint8 RGB images as H.264 in mp4; atomicity is up to the caller.

    All images have the same size, with even sides (as yuv420p requires). ``fps`` is limited to 240;
    25 replaces invalid values. Returns the number of images; without images, writes no file.
    """
    rest = iter(images)
    first = next(rest, None)
    if first is None:
        return 0
    count = 0
    # Absolute, since FFmpeg would read the part before a colon in a relative path as a protocol.
    url = str(path.absolute())
    with av.open(url, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=_frame_rate(fps), options={"crf": "21", "preset": "veryfast"}
        )
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in chain([first], rest):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            count += 1
        container.mux(stream.encode(None))
    return count


def _frame_rate(fps: float) -> Fraction:
    """Converts a container's declared rate, which may be any number, to one valid in mp4."""
    usable = fps if isfinite(fps) and fps > 0 else _FALLBACK_FPS
    return Fraction(min(max(usable, 0.1), 240.0)).limit_denominator(1001)
