"""Parameter groups and the schedule of their rates. No Ray, no files."""

import math
from typing import Any

import torch
from torch import nn

from pipelines.config.optimizer import OptimizerSettings
from pipelines.training.worker.muon import JointOptimizer, KernelMuon, is_matrix
from vis_core.models.systems.base import System

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
AnyOptimizer = torch.optim.Optimizer | JointOptimizer


def build_optimizer(system: System, settings: OptimizerSettings) -> AnyOptimizer:
    """Makes an optimizer with the released groups: slow backbone, no decay on norms and embeddings.

    Position tables of Swin count as embeddings, as in Mask2Former's release.
    """
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for module_name, module in system.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            plain = isinstance(module, (*_NORMS, nn.Embedding)) or "relative_position" in name
            rate = settings.learning_rate
            if f"{module_name}.{name}".startswith(system.backbone_prefix):
                rate *= settings.backbone_factor
            spared = plain and not settings.decay_norms_and_embeddings
            decay = 0.0 if spared else settings.weight_decay
            turned = settings.name == "muon" and not plain and is_matrix(parameter)
            groups.setdefault((rate, decay, turned), []).append(parameter)
    matrices: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    for (rate, decay, turned), parameters in groups.items():
        group = {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        (matrices if turned else listed).append(group)
    if settings.name == "sgd":
        return torch.optim.SGD(listed, settings.learning_rate, momentum=settings.momentum)
    if matrices:
        return JointOptimizer([KernelMuon(matrices), torch.optim.AdamW(listed)])
    return torch.optim.AdamW(listed)


def rate_factor(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Gives the learning rate of a step (from 0) over its initial value."""
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    warm = settings.warmup_from + (1 - settings.warmup_from) * warm
    progress = step / max(1, num_steps)
    if settings.schedule == "cosine":
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
    return warm * 0.1 ** sum(progress >= share for share in settings.decay_at)


def set_rate(optimizer: AnyOptimizer, factor: float) -> float:
    """Scales every group's initial rate; returns the greatest rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return max(group["lr"] for group in optimizer.param_groups)
