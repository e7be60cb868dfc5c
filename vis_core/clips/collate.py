"""Collation of clips with different sizes into one batch."""

from collections.abc import Sequence

import numpy as np
import torch

from vis_core.structures import Clip, ClipBatch

# The coarsest features of every segmentor have this stride in pixels.
SIZE_DIVISOR = 32


def collate_clips(clips: Sequence[Clip], size_divisor: int = SIZE_DIVISOR) -> ClipBatch:
    """Pads clips of T frames with 0 on the right and bottom to one size, and stacks them.

    The height and width are multiples of ``size_divisor``. Clips and frames may differ in size; the
    result's ``sizes`` are those before padding.
    """
    frames = {len(clip) for clip in clips}
    if len(frames) != 1:
        raise ValueError(
            f"clips of a batch must have one number of frames, but got {sorted(frames)}"
        )
    sizes = np.stack([clip.frame_sizes for clip in clips]).astype(np.int64)
    height, width = -(-sizes.max(axis=(0, 1)) // size_divisor) * size_divisor
    images = np.zeros((len(clips), frames.pop(), 3, height, width), dtype=np.uint8)
    masks = []
    for b, clip in enumerate(clips):
        high, wide = sizes[b].max(axis=0)
        images[b, :, :, :high, :wide] = clip.images[:, :high, :wide].transpose(0, 3, 1, 2)
        padded = np.zeros((*clip.masks.shape[:2], height, width), dtype=bool)
        padded[:, :, :high, :wide] = clip.masks[:, :, :high, :wide]
        masks.append(torch.from_numpy(padded))
    labels = [torch.from_numpy(np.asarray(clip.labels, dtype=np.int64)) for clip in clips]
    clip_ids = tuple(clip.clip_id for clip in clips)
    ids = tuple(torch.from_numpy(_instance_ids(clip)) for clip in clips)
    arrays = torch.from_numpy(images), masks, labels, torch.from_numpy(sizes)
    return ClipBatch(*arrays, clip_ids, ids)


def _instance_ids(clip: Clip) -> np.ndarray:
    return np.full(len(clip.labels), -1) if clip.instance_ids is None else clip.instance_ids
