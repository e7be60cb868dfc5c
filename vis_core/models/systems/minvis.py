"""MinVIS (Huang 2022): trained on single frames, with instances associated by their queries."""

import torch
from torch import Tensor

from vis_core.config.systems import MinvisConfig
from vis_core.models.segmentors.mask2former import Mask2Former
from vis_core.models.systems.query_system import QuerySystem
from vis_core.structures import ClipBatch


class Minvis(QuerySystem):
    """A Mask2Former whose queries are the embeddings; training needs no video."""

    segmentor: Mask2Former

    def __init__(self, config: MinvisConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.addons = self.new_extra_heads()

    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes the segmentation losses of every frame (MinVIS 3.2)."""
        predictions = self.predict_clips(batch)
        with torch.autocast(predictions.queries.device.type, enabled=False):
            losses, _ = self.frame_losses(predictions, batch.frame_targets(), generator)
        return losses
