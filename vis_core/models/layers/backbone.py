"""Backbones by name or size: transformers' ResNet, Swin and ConvNeXt."""

from collections.abc import Sequence
from typing import Any, get_args

from torch import nn
from transformers import ConvNextConfig, PreTrainedConfig, ResNetConfig, SwinConfig

from vis_core.config.segmentors import BackboneName, OwnBackbone

_STAGES = ("stage1", "stage2", "stage3", "stage4")

# Published depths and widths (He 2016, Liu 2021, Liu 2022); "tiny" is ours, for CPU training.
_BACKBONES: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "tiny": (
        ResNetConfig,
        {
            "embedding_size": 24,
            "hidden_sizes": [32, 64, 96, 128],
            "depths": [1, 1, 2, 1],
            "layer_type": "basic",
        },
    ),
    "resnet50": (ResNetConfig, {"depths": [3, 4, 6, 3]}),
    "resnet101": (ResNetConfig, {"depths": [3, 4, 23, 3]}),
    # He's original form: a block halves the map in its first convolution (detectron2's MSRA models)
    "resnet50_msra": (ResNetConfig, {"depths": [3, 4, 6, 3], "downsample_in_bottleneck": True}),
    "resnet101_msra": (ResNetConfig, {"depths": [3, 4, 23, 3], "downsample_in_bottleneck": True}),
    "swin_t": (
        SwinConfig,
        {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    ),
    "swin_l": (
        SwinConfig,
        {
            "image_size": 384,
            "embed_dim": 192,
            "depths": [2, 2, 18, 2],
            "num_heads": [6, 12, 24, 48],
            "window_size": 12,
            "drop_path_rate": 0.3,
        },
    ),
    "convnext_l": (
        ConvNextConfig,
        {"hidden_sizes": [192, 384, 768, 1536], "depths": [3, 3, 27, 3], "drop_path_rate": 0.3},
    ),
}

# Swin's last norm, which only classification uses: the features are taken before it.
NEVER_USED_WEIGHTS = (".swin.layernorm.weight", ".swin.layernorm.bias")

FAMILIES: dict[str, type[PreTrainedConfig]] = {
    "resnet": ResNetConfig,
    "swin": SwinConfig,
    "convnext": ConvNextConfig,
}


def backbone_config(
    backbone: BackboneName | OwnBackbone, stages: Sequence[str] = _STAGES
) -> PreTrainedConfig:
    """Builds transformers' config for a backbone with outputs at ``stages`` (strides 4 to 32)."""
    if isinstance(backbone, OwnBackbone):
        kind, sizes = FAMILIES[backbone.family], backbone.sizes
    else:
        kind, sizes = _BACKBONES[backbone]
    return kind(out_features=list(stages), **sizes)


def named_backbone(own: OwnBackbone) -> BackboneName | None:
    """Finds the published backbone with the given sizes, if there is one."""
    for name in get_args(BackboneName):
        config = backbone_config(name)
        if isinstance(config, FAMILIES[own.family]) and all(
            getattr(config, key, None) == value for key, value in own.sizes.items()
        ):
            published: BackboneName = name
            return published
    return None


def freeze_stages(backbone: nn.Module, count: int) -> None:
    """Freezes a ResNet's first ``count`` parts, starting at the stem, and unfreezes the others.

    Backbones from other families are trained entirely.
    """
    parts = ("embedder.", *(f"encoder.stages.{stage}." for stage in range(4)))
    is_resnet = isinstance(backbone.config, ResNetConfig)
    for name, weight in backbone.named_parameters():
        weight.requires_grad_(not (is_resnet and name.startswith(parts[:count])))


def freeze_never_used(module: nn.Module) -> None:
    """Freezes weights with unused output; data-parallel workers would wait for their gradients."""
    for name, weight in module.named_parameters():
        if f".{name}".endswith(NEVER_USED_WEIGHTS):
            weight.requires_grad_(False)


def freeze_batch_norm(module: nn.Module) -> None:
    """Freezes batch norms: statistics, scales and shifts keep their pretrained values.

    Clip batches are too small to estimate statistics (all releases use detectron2's FrozenBN).
    """
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.eval().requires_grad_(False)
