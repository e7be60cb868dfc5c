"""The parts of a system that inference needs."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

from vis_core.geometry.masks import InputSize
from vis_core.structures import Instances


class FrameAssociator(Protocol):
    """An associator of instances with tracks, frame by frame."""

    def associate(self, instances: Instances) -> Tensor:
        """Returns (N,) track ids for the next frame's instances, -1 for those without a track.

        Masks are not read and may be missing.
        """

    def state(self) -> dict[str, Tensor]:
        """Returns the past as tensors."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continues from the ``state`` of an associator of the same system."""


class FrameSystem(Protocol):
    """The part of a system that inference uses."""

    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Predicts the instances of each image (H, W, 3)."""

    def new_associator(self) -> FrameAssociator:
        """Starts a video: returns an associator without a past."""

    def input_size(self, height: int, width: int) -> InputSize:
        """Computes how an image of this size is resized and padded."""
