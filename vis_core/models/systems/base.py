"""The base class of all systems, which compute losses and segment and associate frames."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vis_core.association.associator import Associator
from vis_core.config.segmentors import SelectionConfig
from vis_core.config.systems import BaseSystemConfig
from vis_core.geometry.image_resize import resize_image
from vis_core.geometry.masks import InputSize
from vis_core.models.segmentors.condinst import CondInst
from vis_core.models.segmentors.deformable_detr import DeformableDetr
from vis_core.models.segmentors.mask2former import Mask2Former
from vis_core.structures import ClipBatch, Instances

# Five-stage networks halve their input five times (detectron2 pads to this in all releases).
STRIDE = 32
BACKBONE_PREFIXES = tuple(
    f"segmentor.{kind.backbone_prefix}" for kind in (CondInst, DeformableDetr, Mask2Former)
)


class System(nn.Module, ABC):
    """A segmentor, a criterion and an association rule: the method of one paper."""

    config: BaseSystemConfig
    num_classes: int
    segmentor: CondInst | DeformableDetr | Mask2Former
    # prefixes of extra heads on disk; inference needs them only if the config enables them
    training_prefixes: ClassVar[tuple[str, ...]] = ("addons.", "id_head.")
    # whether ``input_frames`` resizes without antialiasing; set on copies by ``View``
    quick_resize: bool = False

    @abstractmethod
    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes a clip batch's unweighted losses by name."""

    @abstractmethod
    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds and selects (threshold, NMS) the instances in frames of one size, best score first.

        The frames are (H, W, 3) uint8 RGB, from one or several videos.
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
        height, width = size.resized_height, size.resized_width
        pixels = np.zeros((len(images), size.padded_height, size.padded_width, 3), dtype=np.uint8)
        for row, image in enumerate(images):
            pixels[row, :height, :width] = resize_image(
                image, height, width, quick=self.quick_resize
            )
        frames = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)
        sizes = torch.tensor([(height, width)], device=self.device)
        return frames, sizes.expand(len(images), 2)

    @property
    def backbone_prefix(self) -> str:
        """The name prefix of the backbone's parameters, which have their own learning rate."""
        return f"segmentor.{self.segmentor.backbone_prefix}"

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
