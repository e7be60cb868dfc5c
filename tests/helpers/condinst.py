"""The recorded values of CondInst."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import reference_cases, reference_dir
from vis_core.models.layers.feature_pyramid import STRIDES

LEVELS = range(len(STRIDES))


def cases() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reference_dir() / "condinst" / "cases.json").read_text())
    return found


def condinst(pattern: str) -> Any:
    paths = reference_cases(f"condinst/{pattern}")
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def maps(values: dict[str, Tensor], name: str) -> Tensor:
    """Flattens the maps (F, C, h, w) of all levels to (F, L, C)."""
    return torch.cat([values[f"{name}{n}"].flatten(2) for n in LEVELS], dim=2).transpose(1, 2)
