"""CrossVIS's ID head, which trains embeddings by classifying instances (IDOL Tables 6 and 7)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from vis_core.config.criterion import IdHeadConfig
from vis_core.models.criterion.classification import focal_loss
from vis_core.models.criterion.transport_matching import TransportMatching
from vis_core.models.layers.initialization import normal, prior_bias
from vis_core.structures import FrameTargets

_UNCOUNTED = 3  # instances of a head that is built only to list its parameters


class IdHead(nn.Module):
    """A linear classifier with a class for each of the M instances of the training videos.

    As in CrossVIS's release, the input is the normalised embedding times ``sqrt(2) log(M - 1)``.
    """

    def __init__(self, config: IdHeadConfig, width: int) -> None:
        """Builds a classifier of (N, width) embeddings."""
        super().__init__()
        count = config.num_instances or _UNCOUNTED
        self.scale = math.sqrt(2) * math.log(count - 1)
        self.classifier = nn.Linear(width, count)
        normal(self.classifier, 0.01)
        prior_bias(self.classifier)

    def loss(
        self,
        embeddings: Tensor,
        frames: Sequence[FrameTargets],
        matched: Sequence[TransportMatching],
    ) -> Tensor:
        """Computes the sum of the matched queries' focal losses, divided by their number.

        Args:
            embeddings: (F, Q, C) of all queries.
            frames: The targets of F frames; instances without a number are skipped.
            matched: The matched queries of each frame.
        """
        chosen, ids = [embeddings[0, :0]], [matched[0].instances[:0]]
        for row, (frame, matching) in enumerate(zip(frames, matched, strict=True)):
            if frame.instance_ids is not None:
                numbers = frame.instance_ids[matching.instances]
                chosen.append(embeddings[row, matching.queries[numbers >= 0]])
                ids.append(numbers[numbers >= 0])
        logits = self.classifier(self.scale * functional.normalize(torch.cat(chosen)))
        targets = functional.one_hot(torch.cat(ids), logits.shape[1]).to(logits)
        losses = focal_loss(logits, targets, alpha=0.25, gamma=2.0)
        return losses.sum() / max(1, len(logits))
