"""Predicts instances and masks frame by frame, in one view of a video."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vis_core.config.inference import InferenceConfig, TrackConfig
from vis_core.errors import ConfigError
from vis_core.geometry.masks import boxed_masks, full_size_masks, masks_with_confidence
from vis_core.inference.protocols import FrameSystem
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.structures import Frame, Instances

_MASKS_AT_ONCE = 32  # at 1080p, these take 64 MiB on a GPU


@dataclass(frozen=True)
class FramePredictor:
    """A system that processes each frame independently, mirrored if requested."""

    system: FrameSystem
    config: TrackConfig
    mirrored: bool = False

    def predict(self, chunk: list[Frame]) -> list[Instances]:
        """Predicts the instances of some frames, which pass through the network together."""
        images = [frame.image for frame in chunk]
        if self.mirrored:
            images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        return self.system.segment(images)

    def masks(self, mask_logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Resizes one frame's masks (N, h, w) to the video's (height, width).

        Returns (N, H, W) bool masks and, with ``mask_quality``, their (N,) confidences.
        """
        resize = (mask_logits, self.system.input_size(*size), size, self.config.last_mask_resize)
        confidences = None
        if self.config.mask_quality:
            masks, confidences = masks_with_confidence(*resize)
        else:
            masks = full_size_masks(*resize)
        return masks.flip(2) if self.mirrored else masks, confidences

    def encoded(self, mask_logits: Sequence[Tensor], size: tuple[int, int]) -> list[EncodedMasks]:
        """Encodes each frame's masks (N, h, w), without full-size pixels where possible.

        Frames with few masks are encoded together, since each call waits for the GPU.
        """
        encoded: list[EncodedMasks] = []
        for group in _groups(mask_logits):
            together, first = self._encode(torch.cat(group), size), 0
            for logits in group:
                encoded.append(together.rows(range(first, first + len(logits))))
                first += len(logits)
        return encoded

    def _encode(self, mask_logits: Tensor, size: tuple[int, int]) -> EncodedMasks:
        if not self.config.mask_quality and self.config.last_mask_resize == "bilinear":
            boxes = boxed_masks(mask_logits, self.system.input_size(*size), size)
            if boxes is not None:
                if self.mirrored:
                    boxes = [box and box.mirrored(size[1]) for box in boxes]
                return EncodedMasks.of_boxes(boxes, size)
        return EncodedMasks.of(*self.masks(mask_logits, size))


def _groups(frames: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Groups successive frames of one logit size; a lone frame may exceed ``_MASKS_AT_ONCE``."""
    group: list[Tensor] = []
    for logits in frames:
        is_full = sum(map(len, group)) + len(logits) > _MASKS_AT_ONCE
        if group and (is_full or logits.shape[1:] != group[0].shape[1:]):
            yield group
            group = []
        group.append(logits)
    if group:
        yield group


@dataclass(frozen=True)
class View:
    """The size, flip and resizing with which a video is processed; by default, the system's."""

    short_side: int | None = None
    flip: bool = False
    quick_resize: bool = False

    @classmethod
    def parse(cls, text: str) -> "View":
        """Parses ``640``, ``640+flip`` or ``flip``, checked by the schema."""
        parts = text.split("+")
        return cls(int(parts[0]) if parts[0].isdigit() else None, "flip" in parts)

    @classmethod
    def of(cls, config: InferenceConfig) -> "list[View]":
        """Returns a config's views, or one view at the model's size."""
        views = [cls.parse(name) for name in config.views] or [cls()]
        return [replace(view, quick_resize=config.resize == "quick") for view in views]

    def applied_to(self, system: FrameSystem) -> FrameSystem:
        """Returns the system with this view's test size and resizing, and with shared weights.

        Raises ConfigError if the system has no test size.
        """
        is_quick = getattr(system, "quick_resize", False)
        if self.short_side is None and self.quick_resize == is_quick:
            return system
        config: Any = getattr(system, "config", None)
        if config is None:
            setting = f"views: {self.short_side}" if self.short_side else "resize: quick"
            raise ConfigError(f"inference.{setting} needs a system with a test size")
        copied: Any = copy.copy(system)
        copied.quick_resize = self.quick_resize
        if self.short_side is not None:
            copied.config = config.model_copy(update={"test_short_side": self.short_side})
        return copied
