"""Activation checkpointing: layers recompute their activations (Chen et al. 2016)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

# attribute names of the repeated layers in these networks
_LISTS = ("layers", "blocks", "stages")


def recompute_layers(network: nn.Module) -> int:
    """Makes a network's repeated layers keep only their inputs, without changing gradients.

    Layers whose batch norms learn statistics are skipped: they would count each batch twice.
    Evaluation does not change. Call this once, after the network is copied and before it is
    wrapped. Returns the number of changed layers.
    """
    chosen = repeated_layers(network)
    for layer in chosen:
        setattr(layer, "forward", partial(_recomputed, layer, layer.forward))  # noqa: B010
    return len(chosen)


def repeated_layers(network: nn.Module) -> list[nn.Module]:
    """Finds the innermost repeated layers that can safely run twice."""
    lists = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and name.rpartition(".")[2] in _LISTS
    ]
    layers = [layer for layers in lists for layer in layers if any(layer.children())]
    inner = [layer for layer in layers if not any(_contains(layer, other) for other in layers)]
    return [layer for layer in inner if not any(map(_updates_statistics, layer.modules()))]


def _recomputed(layer: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if layer.training:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)


def _contains(layer: nn.Module, other: nn.Module) -> bool:
    return other is not layer and any(other is module for module in layer.modules())


def _updates_statistics(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and module.track_running_stats
    )
