"""Muon for the matrices of a network beside AdamW for the rest, as one optimizer. No Ray, no files.

Muon (Jordan et al. 2024) moves each matrix by an orthogonal one, so that directions with small
gradients are learnt as fast as those with large ones. torch has it for matrices alone; a network
also has kernels, which count as matrices of outputs by inputs and places, and vectors and
embeddings, which it is not meant for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def is_matrix(weight: Tensor) -> bool:
    """Says whether a weight, its last axes as one, has rows and columns: at least two of each."""
    return weight.ndim > 1 and min(weight.shape[0], weight[0].numel()) > 1


class KernelMuon(torch.optim.Muon):
    """Is torch's Muon, its steps as large as AdamW's, for matrices and kernels of convolutions.

    Args:
        groups: Groups of parameters of two and more axes, contiguous in memory, each with ``lr``,
            ``initial_lr`` and ``weight_decay``.
    """

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        self._pairs: list[tuple[Tensor, nn.Parameter]] = []
        flat_groups = []
        for group in groups:
            # a view, so that moving it moves the weight; one that must be copied raises
            weights = group["params"]
            views = [nn.Parameter(weight.detach().view(len(weight), -1)) for weight in weights]
            self._pairs += zip(weights, views, strict=True)
            flat_groups.append(group | {"params": views})
        super().__init__(flat_groups, adjust_lr_fn="match_rms_adamw")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of the weights."""
        for weight, view in self._pairs:
            view.grad = None
            if set_to_none:
                weight.grad = None
            elif weight.grad is not None:
                weight.grad.zero_()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Moves the weights by their gradients."""
        for weight, view in self._pairs:
            view.grad = None if weight.grad is None else weight.grad.flatten(1)
        return super().step(closure)


class JointOptimizer:
    """Is several optimizers that share the weights of one system among them and move as one.

    Args:
        parts: Optimizers of different parameters.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts = list(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Moves the weights of all."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """What the optimizers know beside the weights, as ``torch.save`` takes it."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` gave."""
        for part, known in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(known)
