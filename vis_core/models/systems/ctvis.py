"""CTVIS (Ying 2023): embeddings trained with the memory that inference uses."""

import torch
from torch import Tensor

from vis_core.config.systems import CtvisConfig
from vis_core.models.contrastive.ctvis import (
    ContrastiveItems,
    ItemDraws,
    concat_items,
    contrastive_items,
)
from vis_core.models.criterion.batch_share import batch_share
from vis_core.models.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.models.criterion.hungarian_matching import UNMATCHED
from vis_core.models.criterion.mask2former_criterion import (
    PointSampling,
    QueryPredictions,
    match_layers,
)
from vis_core.models.layers.initialization import kaiming_uniform
from vis_core.models.layers.mlp import Mlp
from vis_core.models.systems.query_frames import Mask2FormerFrames, QueryFrames
from vis_core.models.systems.query_system import QuerySystem
from vis_core.structures import ClipBatch, FrameTargets


class Ctvis(QuerySystem):
    """A Mask2Former with an embedding head, trained on clips (CTVIS 3.3).

    CTVIS Table 2 reports CTVIS on Deformable DETR without details. Here, it has IDOL's losses on
    all T frames, and an instance's embedding in a frame is that of its best query in IDOL's
    transport matching. The alternative is one query per instance from Hungarian matching.
    """

    config: CtvisConfig

    def __init__(self, config: CtvisConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        width = config.segmentor.hidden_width
        self.embedding_head = Mlp(width, config.embedding_width, config.embedding_width, 3)
        kaiming_uniform(self.embedding_head)  # as in the release
        self.addons = self.new_extra_heads()

    def embed(self, queries: Tensor) -> Tensor:
        """Maps (..., Q, C) queries to instance embeddings (CTVIS 3.1)."""
        return self.embedding_head(queries)

    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes the terms of CTVIS Eq. 6; the embedding loss is 0 for still images."""
        predictions = self.predict_clips(batch)
        embeddings = self.embed(predictions.queries).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._losses(batch, predictions, embeddings, generator)

    def _losses(
        self,
        batch: ClipBatch,
        predictions: QueryFrames,
        embeddings: Tensor,
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Computes the losses from predictions and embeddings (B * T, Q, C)."""
        targets = batch.frame_targets()
        losses, matched = self.frame_losses(predictions, targets, generator)
        if self.config.items.match_again:
            assert isinstance(predictions, Mask2FormerFrames), "the config allows no other"
            places = self._match_again(batch, predictions, generator)
        else:
            places = _matched_places(batch, targets, matched)
        items = self._items(embeddings, places, generator)
        share = batch_share(embeddings.new_tensor(len(items.anchors) if items else 0))
        if items is None:
            # attached to the graph, so that every rank runs the same backward pass
            zero = embeddings.sum() * 0
            return losses | {"embed": zero, "embed_cosine": zero}
        positives = items.positives.unsqueeze(1)
        compared = items.anchors, positives, items.negatives, items.negative_mask
        embed, cosine = contrastive_loss(*compared), cosine_auxiliary_loss(*compared)
        return losses | {"embed": embed * share, "embed_cosine": cosine * share}

    def _items(
        self,
        embeddings: Tensor,
        places: list[tuple[Tensor, Tensor]],
        generator: torch.Generator | None,
    ) -> ContrastiveItems | None:
        """Pools the batch's contrastive items; returns None if there are none."""
        pooled = []
        clips = embeddings.split(len(embeddings) // len(places))
        for clip, (queries, present) in zip(clips, places, strict=True):
            shape = (*queries.shape, clip.shape[1])
            draws = ItemDraws.random(shape, clip.device, generator)
            pooled.append(contrastive_items(clip, queries, present, self.config.items, draws))
        items = concat_items(pooled)
        return items if len(items.anchors) else None

    def _match_again(
        self, batch: ClipBatch, predictions: Mask2FormerFrames, generator: torch.Generator | None
    ) -> list[tuple[Tensor, Tensor]]:
        """Matches each clip's instances in every frame at new random points (CTVIS release).

        An absent instance is matched as an empty mask without a class, so it occupies a query.
        """
        targets = []
        for masks, labels in zip(batch.masks, batch.labels, strict=True):
            rows = torch.arange(len(labels), device=labels.device)
            for frame_masks in masks:
                present = frame_masks.flatten(1).any(dim=1)
                wanted = torch.where(present, labels, self.num_classes)
                targets.append(FrameTargets(wanted, frame_masks, rows))
        layers = predictions.output.predictions
        last = QueryPredictions(layers.class_logits[-1:], layers.mask_logits[-1:])
        sampling = PointSampling(predictions.segmentor.settings.num_points)
        (matched,) = match_layers(last, targets, sampling, generator)
        num_frames = batch.images.shape[1]
        places = []
        for row, masks in enumerate(batch.masks):
            queries = torch.stack(matched[row * num_frames : (row + 1) * num_frames])
            places.append((queries, masks.flatten(2).any(dim=2) & (queries != UNMATCHED)))
        return places


def _matched_places(
    batch: ClipBatch, targets: list[FrameTargets], matched: list[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Returns each clip's (T, G) queries as matched for the losses, and a mask of valid ones."""
    num_frames = batch.images.shape[1]
    places = []
    for row, labels in enumerate(batch.labels):
        queries = torch.zeros(num_frames, len(labels), dtype=torch.int64, device=labels.device)
        present = torch.zeros_like(queries, dtype=torch.bool)
        for t in range(num_frames):
            frame = row * num_frames + t
            found = matched[frame] != UNMATCHED
            instances = targets[frame].instance_index[found]
            queries[t, instances] = matched[frame][found]
            present[t, instances] = True
        places.append((queries, present))
    return places
