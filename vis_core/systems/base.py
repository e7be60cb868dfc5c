"""What every system offers: losses of clips, instances of images, an associator of its kind."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from vis_core.association.associator import Associator
from vis_core.config import QuerySystemConfig
from vis_core.geometry.masks import InputSize
from vis_core.structures import ClipBatch, Instances


class System(nn.Module, ABC):
    """Binds a segmentor, a criterion and an association rule: one paper."""

    config: QuerySystemConfig
    num_classes: int

    @abstractmethod
    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Compares a batch of clips with its ground truth; the losses are named and unweighted."""

    @abstractmethod
    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds the instances of frames of one size, selected (threshold, NMS), best score first.

        Args:
            images: Frames (H, W, 3) uint8 RGB of one video.
        """

    @abstractmethod
    def new_associator(self) -> Associator:
        """Makes an associator with an empty memory, for one video."""

    @abstractmethod
    def input_size(self, height: int, width: int) -> InputSize:
        """Says to which size a frame is resized and padded."""

    @property
    @abstractmethod
    def backbone_prefix(self) -> str:
        """How the names of the backbone's parameters begin; they learn at a rate of their own."""

    @property
    @abstractmethod
    def loss_weights(self) -> dict[str, float]:
        """The weight of every named loss."""

    def forward(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Is ``losses``, so that a data-parallel wrapper sees the call."""
        return self.losses(batch, generator)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device
