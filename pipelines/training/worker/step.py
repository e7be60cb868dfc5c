"""One training step, which changes nothing if a loss or gradient is not finite."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.config.optimizer import Precision
from pipelines.training.worker.optimizers import AnyOptimizer
from vis_core.models.criterion.batch_share import known_sums, recorded_counts, sums_over_parts
from vis_core.models.systems.base import System
from vis_core.structures import ClipBatch


@dataclass(frozen=True)
class StepOutcome:
    """The outcome of a step.

    Attributes:
        values: The unweighted losses by name, their weighted ``total`` and the ``gradient_norm``.
        reason: Reason for skipping the step (``train/loss/mask is nan``), or an empty string.
    """

    values: dict[str, float]
    reason: str = ""


@dataclass(frozen=True)
class StepSettings:
    """The settings of a step.

    Attributes:
        clip_norm: Maximum gradient norm.
        precision: The network's precision; weights, losses and the optimizer stay in float32.
            bfloat16 has the range of float32, so losses need no scaling.
        parts: Number of parts into which a batch is split to save memory. The gradient is that of
            the whole batch: the network processes each part twice, first without gradients, to
            obtain the counts by which losses are divided.
    """

    clip_norm: float
    precision: Precision = "float32"
    parts: int = 1


def train_step(
    system: System,
    batch: ClipBatch,
    optimizer: AnyOptimizer,
    weights: Mapping[str, float],
    settings: StepSettings,
    generator: torch.Generator | None = None,
) -> StepOutcome:
    """Takes a step, or changes no weight, statistic or optimizer state if a value is not finite.

    A loss or gradient that is not finite spreads to the gradients of all ranks, so every rank skips
    the same step.

    Args:
        system: System in training mode, possibly wrapped for several ranks, on the batch's device.
        weights: Loss weights by name; a loss without a weight is a programming error.
        generator: Source of all randomness in the losses.
    """
    statistics = _copied_statistics(system)
    optimizer.zero_grad(set_to_none=True)
    values = _backward(system, batch, weights, settings, generator)
    norm = float(torch.nn.utils.clip_grad_norm_(system.parameters(), settings.clip_norm))
    reason = _fault(values, norm)
    if reason:
        optimizer.zero_grad(set_to_none=True)
        _restore(statistics)
    else:
        optimizer.step()
    return StepOutcome(values | {"gradient_norm": norm}, reason)


def _backward(
    system: System,
    batch: ClipBatch,
    weights: Mapping[str, float],
    settings: StepSettings,
    generator: torch.Generator | None,
) -> dict[str, float]:
    """Averages the gradients over the parts; returns the mean losses and their mean ``total``."""
    size = -(-len(batch.images) // settings.parts)  # the last part may be smaller
    parts = [batch[first : first + size] for first in range(0, len(batch.images), size)]
    half = settings.precision == "bfloat16"
    autocast = torch.autocast(batch.images.device.type, torch.bfloat16, enabled=half)
    sums = _sums_of_batch(system, parts, autocast, generator) if len(parts) > 1 else None
    values: dict[str, float] = {}
    for number, part in enumerate(parts):
        with _synchronized_at_last(system, last=number + 1 == len(parts)):
            with autocast, known_sums(sums) if sums else nullcontext():
                losses: dict[str, Tensor] = system(part, generator)
            total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
            scale = 1.0 if math.isfinite(float(total.detach())) else math.nan
            (total * (scale / len(parts))).backward()
        for name, loss in (losses | {"total": total}).items():
            values[name] = values.get(name, 0.0) + float(loss.detach()) / len(parts)
    return values


def _sums_of_batch(
    system: Any,
    parts: Sequence[ClipBatch],
    autocast: torch.autocast,
    generator: torch.Generator | None,
) -> list[tuple[Tensor, int]]:
    """Computes the divisors of all parts' losses, with the random draws of the next pass."""
    network = getattr(system, "module", system)
    statistics = _copied_statistics(network)
    draws = generator or torch.default_generator
    state = draws.get_state()
    counts = []
    device = parts[0].images.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        for part in parts:
            with autocast, recorded_counts() as recorded:
                network(part, generator)
            counts.append(recorded)
    draws.set_state(state)
    _restore(statistics)
    return sums_over_parts(counts)


def _fault(values: Mapping[str, float], norm: float) -> str:
    """Describes the first value that is not finite; returns an empty string if all are finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            return f"train/loss/{name} is {value}"
    return "" if math.isfinite(norm) else f"the gradient norm is {norm}"


def _copied_statistics(system: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Returns the buffers that a forward pass may update, each with a copy."""
    learning = [module for module in system.modules() if module.training]
    return [(own, own.clone()) for module in learning for own in module.buffers(recurse=False)]


def _restore(statistics: list[tuple[Tensor, Tensor]]) -> None:
    for statistic, copy in statistics:
        statistic.copy_(copy)


def _synchronized_at_last(system: Any, *, last: bool) -> AbstractContextManager[None]:
    """Suspends gradient exchange between ranks for all parts but the last."""
    return nullcontext() if last or not hasattr(system, "no_sync") else system.no_sync()
