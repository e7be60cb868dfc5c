"""Walks recorded instances of a video to its result, for comparison with the authors' outputs."""

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from vis_core.config.inference import TrackConfig
from vis_core.geometry.masks import InputSize, masks_with_confidence
from vis_core.inference.track_builder import TrackBuilder
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.rle.segmentation import decode_rle
from vis_core.structures import Instances, Track, VideoResult

# lists every track with every class, scored by its classes alone
EVERYTHING = {"max_tracks": None, "min_score": 0.0, "mask_quality": False, "labels": "every"}


def unpacked(values: dict[str, np.ndarray], name: str) -> np.ndarray:
    shape = values[f"{name}_shape"]
    return np.unpackbits(values[name])[: np.prod(shape)].reshape(shape).astype(bool)


def walk(
    frames: Iterable[tuple[Instances, Tensor]],
    input_size: InputSize,
    size: tuple[int, int],
    config: TrackConfig,
) -> VideoResult:
    """Collects (named instances, ids) of every frame as the walk through a video does."""
    builder = TrackBuilder(*size, config)
    for index, (named, ids) in enumerate(frames):
        masks, confidences = masks_with_confidence(
            named.mask_logits, input_size, size, config.last_mask_resize
        )
        builder.add(index, named, ids, EncodedMasks.of(masks, confidences))
    return builder.result()


def track_masks(track: Track, result: VideoResult) -> np.ndarray:
    """(T, H, W) bool."""
    nothing = np.zeros(result.size, bool)
    rles = track.segmentations(result.size, result.num_frames)
    return np.stack([nothing if rle is None else decode_rle(rle) for rle in rles])
