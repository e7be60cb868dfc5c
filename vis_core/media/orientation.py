"""The orientation in which a decoded frame is displayed."""

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

_ONE = 1 << 16  # the display matrix holds numbers with 16 fractional bits
_TOLERANCE = 0.01
# Degrees counter-clockwise of a turn, by the first row of its matrix.
_TURNS = {(1, 0): 0, (0, 1): -90, (-1, 0): -180, (0, -1): 90}


@dataclass(frozen=True)
class Orientation:
    """A turn by quarters, after which left and right may be exchanged."""

    rotation: int = 0  # degrees counter-clockwise
    mirrored: bool = False

    def size(self, stored: VideoFrame) -> tuple[int, int]:
        """Returns the displayed height and width of a frame."""
        is_upright = self.rotation % 180 == 0
        return (stored.height, stored.width) if is_upright else (stored.width, stored.height)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turns and mirrors an (H, W, 3) image for display; returns a view."""
        turned = np.rot90(image, self.rotation // 90 % 4)
        return turned[:, ::-1] if self.mirrored else turned


_AS_STORED = Orientation()


def orientation_of(stored: VideoFrame) -> Orientation:
    """Returns a frame's orientation; raises ValueError if its matrix is not one of the eight.

    A matrix of zeros states nothing; FFmpeg ignores it, too.
    """
    side_data = stored.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    return _AS_STORED if side_data is None else _parsed(bytes(side_data))


@lru_cache(maxsize=16)
def _parsed(matrix: bytes) -> Orientation:
    # The point (x, y) is displayed at (a x + c y, b x + d y), apart from a shift.
    a, b, u, c, d, v = struct.unpack_from("=6i", matrix)
    if not (a or b or c or d):
        return _AS_STORED
    values = [value / _ONE for value in (a, b, c, d)]
    mirrored = a * d - b * c < 0
    x, y, across, down = values
    if mirrored:
        x, across = -x, -across
    expected = (round(x), round(y), -round(y), round(x))
    found = (x, y, across, down)
    is_exact = all(abs(f - e) <= _TOLERANCE for f, e in zip(found, expected, strict=True))
    turn = _TURNS.get((round(x), round(y)))
    if turn is None or not is_exact or u or v:
        shown = " ".join(f"{value:.3g}" for value in values)
        raise ValueError(f"its display matrix ({shown}) is no quarter turn, mirrored or not")
    return Orientation(turn, mirrored)
