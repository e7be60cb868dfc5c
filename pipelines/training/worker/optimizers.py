"""Parameter groups and learning-rate schedules for the optimizers."""

import math
from typing import Any

import torch
from torch import nn

from pipelines.config.optimizer import OptimizerSettings
from pipelines.training.worker.muon import JointOptimizer, KernelMuon, is_matrix
from vis_core.models.systems.base import System

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
_Groups = list[dict[str, Any]]
AnyOptimizer = torch.optim.Optimizer | JointOptimizer


def build_optimizer(system: System, settings: OptimizerSettings) -> AnyOptimizer:
    """Builds an optimizer with separate groups for the backbone, and for norms and embeddings.

    The groups are those of Mask2Former's release, where Swin's position biases count as embeddings.
    """
    matrices, others = _parameter_groups(system, settings)
    if settings.name == "sgd":
        return torch.optim.SGD(others, settings.learning_rate, momentum=settings.momentum)
    if matrices:
        return JointOptimizer([KernelMuon(matrices), torch.optim.AdamW(others)])
    return torch.optim.AdamW(others)


def _parameter_groups(system: System, settings: OptimizerSettings) -> tuple[_Groups, _Groups]:
    """Returns the groups for Muon and those for the other optimizer."""
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for module_name, module in system.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            plain = isinstance(module, (*_NORMS, nn.Embedding)) or "relative_position" in name
            rate = settings.learning_rate
            if f"{module_name}.{name}".startswith(system.backbone_prefix):
                rate *= settings.backbone_factor
            undecayed = plain and not settings.decay_norms_and_embeddings
            decay = 0.0 if undecayed else settings.weight_decay
            by_muon = settings.name == "muon" and not plain and is_matrix(parameter)
            groups.setdefault((rate, decay, by_muon), []).append(parameter)
    matrices, others = _Groups(), _Groups()
    for (rate, decay, by_muon), parameters in groups.items():
        group = {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        (matrices if by_muon else others).append(group)
    return matrices, others


def rate_factor(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Returns a step's learning rate relative to the initial one; steps count from 0."""
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    warm = settings.warmup_from + (1 - settings.warmup_from) * warm
    progress = step / max(1, num_steps)
    if settings.schedule == "cosine":
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
    return warm * 0.1 ** sum(progress >= share for share in settings.decay_at)


def set_rate(optimizer: AnyOptimizer, factor: float) -> float:
    """Sets every group's rate to its initial rate times ``factor``; returns the largest rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return max(group["lr"] for group in optimizer.param_groups)
