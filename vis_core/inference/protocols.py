"""What of a system the walk through a video needs."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

from vis_core.geometry.masks import InputSize
from vis_core.structures import Instances


class FrameAssociator(Protocol):
    """Gives the instances of one frame after the other their track ids."""

    def associate(self, instances: Instances) -> Tensor:
        """Gives the N instances of the next frame (N,) track ids, -1 for those without a track.

        Their masks are not looked at: they may be missing.
        """

    def state(self) -> dict[str, Tensor]:
        """Gives the past as tensors."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on where another of the same system was when it gave ``state``."""


class FrameSystem(Protocol):
    """Is what of a system the walk needs."""

    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds the instances of each image (H, W, 3)."""

    def new_associator(self) -> FrameAssociator:
        """Starts a video: an associator without a past."""

    def input_size(self, height: int, width: int) -> InputSize:
        """Says how an image of this size is resized and padded."""
