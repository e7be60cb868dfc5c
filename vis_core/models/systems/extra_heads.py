"""The extra heads from the long-video challenge's 1st place, by default used only in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vis_core.config.systems import ExtraHeadsConfig
from vis_core.geometry.masks import mask_boundary
from vis_core.models.criterion.batch_share import batch_count
from vis_core.models.criterion.boundary import boundary_loss
from vis_core.models.criterion.idol_criterion import sampled_masks
from vis_core.models.criterion.quality import quality_loss
from vis_core.models.layers.initialization import xavier_uniform
from vis_core.models.layers.mlp import Mlp

# Computes the (N, h, w) mask logits of N states; a head, if given, replaces the mask head.
MasksOf = Callable[[nn.Module | None], Tensor]


@dataclass(frozen=True)
class MatchedFrame:
    """One frame's matched queries, as input to the extra heads' losses.

    Attributes:
        states: (N, C) last decoder output of the queries.
        masks_of: Computes the queries' masks or, with another head, maps from the same features.
        masks: (N, H, W) bool true masks.
    """

    states: Tensor
    masks_of: MasksOf
    masks: Tensor


class ExtraHeads(nn.Module):
    """The boundary head and the quality module (1st place 2.2, 2.3), each if enabled.

    Both heads read the last decoder output for matched queries. The boundary head is "similar to
    the mask head": it is of the same kind and size, and uses the same features. The report does not
    say whether earlier layers have boundary losses, as they have mask losses, nor how the head
    starts; here, they have none, and the head starts with random weights.
    """

    def __init__(self, config: ExtraHeadsConfig, width: int, mask_width: int) -> None:
        """Builds heads for (..., width) states; ``mask_width`` is the mask head's output width."""
        super().__init__()
        self.boundary, self.quality = config.boundary, config.quality
        if self.boundary:
            self.boundary_head = Mlp(width, width, mask_width, 3)
            xavier_uniform(self.boundary_head)
        if self.quality:
            self.quality_head = Mlp(width, width, 1, 2)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of ``boundary`` and ``quality``, each if enabled."""
        sections = {"boundary": self.boundary, "quality": self.quality}
        return {name: section.weight for name, section in sections.items() if section}

    def qualities(self, states: Tensor) -> Tensor | None:
        """Predicts the (...) mask IoU for (..., C) states; returns None without ``rescore``."""
        rescore = self.quality and self.quality.rescore
        return self._predicted_qualities(states) if rescore else None

    def losses(self, frames: Sequence[MatchedFrame]) -> dict[str, Tensor]:
        """Computes the mean losses over the matched queries in F frames, or 0 if there are none."""
        if not self.loss_weights:
            return {}
        losses: dict[str, list[Tensor]] = {name: [] for name in self.loss_weights}
        for frame in frames:
            with torch.no_grad():
                logits = frame.masks_of(None)
            truth = sampled_masks(frame.masks, *logits.shape[1:]) > 0
            if self.boundary:
                predicted = frame.masks_of(self.boundary_head).float()
                boundaries = mask_boundary(truth, self.boundary.threshold)
                losses["boundary"].append(boundary_loss(predicted, boundaries, self.boundary.dice))
            if self.quality:
                qualities = self._predicted_qualities(frame.states)
                losses["quality"].append(quality_loss(qualities, logits, truth))
        joined = {name: torch.cat(parts) for name, parts in losses.items()}
        count = batch_count(frames[0].states.new_tensor(sum(len(frame.states) for frame in frames)))
        return {name: loss.sum() / count for name, loss in joined.items()}

    def _predicted_qualities(self, states: Tensor) -> Tensor:
        return self.quality_head(states.float()).sigmoid().squeeze(-1)
