"""Results built from a video's recorded instances, for comparison with the authors' outputs."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from vis_core.config.inference import TrackConfig
from vis_core.geometry.masks import InputSize, masks_with_confidence
from vis_core.inference.track_builder import TrackBuilder
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.rle.segmentation import decode_rle
from vis_core.structures import Instances, Track, VideoResult

# lists every track with every class, scored by its classes alone
# a score is a mean of sigmoids: float32 moves it by a few 1e-6
NEAR_SCORE = 2e-5
# a logit near 0 may change its sign: pixels per frame (reference ctvis/README.md, section 4)
MOVED_PIXELS = 2
EVERYTHING = {"max_tracks": None, "min_score": 0.0, "mask_quality": False, "labels": "every"}


def unpacked(values: dict[str, np.ndarray], name: str) -> np.ndarray:
    shape = values[f"{name}_shape"]
    return np.unpackbits(values[name])[: np.prod(shape)].reshape(shape).astype(bool)


def build_result(
    frames: Iterable[tuple[Instances, Tensor]],
    input_size: InputSize,
    size: tuple[int, int],
    config: TrackConfig,
) -> VideoResult:
    """Builds tracks of the (associated instances, ids) of every frame."""
    builder = TrackBuilder(*size, config)
    for index, (instances, ids) in enumerate(frames):
        masks, confidences = masks_with_confidence(
            instances.mask_logits, input_size, size, config.last_mask_resize
        )
        builder.add(index, instances, ids, EncodedMasks.of(masks, confidences))
    return builder.result()


def assert_same_listings(result: VideoResult, scores: Any, labels: Any, masks: Any) -> None:
    """Compares label, score and masks of every listing, in any order.

    Listings with one label are paired by score, or by their masks if the scores differ by less than
    float32 can resolve.
    """
    left = list(result.tracks)
    assert len(left) == len(masks)
    for score, label, wanted in zip(scores.tolist(), labels.tolist(), masks, strict=True):
        near = [t for t in left if t.label == label and abs(t.score - score) <= NEAR_SCORE]
        moved = [int((track_masks(track, result) != wanted).sum()) for track in near]
        assert moved and min(moved) <= MOVED_PIXELS * len(wanted), f"label {label}, score {score}"
        left.remove(near[moved.index(min(moved))])
    assert [t.score for t in result.tracks] == sorted(t.score for t in result.tracks)[::-1]


def track_masks(track: Track, result: VideoResult) -> np.ndarray:
    """Decodes a track's masks to (T, H, W) bool."""
    nothing = np.zeros(result.size, bool)
    rles = track.segmentations(result.size, result.num_frames)
    return np.stack([nothing if rle is None else decode_rle(rle) for rle in rles])
