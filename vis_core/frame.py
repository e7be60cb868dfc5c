"""One frame of a video; separate from ``structures.py``, since decoders must not import torch."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """One frame of a video: (H, W, 3) uint8 RGB as displayed, index from 0, presentation time."""

    image: np.ndarray
    index: int
    time_s: float

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                "image must be a (H, W, 3) uint8 array, but got "
                f"shape {self.image.shape} of {self.image.dtype}"
            )
