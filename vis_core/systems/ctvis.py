"""CTVIS (Ying 2023): train the embeddings through the memory that inference will use."""

import torch
from torch import Tensor

from vis_core.config import CtvisConfig
from vis_core.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.criterion.hungarian_matching import UNMATCHED
from vis_core.layers.mlp import Mlp
from vis_core.structures import ClipBatch, FrameTargets
from vis_core.systems.ctvis_items import ContrastiveItems, concat_items, contrastive_items
from vis_core.systems.query_system import QuerySystem


class Ctvis(QuerySystem):
    """Is a Mask2Former with an embedding head, trained on clips (CTVIS 3.3)."""

    config: CtvisConfig

    def __init__(self, config: CtvisConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        width = config.segmentor.hidden_width
        self.embedding_head = Mlp(width, config.embedding_width, config.embedding_width, 3)

    def embed(self, queries: Tensor) -> Tensor:
        """Maps (..., Q, C) queries to instance embeddings (CTVIS 3.1)."""
        return self.embedding_head(queries)

    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes the terms of CTVIS Eq. 6; the embedding loss of still images is 0."""
        targets = batch.frame_targets()
        output = self.segment_clips(batch)
        losses, matched = self.segmentor.losses(output, targets, generator)
        embeddings = self.embed(output.queries)
        items = self._items(batch, embeddings, targets, matched, generator)
        if items is None:
            # attached to the graph, so that every rank runs the same backward
            zero = embeddings.sum() * 0
            return losses | {"embed": zero, "embed_cosine": zero}
        return losses | {
            "embed": contrastive_loss(
                items.anchors, items.positives.unsqueeze(1), items.negatives, items.negative_mask
            ),
            "embed_cosine": cosine_auxiliary_loss(
                items.anchors, items.positives, items.negatives, items.negative_mask
            ),
        }

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of CTVIS Eq. 6 and of the released auxiliary loss."""
        weights = self.config.loss_weights
        return {
            "class": weights.class_,
            "mask": weights.mask,
            "dice": weights.dice,
            "embed": weights.embed,
            "embed_cosine": weights.embed_cosine,
        }

    def _items(
        self,
        batch: ClipBatch,
        embeddings: Tensor,
        targets: list[FrameTargets],
        matched: list[Tensor],
        generator: torch.Generator | None,
    ) -> ContrastiveItems | None:
        """Pools the contrastive items of all clips of the batch; None if there are none."""
        num_frames = batch.images.shape[1]
        pooled = []
        for row, labels in enumerate(batch.labels):
            frames = range(row * num_frames, (row + 1) * num_frames)
            queries = torch.zeros(num_frames, len(labels), dtype=torch.int64, device=labels.device)
            present = torch.zeros_like(queries, dtype=torch.bool)
            for t, frame in enumerate(frames):
                found = matched[frame] != UNMATCHED
                shown = targets[frame].instance_index[found]
                queries[t, shown] = matched[frame][found]
                present[t, shown] = True
            clip_embeddings = embeddings[frames.start : frames.stop]
            pooled.append(
                contrastive_items(clip_embeddings, queries, present, self.config.items, generator)
            )
        items = concat_items(pooled)
        return items if len(items.anchors) else None
