"""Which frames of a video make a clip."""

import numpy as np


def sample_frame_indices(
    num_frames_in_video: int, clip_frames: int, frame_range: int, generator: np.random.Generator
) -> list[int]:
    """Draws the frames of a clip as the released CTVIS does.

    One frame is drawn uniformly; the others, with replacement, from those at most ``frame_range``
    away from it, itself excluded. A video of one frame repeats it.

    Args:
        num_frames_in_video: At least 1.
        clip_frames: T, at least 1.
        frame_range: Frames to either side (released: 20 for YouTube-VIS, 15 for OVIS).
        generator: Draws.

    Returns:
        T frame indices in ascending order.
    """
    anchor = int(generator.integers(num_frames_in_video))
    first = max(0, anchor - frame_range)
    last = min(num_frames_in_video - 1, anchor + frame_range)
    others = [index for index in range(first, last + 1) if index != anchor] or [anchor]
    drawn = generator.choice(others, size=clip_frames - 1)
    return sorted([anchor, *(int(index) for index in drawn)])
