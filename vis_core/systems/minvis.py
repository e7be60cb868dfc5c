"""MinVIS (Huang 2022): train on single frames, name the instances by their queries."""

import torch
from torch import Tensor

from vis_core.structures import ClipBatch
from vis_core.systems.query_system import QuerySystem


class Minvis(QuerySystem):
    """Is a Mask2Former whose queries are the embeddings; no video is needed in training."""

    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes the segmentation losses of every frame (MinVIS 3.2)."""
        output = self.segment_clips(batch)
        with torch.autocast(output.queries.device.type, enabled=False):
            losses, _ = self.segmentor.losses(output, batch.frame_targets(), generator)
        return losses

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of ``class``, ``mask`` and ``dice``."""
        weights = self.config.loss_weights
        return {"class": weights.class_, "mask": weights.mask, "dice": weights.dice}
