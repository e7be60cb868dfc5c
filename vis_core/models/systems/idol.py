"""IDOL (Wu 2022): a Deformable DETR with masks and contrastive embeddings."""

import torch
from torch import Tensor

from vis_core.config.systems import IdolConfig
from vis_core.models.contrastive.idol import (
    ContrastiveItems,
    contrastive_items,
    sample_negatives,
    shared_truth,
)
from vis_core.models.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.models.criterion.hungarian_matching import UNMATCHED
from vis_core.models.criterion.idol_criterion import frame_truth
from vis_core.models.criterion.transport_matching import transport_matching
from vis_core.models.layers.mlp import Mlp
from vis_core.models.systems.frame_pairs import FramePairs
from vis_core.models.systems.id_head import IdHead
from vis_core.models.systems.query_frames import QueryFrames
from vis_core.models.systems.query_system import QuerySystem
from vis_core.structures import ClipBatch


class Idol(QuerySystem):
    """A Deformable DETR with an embedding head, trained on key and reference frames.

    CTVIS Table 2 reports IDOL on Mask2Former without details. Here, Mask2Former's losses and
    matching apply to the key frame. Positives and negatives on the reference frame still come from
    transport matching, with tight boxes of the predicted masks (alternative: matching by masks).
    """

    config: IdolConfig

    def __init__(self, config: IdolConfig, num_classes: int) -> None:
        super().__init__(config, num_classes, config.matching)
        width = config.segmentor.hidden_width
        self.embedding_head = Mlp(width, config.embedding_width, config.embedding_width, 3)
        self.addons = self.new_extra_heads()
        self.id_head = IdHead(config.id_head, config.embedding_width) if config.id_head else None

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of IDOL Eq. 2 and of the extra heads."""
        weights = super().loss_weights
        if self.config.id_head:
            del weights["embed"], weights["embed_cosine"]
            weights["identity"] = self.config.id_head.weight
        return weights

    def embed(self, queries: Tensor) -> Tensor:
        """Maps (..., Q, C) queries to instance embeddings (IDOL 3.2)."""
        return self.embedding_head(queries)

    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes the terms of IDOL Eq. 2.

        ``FramePairs`` chooses the frames. Masks are compared on the key frame only. Still images
        have no embedding loss.
        """
        pairs = FramePairs.of(batch, generator)
        predictions = self.predict(pairs.images, pairs.sizes)
        embeddings = self.embed(predictions.queries).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._losses(predictions, embeddings, pairs, generator)

    def _losses(
        self,
        predictions: QueryFrames,
        embeddings: Tensor,
        pairs: FramePairs,
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Computes the losses from all frames' predictions and embeddings (F, Q, C)."""
        keys = slice(0, None, pairs.frames_a_clip)
        losses, queries = self.frame_losses(predictions[keys], pairs.targets[keys], generator)
        if self.id_head is not None:
            truths = [frame_truth(*frame) for frame in zip(pairs.targets, pairs.sizes, strict=True)]
            matched = [
                transport_matching(predictions.guess(row), truth, self.config.matching)
                for row, truth in enumerate(truths)
            ]
            return losses | {"identity": self.id_head.loss(embeddings, pairs.targets, matched)}
        if pairs.frames_a_clip == 1:
            zero = embeddings.sum() * 0  # attached to the graph
            return losses | {"embed": zero, "embed_cosine": zero}
        items = self._items(predictions[1::2], embeddings, pairs, queries)
        return losses | self._embedding_losses(items, embeddings, generator)

    def _items(
        self, references: QueryFrames, embeddings: Tensor, pairs: FramePairs, queries: list[Tensor]
    ) -> ContrastiveItems:
        """Builds the pairs' contrastive items; ``queries`` are the key frames' matched queries."""
        found = [matched != UNMATCHED for matched in queries]
        keys = [target[each] for target, each in zip(pairs.targets[0::2], found, strict=True)]
        shared = [
            shared_truth(*pair)
            for pair in zip(keys, pairs.targets[1::2], pairs.sizes[1::2], strict=True)
        ]
        return contrastive_items(
            embeddings[0::2],
            [matched[each] for matched, each in zip(queries, found, strict=True)],
            embeddings[1::2],
            [references.guess(row) for row in range(len(shared))],
            shared,
            self.config.matching,
        )

    def _embedding_losses(
        self, items: ContrastiveItems, embeddings: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Computes IDOL Eq. 4 and the release's auxiliary loss; both are 0 without items."""
        if not len(items):
            zero = embeddings.sum() * 0
            return {"embed": zero, "embed_cosine": zero}
        compared = items.anchors, items.keys, items.keys
        sampled = sample_negatives(items, generator)
        return {
            "embed": contrastive_loss(*compared, items.negative_mask, items.positive_mask),
            "embed_cosine": cosine_auxiliary_loss(*compared, sampled, items.positive_mask),
        }
