"""What the 1st place of the long-video challenge adds to a system; in training only by default."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vis_core.config.systems import ExtraHeadsConfig
from vis_core.geometry.masks import mask_boundary
from vis_core.models.criterion.boundary import boundary_loss
from vis_core.models.criterion.idol_criterion import sampled_masks
from vis_core.models.criterion.quality import quality_loss
from vis_core.models.layers.initialization import xavier_uniform
from vis_core.models.layers.mlp import Mlp

# Makes the (N, h, w) mask logits of N states with a head in place of the system's own, if given.
MasksOf = Callable[[nn.Module | None], Tensor]


@dataclass(frozen=True)
class MatchedFrame:
    """Is what a frame has for the losses of the additions.

    Attributes:
        states: (N, C) last decoder output of its matched queries.
        masks_of: Makes their masks, or with another head other masks of the same features.
        masks: (N, H, W) bool, the true mask of each.
    """

    states: Tensor
    masks_of: MasksOf
    masks: Tensor


class ExtraHeads(nn.Module):
    """Is the boundary head and the quality module (1st place 2.2, 2.3), as far as switched on.

    Both read the last decoder output of matched queries. The boundary head is "similar to the mask
    head": one of its own kind and size, over the same features.
    """

    def __init__(self, config: ExtraHeadsConfig, width: int, mask_width: int) -> None:
        """Makes the heads.

        Args:
            config: Says which there are.
            width: C of the states.
            mask_width: Numbers that a mask is made of for each state.
        """
        super().__init__()
        self.boundary, self.quality = config.boundary, config.quality
        if self.boundary:
            self.boundary_head = Mlp(width, width, mask_width, 3)
            xavier_uniform(self.boundary_head)
        if self.quality:
            self.quality_head = Mlp(width, width, 1, 2)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of ``boundary`` and ``quality``, as far as switched on."""
        sections = {"boundary": self.boundary, "quality": self.quality}
        return {name: section.weight for name, section in sections.items() if section}

    def qualities(self, states: Tensor) -> Tensor | None:
        """Predicts for inference the (...) IoU with the truth of the masks of (..., C) states.

        None unless the config has ``quality.rescore``.
        """
        if not (self.quality and self.quality.rescore):
            return None
        return self._predicted(states)

    def losses(self, frames: Sequence[MatchedFrame]) -> dict[str, Tensor]:
        """Computes the mean losses of all matched queries of F frames; 0 if there is none."""
        if not self.loss_weights:
            return {}
        losses: dict[str, list[Tensor]] = {name: [] for name in self.loss_weights}
        for frame in frames:
            with torch.no_grad():
                logits = frame.masks_of(None)
            truth = sampled_masks(frame.masks, *logits.shape[1:]) > 0
            if self.boundary:
                found = frame.masks_of(self.boundary_head).float()
                rims = mask_boundary(truth, self.boundary.threshold)
                losses["boundary"].append(boundary_loss(found, rims, self.boundary.dice))
            if self.quality:
                losses["quality"].append(quality_loss(self._predicted(frame.states), logits, truth))
        joined = {name: torch.cat(own) for name, own in losses.items()}
        return {name: own.sum() / max(1, len(own)) for name, own in joined.items()}

    def _predicted(self, states: Tensor) -> Tensor:
        predicted: Tensor = self.quality_head(states.float()).sigmoid()
        return predicted.squeeze(-1)
