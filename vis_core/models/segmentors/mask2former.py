"""Mask2Former (Cheng 2022) as a segmentor, built on transformers' model."""

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


def _transformers_config(settings: Mask2FormerSettings, num_classes: int) -> Mask2FormerConfig:
    return Mask2FormerConfig(
        backbone_config=backbone_config(settings.backbone),
        feature_size=settings.hidden_width,
        mask_feature_size=settings.hidden_width,
        hidden_dim=settings.hidden_width,
        encoder_feedforward_dim=settings.encoder_ffn_width,
        encoder_layers=settings.encoder_layers,
        # transformers counts the learnt queries as its first layer
        decoder_layers=settings.decoder_layers + 1,
        num_attention_heads=settings.num_heads,
        dim_feedforward=settings.decoder_ffn_width,
        num_queries=settings.num_queries,
        num_labels=num_classes,
    )


@dataclass(frozen=True)
class SegmentorOutput:
    """The predictions for F frames."""

    predictions: QueryPredictions  # class and mask logits of every decoder layer
    queries: Tensor  # (F, Q, C) last decoder output after its norm, the input to all heads
    mask_features: Tensor  # (F, C, h, w), multiplied by queries to compute masks


class Mask2Former(nn.Module):
    """The Mask2Former network: a class and a mask per query."""

    backbone_prefix = "network.model.pixel_level_module.encoder."

    def __init__(self, settings: Mask2FormerSettings, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        config = _transformers_config(settings, num_classes)
        self.network = Mask2FormerForUniversalSegmentation(config)
        freeze_never_used(self)
        if not settings.train_batch_norm:
            freeze_batch_norm(self)
        self.pixels = PixelNorm()

    def train(self, mode: bool = True) -> "Mask2Former":
        """Sets the training mode; batch norms stay frozen unless the settings unfreeze them."""
        super().train(mode)
        if mode and not self.settings.train_batch_norm:
            freeze_batch_norm(self)
        return self

    def forward(
        self, images: Tensor, sizes: Tensor | None = None, *, last_layer_only: bool = False
    ) -> SegmentorOutput:
        """Segments (F, 3, H, W) uint8 RGB frames, padded right and bottom to multiples of 32.

        ``sizes`` is the (F, 2) height and width before padding; None if nothing is padded.
        ``last_layer_only`` skips the other layers' predictions, which only losses need; it saves an
        eighth of the forward pass's time. Masks are at stride 4.
        """
        module = self.network.model.pixel_level_module
        maps = module.encoder(self.normalize(images, sizes)).feature_maps
        # in full precision even if the network is not, as in the release (and the losses below)
        with torch.autocast(images.device.type, enabled=False):
            dtype = self.network.class_predictor.weight.dtype
            pixels = module.decoder([level.to(dtype) for level in maps])
        output = self.network.model.transformer_module(
            pixels.multi_scale_features, pixels.mask_features, output_hidden_states=True
        )
        kept = slice(-1, None) if last_layer_only else slice(None)
        states = torch.stack(output.intermediate_hidden_states[kept]).transpose(1, 2)
        predictions = QueryPredictions(
            class_logits=self.network.class_predictor(states).float(),
            mask_logits=torch.stack(output.masks_queries_logits[kept]).float(),
        )
        return SegmentorOutput(predictions, states[-1].float(), pixels.mask_features.float())

    def mask_logits(
        self, output: SegmentorOutput, frame: int, queries: Tensor, head: nn.Module | None = None
    ) -> Tensor:
        """Computes the last layer's (N, h, w) mask logits for (N,) queries in a frame.

        ``head`` maps queries to feature weights; None computes the usual masks.
        """
        if head is None:
            return output.predictions.mask_logits[-1, frame, queries]
        weights = head(output.queries[frame, queries])
        return torch.einsum("nc,chw->nhw", weights, output.mask_features[frame])

    def normalize(self, images: Tensor, sizes: Tensor | None) -> Tensor:
        """Returns the normalised pixels, the network's input."""
        return self.pixels(images, sizes)

    def losses(
        self,
        output: SegmentorOutput,
        targets: list[FrameTargets],
        generator: torch.Generator | None = None,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Computes the losses by name and each instance's matched query (``query_losses``)."""
        return query_losses(
            output.predictions,
            targets,
            PointSampling(self.settings.num_points),
            self.settings.no_object_weight,
            generator,
        )
