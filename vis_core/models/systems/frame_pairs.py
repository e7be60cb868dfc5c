"""What systems of two frames see of a clip: its first frame and one other (IDOL 3.2, STC 3.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.structures import ClipBatch, FrameTargets


@dataclass(frozen=True)
class FramePairs:
    """Is the key and the reference frame of B clips, clip by clip; of still images one frame each.

    Attributes:
        images: (F, 3, H, W) uint8.
        sizes: (F, 2) height and width before padding.
        targets: F frames.
        frames_a_clip: 2, or 1 of still images.
    """

    images: Tensor
    sizes: Tensor
    targets: list[FrameTargets]
    frames_a_clip: int

    @classmethod
    def of(cls, batch: ClipBatch, generator: torch.Generator | None) -> "FramePairs":
        """Takes the first frame of each clip and the second, or of more one that is drawn."""
        num_frames = batch.images.shape[1]
        reference = 1
        if num_frames > 2:
            reference = 1 + int(torch.randint(num_frames - 1, (1,), generator=generator))
        shown = [0, reference][:num_frames]
        targets = batch.frame_targets()
        return cls(
            batch.images[:, shown].flatten(0, 1),
            batch.sizes[:, shown].flatten(0, 1),
            [targets[row * num_frames + t] for row in range(len(batch.images)) for t in shown],
            len(shown),
        )
