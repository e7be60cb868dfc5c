"""Values that the authors' code computed in float32, and comparison with them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHARE = 2e-5


def assert_near(found: Any, recorded: Any, share: float = SHARE) -> None:
    """Compares with recorded values; the tolerance is a share of the largest recorded value.

    Float32 rounds to 6e-8 of a value, and sums in a different order (processors, threads,
    instruction sets) move a result by a share of the largest term, even where the result is small.
    So an absolute tolerance would suit only one scale of values.

    Args:
        found: Our values, of any floating type.
        recorded: Theirs, of the same shape.
        share: By default seven times the largest share observed, 2.8e-6: whole networks, one and
            two threads, oneDNN and PyTorch capped to AVX2, to SSE4.1 and to none.
    """
    ours = torch.as_tensor(found).detach().double()
    theirs = torch.as_tensor(recorded).detach().double()
    scale = float(theirs[theirs.isfinite()].abs().amax()) if theirs.isfinite().any() else 1.0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=share * max(scale, 1e-3))


def in_double(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Converts the float32 tensors of a case to float64, in which our result has no noise."""
    return {name: t.double() if t.is_floating_point() else t for name, t in values.items()}


def recorded_values(path: Path) -> dict[str, Tensor]:
    """Reads the arrays of a reference file as tensors."""
    with np.load(path) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file}
