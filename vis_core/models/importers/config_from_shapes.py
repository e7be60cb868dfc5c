"""A published checkpoint's settings, derived from its tensor shapes."""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from vis_core.config.segmentors import (
    CondInstSettings,
    DeformableDetrSettings,
    Mask2FormerSettings,
    OwnBackbone,
)
from vis_core.errors import CheckpointError
from vis_core.models.layers.backbone import named_backbone

Shapes = Mapping[str, tuple[int, ...]]

_PREDICTOR = "sem_seg_head.predictor."
_PIXELS = "sem_seg_head.pixel_decoder."
_FIRST_LAYER = _PIXELS + "transformer.encoder.layers.0."
_IDOL_CONTROLLER = "detr.controller.layers.2.weight"


def mask2former_settings_of(shapes: Shapes) -> Mask2FormerSettings:
    """Derives a Mask2Former's settings.

    The shapes do not show the number of attention heads; it is 8, as in every release. Raises
    CheckpointError if a required tensor is missing.
    """
    # the queries were called static_query before version 2 of the release
    old, new = _PREDICTOR + "static_query.weight", _PREDICTOR + "query_feat.weight"
    queries, width = _shape(shapes, old if old in shapes else new)
    return Mask2FormerSettings(
        backbone=backbone_settings_of(shapes),
        num_queries=queries,
        hidden_width=width,
        encoder_layers=_count(shapes, _PIXELS + r"transformer\.encoder\.layers\.(\d+)\."),
        encoder_ffn_width=_shape(shapes, _FIRST_LAYER + "linear1.weight")[0],
        decoder_layers=_count(shapes, _PREDICTOR + r"transformer_ffn_layers\.(\d+)\."),
        decoder_ffn_width=_shape(shapes, _PREDICTOR + "transformer_ffn_layers.0.linear1.weight")[0],
    )


def idol_settings_of(shapes: Shapes) -> DeformableDetrSettings:
    """Derives IDOL's segmentor settings; heads and dropout are defaults, as shapes lack them."""
    queries, double_width = _shape(shapes, "detr.detr.query_embed.weight")
    mask_channels = _shape(shapes, "detr.mask_head.lay2.weight")[0]
    layers = r"detr\.detr\.transformer\.{}coder\.layers\.(\d+)\."
    widths = "detr.detr.transformer.{}coder.layers.0.linear1.weight"
    return DeformableDetrSettings(
        backbone=backbone_settings_of(_under("detr.detr.backbone.0.backbone.", shapes)),
        num_queries=queries,
        hidden_width=double_width // 2,
        encoder_layers=_count(shapes, layers.format("en")),
        encoder_ffn_width=_shape(shapes, widths.format("en"))[0],
        decoder_layers=_count(shapes, layers.format("de")),
        decoder_ffn_width=_shape(shapes, widths.format("de"))[0],
        mask_channels=mask_channels,
        dynamic_channels=_dynamic_channels(shapes, _IDOL_CONTROLLER, mask_channels),
    )


def idol_num_classes_of(shapes: Shapes) -> int:
    """Returns the number of classes in an IDOL checkpoint."""
    return _shape(shapes, "detr.detr.class_embed.0.weight")[0]


def condinst_settings_of(shapes: Shapes) -> CondInstSettings:
    """Derives CondInst's settings, assuming three dynamic layers with relative coordinates."""
    tower = r"proposal_generator\.fcos_head\.cls_tower\.(\d+)\."
    tower_layers = _count(shapes, tower, with_activations=True)
    convs = _count(shapes, r"mask_branch\.tower\.(\d+)\.") - 1
    mask_channels = _shape(shapes, f"mask_branch.tower.{convs}.weight")[0]
    return CondInstSettings(
        backbone=backbone_settings_of(_under("backbone.bottom_up.", shapes), stride_in_1x1=True),
        width=_shape(shapes, "backbone.fpn_output3.weight")[0],
        tower_convs=-(-tower_layers // 3),  # convolution, norm, activation
        mask_branch_width=_shape(shapes, "mask_branch.refine.0.0.weight")[0],
        mask_branch_convs=convs,
        mask_channels=mask_channels,
        dynamic_channels=_dynamic_channels(shapes, "controller.weight", mask_channels),
        semantic_loss="mask_branch.logits.weight" in shapes,
    )


def condinst_num_classes_of(shapes: Shapes) -> int:
    """Returns the number of classes in a CondInst checkpoint."""
    return _shape(shapes, "proposal_generator.fcos_head.cls_logits.weight")[0]


def _dynamic_channels(shapes: Shapes, name: str, mask_channels: int) -> int:
    """Solves for d, given (c + 2) d + d d + d weights, 2 d + 1 biases and c mask channels."""
    num_parameters = _shape(shapes, name)[0]
    for channels in range(1, 257):
        if (mask_channels + 2) * channels + channels**2 + 3 * channels + 1 == num_parameters:
            return channels
    raise CheckpointError(
        f"{name} has {num_parameters} rows; expected the number of parameters of a mask head of "
        f"three layers over {mask_channels} channels"
    )


def mask2former_num_classes_of(shapes: Shapes) -> int:
    """Returns the number of classes in a Mask2Former checkpoint, without "no object"."""
    return _shape(shapes, _PREDICTOR + "class_embed.weight")[0] - 1


def embedding_width_of(shapes: Shapes) -> int | None:
    """Returns CTVIS's embedding width C; None for MinVIS and Mask2Former (no embedding head)."""
    last = shapes.get(_PREDICTOR + "reid_embed.layers.2.weight")
    return last[0] if last else None


def _under(prefix: str, shapes: Shapes) -> Shapes:
    """Returns the shapes under a prefix, replacing the prefix with ``backbone.``."""
    names = [name for name in shapes if name.startswith(prefix)]
    return {"backbone." + name.removeprefix(prefix): shapes[name] for name in names}


def backbone_settings_of(shapes: Shapes, *, stride_in_1x1: bool = False) -> Any:
    """Derives a backbone's settings from shapes named ``backbone.NAME`` (NAME as in detectron2).

    Shapes do not show which convolution of a ResNet block has the stride, hence ``stride_in_1x1``.
    """
    if any(name.startswith("backbone.patch_embed.") for name in shapes):
        own = OwnBackbone(family="swin", sizes=_swin_sizes(shapes))
    else:
        stride = {"downsample_in_bottleneck": True} if stride_in_1x1 else {}
        own = OwnBackbone(family="resnet", sizes=_resnet_sizes(shapes) | stride)
    return named_backbone(own) or own


def _resnet_sizes(shapes: Shapes) -> dict[str, Any]:
    stages = range(2, 6)
    return {
        "embedding_size": _shape(shapes, "backbone.stem.conv1.weight")[0],
        "hidden_sizes": [_shape(shapes, f"backbone.res{n}.0.conv3.weight")[0] for n in stages],
        "depths": [_count(shapes, rf"backbone\.res{n}\.(\d+)\.") for n in stages],
    }


def _swin_sizes(shapes: Shapes) -> dict[str, Any]:
    tables = [
        _shape(shapes, f"backbone.layers.{n}.blocks.0.attn.relative_position_bias_table")
        for n in range(4)
    ]
    return {
        "embed_dim": _shape(shapes, "backbone.patch_embed.proj.weight")[0],
        "depths": [_count(shapes, rf"backbone\.layers\.{n}\.blocks\.(\d+)\.") for n in range(4)],
        "num_heads": [heads for _, heads in tables],
        # a window of size w has (2 w - 1)^2 relative positions
        "window_size": (isqrt(tables[0][0]) + 1) // 2,
    }


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise CheckpointError(
            f"{name} is missing; expected a checkpoint of Mask2Former, MinVIS, CTVIS, IDOL "
            "or CondInst, or a backbone (ResNet with bottleneck blocks, Swin)"
        )
    return shapes[name]


def _count(shapes: Shapes, pattern: str, *, with_activations: bool = False) -> int:
    """Counts the layers, numbered from 0 in the names; activations have numbers but no tensors."""
    numbers = {int(match[1]) for name in shapes if (match := re.match(pattern, name))}
    if numbers and max(numbers) >= len(numbers) * (2 if with_activations else 1):
        raise CheckpointError(
            f"{pattern}: expected layers numbered without a gap, found {len(numbers)} layers up to "
            f"number {max(numbers)}"
        )
    return 1 + max(numbers, default=-1)
