"""Random draws for clips: frames, seeds, output sizes, crop sides."""

import hashlib
from collections.abc import Sequence

import numpy as np

from vis_core.config.clips import CropFraction, CropPixels, FixedSize, ShortSide


def sample_frame_indices(
    num_frames_in_video: int, clip_frames: int, frame_range: int, generator: np.random.Generator
) -> list[int]:
    """Draws a clip's T frames as the CTVIS release does, in ascending order.

    One frame is drawn uniformly. The other frames are drawn, with replacement, from its neighbours,
    at most ``frame_range`` frames away (release: 20 for YouTube-VIS, 15 for OVIS). If a video has
    only one frame, the clip repeats that frame.
    """
    anchor = int(generator.integers(num_frames_in_video))
    frames = range(num_frames_in_video)
    return sorted([anchor, *sample_near(frames, anchor, clip_frames - 1, frame_range, generator)])


def sample_near(
    frames: Sequence[int], key: int, count: int, frame_range: int, generator: np.random.Generator
) -> list[int]:
    """Draws ``count`` frames near ``key``, before or after it, with replacement, unsorted.

    If no other frame is at most ``frame_range`` away, ``key`` is repeated.
    """
    near = [frame for frame in frames if frame != key and abs(frame - key) <= frame_range]
    return [int(frame) for frame in generator.choice(near or [key], size=count)]


def group_by_aspect(
    order: np.ndarray, portrait: np.ndarray, batch_size: int, begun: int
) -> np.ndarray:
    """Reorders an epoch's N clips so that its batches do not mix aspects (detectron2).

    Only clips left over from whole batches are mixed, at both ends of the result. ``portrait[n]``
    describes clip ``order[n]``. The first ``begun`` clips complete the previous epoch's last batch.
    """
    if portrait.all() or not portrait.any():
        return order
    whole, excess = [], []
    for group in (order[~portrait], order[portrait]):
        end = len(group) // batch_size * batch_size
        whole.append(group[:end].reshape(-1, batch_size))
        excess.append(group[end:])
    batches = np.concatenate(whole)
    place = np.argsort(order)[batches[:, 0]]  # of a batch's first clip, which is random
    batches = batches[np.argsort(place)]
    count = max(0, len(order) - begun) // batch_size
    rest = np.concatenate([*excess, batches[count:].ravel()])
    return np.concatenate([rest[:begun], batches[:count].ravel(), rest[begun:]])


def row_seed(seed: int, record_id: int | str, replica: int) -> int:
    """Computes the seed for clip number ``replica`` of a record, the same on every worker.

    ``seed`` is the seed of the run (and, in training, of the epoch).
    """
    text = f"{seed}/{record_id}/{replica}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def path_fractions(num_frames: int, generator: np.random.Generator) -> np.ndarray:
    """Draws the positions of T frames along a path: (T,) in [0, 1], ascending or descending.

    Sorts T independent uniform draws and reverses them with probability 0.5 (CTVIS release).
    """
    fractions = np.sort(generator.uniform(0, 1, num_frames))
    return fractions[::-1] if generator.random() < 0.5 else fractions


def output_frame(
    height: float, width: float, size: ShortSide | FixedSize, generator: np.random.Generator
) -> tuple[float, int, int]:
    """Draws the output size for an image: the scale (output over source), height and width.

    With ``FixedSize``, the resized image may not fill the frame. With ``ShortSide``, the sides are
    rounded as in detectron2.
    """
    if isinstance(size, FixedSize):
        return min(size.height / height, size.width / width), size.height, size.width
    short = int(generator.choice(size.short_sides))
    scale = min(short / min(height, width), size.max_long_side / max(height, width))
    return scale, max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def one_size(size: ShortSide | FixedSize, generator: np.random.Generator) -> ShortSide | FixedSize:
    """Draws one short side for several frames to share."""
    if isinstance(size, FixedSize):
        return size
    short = int(generator.choice(size.short_sides))
    return size.model_copy(update={"short_sides": (short,)})


def crop_sides(
    height: int, width: int, settings: CropFraction | CropPixels, generator: np.random.Generator
) -> np.ndarray:
    """Draws a crop's height and width (2,) independently, in image pixels."""
    sides = np.array([height, width], dtype=np.float64)
    if isinstance(settings, CropFraction):
        return sides * generator.uniform(settings.min_fraction, settings.max_fraction, 2)
    scale = 1.0
    if settings.short_sides:
        short = int(generator.choice(settings.short_sides))
        scale = min(short / sides.min(), settings.max_long_side / sides.max())
    low = np.minimum(settings.min_pixels, sides * scale)
    high = np.minimum(settings.max_pixels, sides * scale)
    return generator.uniform(low, high) / scale
