"""Muon for a network's matrices and AdamW for the rest, as one optimizer.

Muon (Jordan et al. 2024) updates each matrix by an orthogonal matrix, so that directions with small
gradients are learned as fast as those with large ones. torch implements it for matrices only. Here
convolution kernels count as matrices of shape outputs x (inputs x positions); AdamW updates vectors
and embeddings.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def is_matrix(weight: Tensor) -> bool:
    """Returns whether a weight, flattened after its first axis, has several rows and columns."""
    return weight.ndim > 1 and min(weight.shape[0], weight[0].numel()) > 1


class KernelMuon(torch.optim.Muon):
    """PyTorch's Muon for matrices and convolution kernels, with updates of the same RMS as AdamW's.

    Args:
        groups: Parameter groups with ``lr``, ``initial_lr`` and ``weight_decay``; each parameter is
            contiguous in memory and has at least two axes.
    """

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        self._pairs: list[tuple[Tensor, nn.Parameter]] = []
        flat_groups = []
        for group in groups:
            # a view shares its memory with the weight; a weight that needs a copy raises
            weights = group["params"]
            views = [nn.Parameter(weight.detach().view(len(weight), -1)) for weight in weights]
            self._pairs += zip(weights, views, strict=True)
            flat_groups.append(group | {"params": views})
        super().__init__(flat_groups, adjust_lr_fn="match_rms_adamw")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of the weights."""
        for weight, view in self._pairs:
            view.grad = None
            if set_to_none:
                weight.grad = None
            elif weight.grad is not None:
                weight.grad.zero_()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates the weights from their gradients."""
        for weight, view in self._pairs:
            view.grad = None if weight.grad is None else weight.grad.flatten(1)
        return super().step(closure)


class JointOptimizer:
    """Several optimizers, each for some of a system's weights, used as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts = list(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Updates the weights of all optimizers."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Returns the optimizers' states, for ``torch.save``."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the states that :meth:`state_dict` returned."""
        for part, part_state in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(part_state)
