"""The base of all systems: losses for clips, instances in images, and a matching associator."""

from abc import ABC, abstractmethod
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from vis_core.association.associator import Associator
from vis_core.config.segmentors import SelectionConfig
from vis_core.config.systems import BaseSystemConfig
from vis_core.geometry.masks import InputSize
from vis_core.structures import ClipBatch, Instances

# Five-stage networks halve their input five times (detectron2 pads to this in all releases).
STRIDE = 32


class System(nn.Module, ABC):
    """A segmentor, a criterion and an association rule: the method of one paper."""

    config: BaseSystemConfig
    num_classes: int
    # name prefix of the backbone's parameters, which have their own learning rate
    backbone_prefix: ClassVar[str]
    # prefixes of extra heads on disk; inference needs them only if the config enables them
    training_prefixes: ClassVar[tuple[str, ...]] = ("addons.", "id_head.")

    @abstractmethod
    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes a clip batch's unweighted losses by name."""

    @abstractmethod
    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds and selects (threshold, NMS) the instances in frames of one size, best score first.

        The frames (H, W, 3) are uint8 RGB and from one video.
        """

    def new_associator(self) -> Associator:
        """Builds an associator with an empty memory, for one video."""
        return Associator(self.config.association)

    def detection_config(self) -> BaseSystemConfig:
        """Returns the config with which ``segment`` keeps every prediction, for COCO's ranking."""
        selection = SelectionConfig(score_threshold=0.0, nms_iou=1.0)
        return self.config.model_copy(update={"selection": selection})

    def input_size(self, height: int, width: int) -> InputSize:
        """Computes the input size: short side at test size, padded to a multiple of the stride."""
        short, longest = self.config.test_short_side, self.config.test_max_long_side
        scale = min(short / min(height, width), longest / max(height, width))
        resized = max(1, round(height * scale)), max(1, round(width * scale))
        padded_height, padded_width = (-(-side // STRIDE) * STRIDE for side in resized)
        return InputSize(*resized, padded_height, padded_width)

    def input_frames(self, images: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Resizes and pads uint8 frames (H, W, 3) of one size to (F, 3, H', W').

        Also returns (F, 2) int64 height and width before padding.
        """
        size = self.input_size(*images[0].shape[:2])
        shape = (size.resized_width, size.resized_height)
        pixels = np.zeros((len(images), size.padded_height, size.padded_width, 3), dtype=np.uint8)
        for row, image in enumerate(images):
            resized = cv2.resize(image, shape, interpolation=cv2.INTER_LINEAR)
            pixels[row, : shape[1], : shape[0]] = resized
        frames = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)
        sizes = torch.tensor([shape[::-1]], device=self.device)
        return frames, sizes.expand(len(images), 2)

    @property
    @abstractmethod
    def loss_weights(self) -> dict[str, float]:
        """The loss weights by name."""

    def forward(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Calls ``losses``; a data-parallel wrapper intercepts ``forward`` only."""
        return self.losses(batch, generator)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device
