"""Frame pairs for training: the first frame of a clip and one other (IDOL 3.2, STC 3.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.structures import ClipBatch, FrameTargets


@dataclass(frozen=True)
class FramePairs:
    """The key and reference frames of B clips, clip by clip; still images have one frame each."""

    images: Tensor  # (F, 3, H, W) uint8
    sizes: Tensor  # (F, 2) height and width before padding
    targets: list[FrameTargets]  # F frames
    frames_a_clip: int  # 2, or 1 for still images

    @classmethod
    def of(cls, batch: ClipBatch, generator: torch.Generator | None) -> "FramePairs":
        """Picks each clip's first frame and one other frame, drawn at random from the rest."""
        num_frames = batch.images.shape[1]
        reference = 1
        if num_frames > 2:
            reference = 1 + int(torch.randint(num_frames - 1, (1,), generator=generator))
        chosen = [0, reference][:num_frames]
        targets = batch.frame_targets()
        return cls(
            batch.images[:, chosen].flatten(0, 1),
            batch.sizes[:, chosen].flatten(0, 1),
            [targets[row * num_frames + t] for row in range(len(batch.images)) for t in chosen],
            len(chosen),
        )
