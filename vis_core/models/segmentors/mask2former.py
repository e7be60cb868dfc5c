"""Mask2Former (Cheng 2022) as a segmentor, over transformers' model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from vis_core.config.segmentors import Mask2FormerSettings
from vis_core.models.criterion.mask2former_criterion import (
    PointSampling,
    QueryPredictions,
    query_losses,
)
from vis_core.models.layers.backbone import backbone_config, freeze_batch_norm, freeze_never_used
from vis_core.models.segmentors.pixel_norm import PixelNorm
from vis_core.structures import FrameTargets


def transformers_config(settings: Mask2FormerSettings, num_classes: int) -> Mask2FormerConfig:
    """Says the settings in transformers' words."""
    return Mask2FormerConfig(
        backbone_config=backbone_config(settings.backbone),
        feature_size=settings.hidden_width,
        mask_feature_size=settings.hidden_width,
        hidden_dim=settings.hidden_width,
        encoder_feedforward_dim=settings.encoder_ffn_width,
        encoder_layers=settings.encoder_layers,
        # transformers counts the learnt queries as the first of its layers
        decoder_layers=settings.decoder_layers + 1,
        num_attention_heads=settings.num_heads,
        dim_feedforward=settings.decoder_ffn_width,
        num_queries=settings.num_queries,
        num_labels=num_classes,
    )


@dataclass(frozen=True)
class SegmentorOutput:
    """Is what a segmentor says of F frames.

    Attributes:
        predictions: Class and mask logits of every decoder layer.
        queries: (F, Q, C) the last decoder output after its norm, which all heads read.
        mask_features: (F, C, h, w) that masks are made of.
    """

    predictions: QueryPredictions
    queries: Tensor
    mask_features: Tensor


class Mask2Former(nn.Module):
    """Turns images into queries with classes and masks."""

    def __init__(self, settings: Mask2FormerSettings, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.network = Mask2FormerForUniversalSegmentation(
            transformers_config(settings, num_classes)
        )
        freeze_never_used(self)
        if not settings.train_batch_norm:
            freeze_batch_norm(self)
        self.pixels = PixelNorm()

    def train(self, mode: bool = True) -> "Mask2Former":
        """Switches to training, with batch norms left frozen unless the settings say otherwise."""
        super().train(mode)
        if mode and not self.settings.train_batch_norm:
            freeze_batch_norm(self)
        return self

    def forward(
        self, images: Tensor, sizes: Tensor | None = None, *, last_layer_only: bool = False
    ) -> SegmentorOutput:
        """Segments frames.

        Args:
            images: (F, 3, H, W) uint8 RGB, H and W multiples of 32, padded right and bottom.
            sizes: (F, 2) height and width before padding; None if nothing is padded.
            last_layer_only: Whether predictions of the other layers, which only losses look at, are
                left out: an eighth of the time.

        Returns:
            Logits at stride 4 of the padded input.
        """
        pixels = self.normalize(images, sizes)
        output = self.network.model(pixel_values=pixels, output_hidden_states=True)
        kept = slice(-1, None) if last_layer_only else slice(None)
        layers = output.transformer_decoder_intermediate_states[kept]
        states = torch.stack(layers).transpose(1, 2)
        predictions = QueryPredictions(
            # losses and association are computed in full precision, whatever the network ran in
            class_logits=self.network.class_predictor(states).float(),
            mask_logits=torch.stack(output.masks_queries_logits[kept]).float(),
        )
        features = output.pixel_decoder_last_hidden_state
        return SegmentorOutput(predictions, states[-1].float(), features.float())

    def mask_logits(
        self, output: SegmentorOutput, frame: int, queries: Tensor, head: nn.Module | None = None
    ) -> Tensor:
        """Gives the masks of some queries of one frame, of the last layer.

        Args:
            output: Of ``forward``.
            frame: One of the F.
            queries: (N,) int64.
            head: Maps queries to what is multiplied with the features; None for masks.

        Returns:
            (N, h, w) logits at stride 4 of the padded input.
        """
        if head is None:
            return output.predictions.mask_logits[-1, frame, queries]
        weights = head(output.queries[frame, queries])
        return torch.einsum("nc,chw->nhw", weights, output.mask_features[frame])

    def normalize(self, images: Tensor, sizes: Tensor | None) -> Tensor:
        """Gives the pixels that the network sees."""
        pixels: Tensor = self.pixels(images, sizes)
        return pixels

    def losses(
        self,
        output: SegmentorOutput,
        targets: list[FrameTargets],
        generator: torch.Generator | None = None,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Compares with the ground truth: named losses and the matched query of every instance."""
        return query_losses(
            output.predictions,
            targets,
            PointSampling(self.settings.num_points),
            self.settings.no_object_weight,
            generator,
        )
