"""Folders of numbered pictures, each read as one video.

The pixels are those of the strict reader in ``media/images.py``, as for training and scoring.
"""

import re
from collections.abc import Callable, Generator, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from vis_core.errors import ImageError, shown_name
from vis_core.media.container import failure
from vis_core.media.decode_report import DecodeReport, VideoInfo
from vis_core.media.images import read_image
from vis_core.media.orientation import Orientation
from vis_core.media.timestamps import VideoClock

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
CONTAINER = "pictures"  # in place of a demuxer's name


def is_picture(name: str) -> bool:
    """Returns whether a file name is that of a picture and not hidden."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES and not name.startswith(".")


def in_order(names: Iterable[str]) -> list[str]:
    """Sorts the names of pictures by their numbers, so that 10 follows 9.

    Raises ValueError if a name has no number, or two names differ in no number.
    """
    ordered = sorted(names, key=lambda name: (_numbers(name), name))
    for name in ordered:
        if len(_numbers(name)) == 1:
            raise ValueError(f"{shown_name(name)} has no number")
    for name, following in zip(ordered, ordered[1:], strict=False):
        if _numbers(name) == _numbers(following):
            raise ValueError(f"{shown_name(name)} and {shown_name(following)} have the same number")
    return ordered


def before_gaps(ordered: list[str]) -> list[str]:
    """Returns the names after which a number is missing: steps longer than the shortest one."""
    last = [_numbers(name)[-2] for name in ordered]
    steps = [after - before for before, after in zip(last, last[1:], strict=False)]
    shortest = min((step for step in steps if step > 0), default=0)
    return [name for name, step in zip(ordered, steps, strict=False) if step > shortest]


def _numbers(name: str) -> list[Any]:  # text and numbers, in turn
    parts = re.split(r"([0-9]+)", Path(name).stem)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


class PictureDecoder:
    """The decoder of a folder of pictures, with the interface of ``FrameDecoder``."""

    def __init__(
        self,
        path: Path,
        rate: float,
        max_pixels: int,
        on_decoded: Callable[[], None] | None = None,
    ) -> None:
        """Lists a folder; ``rate`` is the number of pictures shown per second."""
        self.path = path
        self._rate = rate
        self._max_pixels = max_pixels
        self._on_decoded = on_decoded
        try:
            found = [entry.name for entry in path.iterdir() if is_picture(entry.name)]
            self._names = in_order(found)
        except OSError as error:
            raise failure(path, f"cannot be read ({error.strerror})", "unreadable") from error
        except ValueError as error:
            raise failure(path, f"{error}; number the pictures", "not a video") from error
        gaps = len(before_gaps(self._names))
        self.report = DecodeReport(len(self._names), gaps=gaps)
        self.frames = self._decode()

    def close(self) -> None:
        """Stops reading."""
        self.frames.close()

    def start(self) -> tuple[VideoFrame, VideoInfo]:
        """Reads the first picture and describes the video; raises if there is no picture."""
        first = next(self.frames, None)
        if first is None:
            raise failure(self.path, "no picture in the folder", "no frames")
        num, suffix = len(self._names), Path(self._names[0]).suffix.lower().removeprefix(".")
        size = first.height, first.width
        return first, VideoInfo(
            *size, 0, self._rate, num / self._rate, num, CONTAINER, suffix, 0, 1, times=_TIMES
        )

    def orientation_of(self, _: VideoFrame) -> Orientation:
        """Returns the stored orientation, to which masks of data sets refer."""
        return Orientation()

    def check_end(self, _: VideoInfo, __: VideoClock) -> None:
        """Does nothing, since a picture that cannot be read raises."""

    def _decode(self) -> Generator[VideoFrame, None, None]:
        size: tuple[int, ...] | None = None
        for number, name in enumerate(self._names):
            image = self._read(name)
            size = size or image.shape[:2]
            if image.shape[:2] != size:
                found, expected = (f"{h} x {w}" for h, w in (image.shape[:2], size))
                why = f"{shown_name(name)}: expected the size of the first picture, {expected},"
                raise failure(self.path, f"{why} found {found}; replace it", "decode error")
            frame = VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, 1 / Fraction(self._rate).limit_denominator(10**6)
            if self._on_decoded is not None:
                self._on_decoded()
            yield frame

    def _read(self, name: str) -> np.ndarray:
        path = self.path / name
        try:
            return read_image(path, self._max_pixels)
        except ImageError as error:
            why = str(error).removeprefix(f"{path}: ")
        except OSError as error:
            why = f"cannot be read ({error.strerror})"
        raise failure(self.path, f"{shown_name(name)}: {why}", "decode error")


_TIMES = "picture number / rate; the rate is that of --frames-as-videos"
