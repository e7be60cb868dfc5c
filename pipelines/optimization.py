"""Parameter groups, schedule and one training step. No Ray, no files."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from pipelines.optimizer_settings import OptimizerSettings, Precision
from vis_core.errors import TrainingDivergedError
from vis_core.structures import ClipBatch
from vis_core.systems.base import System

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)


def build_optimizer(system: System, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Makes an optimizer with the released groups: slow backbone, no decay on norms and embeddings.

    Position tables of Swin count as embeddings, as in Mask2Former's release.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
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
            groups.setdefault((rate, decay), []).append(parameter)
    listed = [
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(listed, settings.learning_rate, momentum=settings.momentum)
    return torch.optim.AdamW(listed)


def rate_factor(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Gives the learning rate of a step (from 0) over its initial value."""
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    warm = settings.warmup_from + (1 - settings.warmup_from) * warm
    progress = step / max(1, num_steps)
    if settings.schedule == "cosine":
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
    return warm * 0.1 ** sum(progress >= share for share in settings.decay_at)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scales every group's initial rate; returns the greatest rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return max(group["lr"] for group in optimizer.param_groups)


def train_step(
    system: System,
    batch: ClipBatch,
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, float],
    clip_norm: float,
    generator: torch.Generator | None = None,
    precision: Precision = "float32",
) -> dict[str, float]:
    """Takes one step: losses, weighted sum, finite check, backward, clip, step.

    Args:
        system: In training mode, or what wraps it for several ranks.
        batch: On the device of the system.
        optimizer: Its rates already set.
        weights: Of the named losses; a loss without a weight is an error of the programmer.
        clip_norm: Greatest gradient norm.
        generator: Of everything random in the losses.
        precision: Of the network; weights, losses and the optimizer stay in float32. bfloat16 has
            the range of float32, so that nothing needs to be scaled.

    Returns:
        The unweighted losses by name, their weighted ``total`` and the ``gradient_norm``.

    Raises:
        TrainingDivergedError: A loss or the gradient is not finite; the weights are untouched.
    """
    half = precision == "bfloat16"
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=half):
        losses = system(batch, generator)
    total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise TrainingDivergedError(
            f"train/loss/{broken[0]} is {values[broken[0]]}; lower optimizer.learning_rate "
            "or start from the last checkpoint"
        )
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(system.parameters(), clip_norm))
    if not math.isfinite(norm):
        raise TrainingDivergedError(
            f"the gradient norm is {norm}; lower optimizer.learning_rate "
            "or start from the last checkpoint"
        )
    optimizer.step()
    return values | {"total": float(total.detach()), "gradient_norm": norm}
