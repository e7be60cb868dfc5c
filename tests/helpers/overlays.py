"""A scene with known tracks to draw."""

import numpy as np

from vis_core.rle.packed import PackedMasks
from vis_core.rle.segmentation import encode_mask
from vis_core.structures import Frame, Track, VideoResult

NAMES = ("dog", "cat")


def scene(frames=6, height=120, width=200):
    """Builds a dog that crosses the picture and a cat that is present in the first half only."""
    dog = [encode_mask(disc(height, width, 30 + 20 * t, 60, 25)) for t in range(frames)]
    cat = [encode_mask(disc(height, width, 150, 30, 15)) for _ in range(frames // 2)]
    cat += [None] * (frames - len(cat))
    tracks = [
        Track(0, 0, 0.91, PackedMasks.of(dog)),
        Track(1, 1, 0.55, PackedMasks.of(cat)),
    ]
    return VideoResult(height, width, frames, tracks)


def gray_frames(result, size=None):
    height, width = size or (result.height, result.width)
    for index in range(result.num_frames):
        yield Frame(np.full((height, width, 3), 90, np.uint8), index, index / 10)


def disc(height, width, x, y, radius):
    rows, columns = np.mgrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
