"""How a system sees the frames of a video: as they are, or with left and right changed."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vis_core.config.inference import TrackConfig
from vis_core.errors import ConfigError
from vis_core.geometry.masks import boxed_masks, full_size_masks, masks_with_confidence
from vis_core.inference.protocols import FrameSystem
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.structures import Frame, Instances

_MASKS_AT_ONCE = 32  # of which a GPU holds 64 MiB at 1080p


@dataclass(frozen=True)
class FramePredictor:
    """Is the part of a walk that knows no past: each frame is seen by itself.

    Attributes:
        system: Segments frames.
        config: Says whether masks are weighed, and how they come to the size of the video.
        mirrored: Whether the system sees left and right change places.
    """

    system: FrameSystem
    config: TrackConfig
    mirrored: bool = False

    def predict(self, chunk: list[Frame]) -> list[Instances]:
        """Finds the instances of some frames, which go through the network at once."""
        images = [frame.image for frame in chunk]
        if self.mirrored:
            images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        return self.system.segment(images)

    def masks(self, mask_logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Gives the masks of instances of one frame at the size of the video.

        Args:
            mask_logits: (N, h, w) of instances that ``predict`` found.
            size: Height and width of the video.

        Returns:
            (N, H, W) bool and, where tracks are scored by their masks, (N,) confidence in them.
        """
        input_size = self.system.input_size(*size)
        where = (mask_logits, input_size, size, self.config.last_mask_resize)
        confidences = None
        if self.config.mask_quality:
            masks, confidences = masks_with_confidence(*where)
        else:
            masks = full_size_masks(*where)
        return masks.flip(2) if self.mirrored else masks, confidences

    def encoded(self, mask_logits: Sequence[Tensor], size: tuple[int, int]) -> list[EncodedMasks]:
        """Gives the masks of ``masks`` as run lengths, the shortest way.

        Those of several frames are made at once, as long as they are few: on a GPU each time is
        waited for.

        Args:
            mask_logits: Of each frame (N, h, w) of instances that ``predict`` found.
            size: Height and width of the video.
        """
        encoded: list[EncodedMasks] = []
        for group in _groups(mask_logits):
            together, first = self._encoded(torch.cat(group), size), 0
            for own in group:
                encoded.append(together.rows(range(first, first + len(own))))
                first += len(own)
        return encoded

    def _encoded(self, mask_logits: Tensor, size: tuple[int, int]) -> EncodedMasks:
        if not self.config.mask_quality and self.config.last_mask_resize == "bilinear":
            boxes = boxed_masks(mask_logits, self.system.input_size(*size), size)
            if boxes is not None:
                if self.mirrored:
                    boxes = [box and box.mirrored(size[1]) for box in boxes]
                return EncodedMasks.of_boxes(boxes, size)
        return EncodedMasks.of(*self.masks(mask_logits, size))


def _groups(frames: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Groups frames in a row with maps of one size: few masks together, or one frame."""
    group: list[Tensor] = []
    for own in frames:
        is_full = sum(map(len, group)) + len(own) > _MASKS_AT_ONCE
        if group and (is_full or own.shape[1:] != group[0].shape[1:]):
            yield group
            group = []
        group.append(own)
    if group:
        yield group


_FLIP = "flip"


@dataclass(frozen=True)
class View:
    """Is how a system is shown a video.

    Attributes:
        short_side: Pixels at test, or None for the size of the system's config.
        flip: Whether left and right change places.
    """

    short_side: int | None = None
    flip: bool = False

    @classmethod
    def parse(cls, text: str) -> "View":
        """Reads ``640``, ``640+flip`` or ``flip``, which the schema has checked."""
        parts = text.split("+")
        return cls(int(parts[0]) if parts[0].isdigit() else None, _FLIP in parts)

    @classmethod
    def of(cls, names: Sequence[str]) -> "list[View]":
        """Reads the views of a config; without any, there is the model's own."""
        return [cls.parse(name) for name in names] or [cls()]

    def seen_by(self, system: FrameSystem) -> FrameSystem:
        """Gives the system with the test size of this view; it shares the weights.

        Raises:
            ConfigError: The system has no test size.
        """
        if self.short_side is None:
            return system
        config: Any = getattr(system, "config", None)
        if config is None:
            raise ConfigError(
                f"inference.views: {self.short_side} names a size, but this system has none"
            )
        resized: Any = copy.copy(system)
        resized.config = config.model_copy(update={"test_short_side": self.short_side})
        seen: FrameSystem = resized
        return seen
