"""Walks a system through a video: segment a few frames, name their instances, keep run lengths."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vis_core.errors import VideoDecodeError
from vis_core.geometry.masks import InputSize, full_size_masks, masks_with_confidence
from vis_core.inference.settings import InferenceConfig, TrackConfig
from vis_core.inference.tracks import TrackBuilder
from vis_core.structures import Frame, Instances, VideoResult

# Is told of each frame: the frame, its named instances, their (N,) track ids and (N, H, W) masks.
OnFrame = Callable[[Frame, Instances, Tensor, Tensor], None]


class InstanceNamer(Protocol):
    """Gives the instances of one frame after the other their track ids."""

    def step(self, instances: Instances) -> tuple[Instances, Tensor]:
        """Names the instances of the next frame; returns those with a track and their ids."""


class FrameSystem(Protocol):
    """Is what of a system the walk needs."""

    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds the instances of each image (H, W, 3)."""

    def new_associator(self) -> InstanceNamer:
        """Starts a video: an associator without a past."""

    def input_size(self, height: int, width: int) -> InputSize:
        """Says how an image of this size is resized and padded."""


def annotate_video(
    system: FrameSystem,
    frames: Iterator[Frame],
    chunk_frames: int = InferenceConfig().chunk_frames,
    on_frame: OnFrame | None = None,
    tracks: TrackConfig | None = None,
) -> VideoResult:
    """Annotates a video in one pass; memory holds ``chunk_frames`` frames and no past pixels.

    Args:
        system: Segments frames and names instances.
        frames: Frames of one size, in order, indices from 0.
        chunk_frames: Frames that go through the network at once.
        on_frame: Is called after each frame.
        tracks: Which tracks are kept, how they are scored and labelled.

    Raises:
        VideoDecodeError: If there is no frame, or the frames cannot be read.
    """
    tracks = tracks or TrackConfig()
    associator = system.new_associator()
    builder: TrackBuilder | None = None
    with torch.inference_mode():
        while chunk := list(islice(frames, chunk_frames)):
            height, width = chunk[0].image.shape[:2]
            builder = builder or TrackBuilder(height, width, tracks)
            input_size = system.input_size(height, width)
            found = system.segment([frame.image for frame in chunk])
            for frame, instances in zip(chunk, found, strict=True):
                named, track_ids = associator.step(instances)
                masks, confidences = _masks(named, input_size, (height, width), tracks)
                builder.add(frame.index, named, track_ids, masks, confidences)
                if on_frame is not None:
                    on_frame(frame, named, track_ids, masks)
    if builder is None:
        raise VideoDecodeError("the video has no frame; expected at least one")
    return builder.finish()


def _masks(
    named: Instances, input_size: InputSize, size: tuple[int, int], tracks: TrackConfig
) -> tuple[Tensor, Tensor | None]:
    """(N, H, W) masks and, where tracks are scored by them, the (N,) confidence in their pixels."""
    where = (named.mask_logits, input_size, size, tracks.last_mask_resize)
    return masks_with_confidence(*where) if tracks.mask_quality else (full_size_masks(*where), None)
