"""CondInst (Tian 2020) as a segmentor: fully convolutional, with masks at chosen places only."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoBackbone

from vis_core.config.segmentors import CondInstSettings
from vis_core.models.criterion.condinst_matching import LocationPredictions, Places
from vis_core.models.layers.backbone import (
    backbone_config,
    freeze_batch_norm,
    freeze_never_used,
    freeze_stages,
)
from vis_core.models.layers.dynamic_mask_head import DynamicMaskHead
from vis_core.models.layers.feature_pyramid import STRIDES, FeaturePyramid
from vis_core.models.layers.location_heads import LocationHead, SummedMaskBranch
from vis_core.models.segmentors.pixel_norm import PixelNorm

_STAGES = ("stage2", "stage3", "stage4")  # at strides 8, 16 and 32


@dataclass(frozen=True)
class CondInstOutput:
    """The predictions for F frames, without masks."""

    predictions: LocationPredictions  # predictions at every place
    mask_features: Tensor  # (F, c, h, w) at stride 8, the mask head's input
    levels: list[Tensor]  # the pyramid, five maps (F, C, h, w)
    semantic_logits: Tensor | None  # (F, K, h, w) at stride 8, or None without ``semantic_loss``


class CondInst(nn.Module):
    """The CondInst network: a class and a box at every place, and masks at chosen places."""

    backbone_prefix = "backbone."

    def __init__(self, settings: CondInstSettings, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.pixels = PixelNorm()
        self.backbone = AutoBackbone.from_config(backbone_config(settings.backbone, _STAGES))
        self.pyramid = FeaturePyramid(self.backbone.channels, settings.width)
        self.mask_head = DynamicMaskHead(
            settings.mask_channels,
            settings.dynamic_channels,
            settings.dynamic_layers,
            stride=STRIDES[0],
            relative_coordinates=settings.relative_coordinates,
        )
        self.head = LocationHead(
            settings.width,
            settings.tower_convs,
            num_classes,
            self.mask_head.num_parameters,
            len(STRIDES),
        )
        self.mask_branch = SummedMaskBranch(
            settings.width,
            settings.mask_branch_width,
            settings.mask_branch_convs,
            settings.mask_channels,
            num_classes if settings.semantic_loss else None,
        )
        freeze_stages(self.backbone, settings.frozen_stages)
        freeze_never_used(self)
        freeze_batch_norm(self.backbone)

    def train(self, mode: bool = True) -> "CondInst":
        """Sets the training mode; only the backbone's batch norms stay frozen."""
        super().train(mode)
        if mode:
            freeze_batch_norm(self.backbone)
        return self

    def forward(self, images: Tensor, sizes: Tensor) -> CondInstOutput:
        """Segments (F, 3, H, W) uint8 RGB frames, padded right and bottom to multiples of 32.

        ``sizes`` is the (F, 2) height and width before padding.
        """
        levels = self.pyramid(self.backbone(self.pixels(images, sizes)).feature_maps)
        return CondInstOutput(
            self._predictions(levels),
            self.mask_branch(levels).float(),
            levels,
            self.mask_branch.semantic_logits(levels) if self.training else None,
        )

    def mask_logits(self, output: CondInstOutput, frame: int, places: Tensor) -> Tensor:
        """Computes (N, h, w) mask logits at stride 4 for (N,) places in a frame (STC Eq. 1)."""
        predictions = output.predictions
        return self.mask_head(
            output.mask_features[frame],
            predictions.kernels[frame, places],
            predictions.places.points[places],
            predictions.places.scale[places],
        )

    def _predictions(self, levels: list[Tensor]) -> LocationPredictions:
        """Predicts on all levels and concatenates their places, in full precision."""
        predicted = self.head(levels)
        shapes = [(level.shape[2], level.shape[3]) for level in levels]
        places = Places.of(shapes, STRIDES, levels[0])
        classes, distances, centers, kernels = (
            torch.cat([level.flatten(2) for level in maps], dim=2).transpose(1, 2).float()
            for maps in zip(*predicted, strict=True)
        )
        return LocationPredictions(places, classes, distances, centers[..., 0], kernels)
