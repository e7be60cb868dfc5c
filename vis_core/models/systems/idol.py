"""IDOL (Wu 2022): a Deformable DETR with masks and contrastive embeddings."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from vis_core.config.systems import IdolConfig
from vis_core.geometry.boxes import to_xyxy
from vis_core.models.contrastive.idol import (
    ContrastiveItems,
    contrastive_items,
    sample_negatives,
    shared_truth,
)
from vis_core.models.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.models.criterion.idol_criterion import detection_losses, frame_truth
from vis_core.models.criterion.transport_matching import TransportMatching, transport_matching
from vis_core.models.layers.mlp import Mlp
from vis_core.models.segmentors.deformable_detr import DeformableDetr, DeformableDetrOutput
from vis_core.models.segmentors.selection import select_by_score_and_box, select_instances
from vis_core.models.systems.base import System
from vis_core.models.systems.extra_heads import ExtraHeads, MatchedFrame
from vis_core.models.systems.frame_pairs import FramePairs
from vis_core.models.systems.id_head import IdHead
from vis_core.structures import ClipBatch, FrameTargets, Instances


class Idol(System):
    """A Deformable DETR with an embedding head, trained on key and reference frames."""

    config: IdolConfig
    backbone_prefix = "segmentor.network.backbone.model."

    def __init__(self, config: IdolConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.segmentor = DeformableDetr(config.segmentor, num_classes)
        width = config.segmentor.hidden_width
        self.embedding_head = Mlp(width, config.embedding_width, config.embedding_width, 3)
        # built last, so that all other weights start alike with and without these heads
        self.addons = ExtraHeads(config, width, self.segmentor.mask_head.num_parameters)
        self.id_head = IdHead(config.id_head, config.embedding_width) if config.id_head else None

    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Computes the terms of IDOL Eq. 2.

        ``FramePairs`` chooses the frames. Masks are compared on the key frame only. Still images
        have no embedding loss.
        """
        pairs = FramePairs.of(batch, generator)
        output = self.segmentor(pairs.images, pairs.sizes)
        embeddings = self.embedding_head(output.states[-1]).float()
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._losses(output, embeddings, pairs.targets, pairs.frames_a_clip, generator)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of IDOL Eq. 2 and of the extra heads."""
        weights = self.config.loss_weights.model_dump(by_alias=True) | self.addons.loss_weights
        if self.config.id_head:
            del weights["embed"], weights["embed_cosine"]
            weights["identity"] = self.config.id_head.weight
        return weights

    @torch.no_grad()
    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds and selects the instances in frames of one size (see ``System.segment``).

        Masks are computed only for the queries selected by score and box.
        """
        if not images:
            return []
        output = self.segmentor(*self.input_frames(images))
        features = self.segmentor.mask_features(output)
        embeddings = self.embedding_head(output.states[-1])
        outputs = output, features, embeddings
        return [self._frame_instances(*outputs, row) for row in range(len(images))]

    def _frame_instances(
        self, output: DeformableDetrOutput, features: Tensor, embeddings: Tensor, row: int
    ) -> Instances:
        class_scores = output.predictions.class_logits[-1, row].sigmoid()
        scores = class_scores.max(dim=1).values
        scale = output.sizes[row].flip(0).repeat(2)
        boxes = to_xyxy(output.predictions.boxes_cxcywh_norm[-1, row]) * scale
        selection = self.config.selection
        selected = select_by_score_and_box(scores, class_scores, boxes, selection)
        last = len(output.states) - 1
        instances = Instances(
            scores=scores[selected],
            class_scores=class_scores[selected],
            mask_logits=self.segmentor.mask_logits(output, features, last, row, selected),
            embeddings=embeddings[row, selected],
            boxes=boxes[selected],
            qualities=self.addons.qualities(output.states[last, row, selected]),
        )
        return select_instances(instances, selection)

    def _losses(
        self,
        output: DeformableDetrOutput,
        embeddings: Tensor,
        frames: list[FrameTargets],
        frames_a_clip: int,
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Computes the losses from all frames' predictions and embeddings (F, Q, C)."""
        keys = slice(0, None, frames_a_clip)
        key_output = output[keys]
        features = self.segmentor.mask_features(key_output)
        losses, matched = detection_losses(
            key_output.predictions,
            partial(self.segmentor.mask_logits, key_output, features),
            frames[keys],
            key_output.sizes,
            self.config.matching,
        )
        pairs = zip(matched[-1], frames[keys], strict=True)
        matched_frames = [
            self._matched_frame(key_output, features, row, matching, frame.masks)
            for row, (matching, frame) in enumerate(pairs)
        ]
        losses |= self.addons.losses(matched_frames)
        if self.id_head is not None:
            return losses | {"identity": self._identity_loss(output, embeddings, frames)}
        if frames_a_clip == 1:
            zero = embeddings.sum() * 0  # attached to the graph
            return losses | {"embed": zero, "embed_cosine": zero}
        items = self._items(output, embeddings, frames, matched[-1])
        return losses | self._embedding_losses(items, embeddings, generator)

    def _identity_loss(
        self, output: DeformableDetrOutput, embeddings: Tensor, frames: list[FrameTargets]
    ) -> Tensor:
        """Computes the ID head's loss for the matched queries of key and reference frames."""
        assert self.id_head is not None
        truths = [frame_truth(*frame) for frame in zip(frames, output.sizes, strict=True)]
        matched = [
            transport_matching(output.predictions.guess(-1, row), truth, self.config.matching)
            for row, truth in enumerate(truths)
        ]
        return self.id_head.loss(embeddings, frames, matched)

    def _items(
        self,
        output: DeformableDetrOutput,
        embeddings: Tensor,
        frames: list[FrameTargets],
        matched: list[TransportMatching],
    ) -> ContrastiveItems:
        """Builds the contrastive items of the pairs; ``matched`` belongs to the key frames."""
        keys, references = slice(0, None, 2), slice(1, None, 2)
        guesses = output[references]
        shared = [
            shared_truth(*pair)
            for pair in zip(frames[keys], frames[references], guesses.sizes, strict=True)
        ]
        return contrastive_items(
            embeddings[keys],
            [matching.best_query for matching in matched],
            embeddings[references],
            [guesses.predictions.guess(-1, row) for row in range(len(shared))],
            shared,
            self.config.matching,
        )

    def _matched_frame(
        self,
        output: DeformableDetrOutput,
        features: Tensor,
        row: int,
        matching: TransportMatching,
        masks: Tensor,
    ) -> MatchedFrame:
        """Returns a frame's matched queries, given (G, H, W) true masks, for the extra heads."""
        last = len(output.states) - 1
        queries = matching.queries
        return MatchedFrame(
            output.states[last, row, queries],
            partial(self.segmentor.mask_logits, output, features, last, row, queries),
            masks[matching.instances],
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
