"""What the 1st place of the long-video challenge adds to the training of IDOL; unused at test."""

import torch
from torch import Tensor, nn

from vis_core.config import IdolConfig
from vis_core.criterion.boundary import boundary_loss
from vis_core.criterion.detection_losses import sampled_masks
from vis_core.criterion.quality import quality_loss
from vis_core.criterion.transport_matching import TransportMatching
from vis_core.geometry.masks import mask_boundary
from vis_core.layers.initialization import xavier_uniform
from vis_core.layers.mlp import Mlp
from vis_core.segmentors.deformable_detr import DeformableDetr, DeformableDetrOutput
from vis_core.structures import FrameTargets


class IdolAddOns(nn.Module):
    """Is the boundary head and the quality module (1st place 2.2, 2.3), as far as switched on.

    Both read the last decoder output of matched queries of key frames. The boundary head is
    "similar to the mask head": a controller of its own for the same head over the same features.
    """

    def __init__(self, config: IdolConfig, num_parameters: int) -> None:
        super().__init__()
        self.boundary, self.quality = config.boundary, config.quality
        width = config.segmentor.hidden_width
        if self.boundary:
            self.boundary_controller = Mlp(width, width, num_parameters, 3)
            xavier_uniform(self.boundary_controller)
        if self.quality:
            self.quality_head = Mlp(width, width, 1, 2)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of ``boundary`` and ``quality``, as far as switched on."""
        sections = {"boundary": self.boundary, "quality": self.quality}
        return {name: section.weight for name, section in sections.items() if section}

    def losses(
        self,
        segmentor: DeformableDetr,
        output: DeformableDetrOutput,
        features: Tensor,
        targets: list[FrameTargets],
        matched: list[TransportMatching],
    ) -> dict[str, Tensor]:
        """Computes the mean losses of all matched queries of F key frames; 0 if there is none.

        Args:
            segmentor: Whose head makes the masks.
            output: Of F frames.
            features: (F, c, h, w) that masks are made of.
            targets: F frames.
            matched: F matchings of the last layer.
        """
        last = len(output.states) - 1
        losses: dict[str, list[Tensor]] = {name: [] for name in self.loss_weights}
        for frame, (target, matching) in enumerate(zip(targets, matched, strict=True)):
            where = output, features, last, frame, matching.queries
            with torch.no_grad():
                masks = segmentor.mask_logits(*where)
            truth = sampled_masks(target.masks, *masks.shape[1:])[matching.instances] > 0
            if self.boundary:
                logits = segmentor.mask_logits(*where, self.boundary_controller)
                rims = mask_boundary(truth, self.boundary.threshold)
                losses["boundary"].append(boundary_loss(logits, rims, self.boundary.dice))
            if self.quality:
                states = output.states[last, frame, matching.queries]
                qualities = self.quality_head(states).float().sigmoid()[:, 0]
                losses["quality"].append(quality_loss(qualities, masks, truth))
        joined = {name: torch.cat(own) for name, own in losses.items()}
        return {name: own.sum() / max(1, len(own)) for name, own in joined.items()}
