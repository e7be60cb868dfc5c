"""Carries weights of one system over to another."""

import re
from pathlib import Path

import torch
from torch import Tensor

from vis_core.config.model_files import WEIGHTS_FILE
from vis_core.config.systems import AnySystemConfig
from vis_core.errors import CheckpointError
from vis_core.formats.categories import Categories
from vis_core.models.systems.base import System
from vis_core.models.systems.build import SYSTEMS, build_system, read_categories, read_weights

# the heads whose rows are classes, in the order of the class list
_CLASS_HEAD = re.compile(r"\.class_predictor\.|\.class_heads\.\d+\.|\.(class|semantic)_head\.")


def taken_weights(config: AnySystemConfig, folder: Path) -> tuple[int, int]:
    """Counts what ``start_from`` would take of a model folder for a system, and what there is.

    Reads everything, so that a folder that cannot be trusted is refused.

    Raises:
        CheckpointError: As ``start_from``.
    """
    with torch.device("meta"):
        system = build_system(config, len(read_categories(folder)))
    found = _with_backbone(read_weights(folder / WEIGHTS_FILE), system)
    wanted = system.state_dict()
    fitting = [name for name, tensor in found.items() if _fits(wanted, name, tensor)]
    if not fitting:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: no tensor fits this system")
    return len(fitting), len(wanted)


def _with_backbone(weights: dict[str, Tensor], system: System) -> dict[str, Tensor]:
    """Gives the backbone of any system the names that it has in this one."""
    renamed = {}
    for name, tensor in weights.items():
        for prefix in {kind.backbone_prefix for kind in SYSTEMS.values()}:
            if name.startswith(prefix):
                name = system.backbone_prefix + name.removeprefix(prefix)
        renamed[name] = tensor
    return renamed


def _fits(wanted: dict[str, Tensor], name: str, tensor: Tensor) -> bool:
    return name in wanted and tensor.shape == wanted[name].shape


def start_from(
    system: System, folder: Path, categories: Categories | None = None
) -> tuple[list[str], list[str]]:
    """Loads what fits from another model folder: the start of a training stage.

    The folder may be of another system: their backbones are alike.

    Class heads of other categories keep their random weights, except the rows of classes with the
    same name (a class is what it is called).

    Args:
        system: To be filled, in place.
        folder: Where to start from.
        categories: Classes of ``system``, to carry over the rows of equal names.

    Returns:
        Names of the tensors that stay random, and of those in the file that were not used.

    Raises:
        CheckpointError: Nothing fits at all.
    """
    found = _with_backbone(read_weights(folder / WEIGHTS_FILE), system)
    wanted = system.state_dict()
    taken = {name: tensor for name, tensor in found.items() if _fits(wanted, name, tensor)}
    old_names = read_categories(folder).names
    same_classes = categories is not None and categories.names == old_names
    for name in [n for n in found if _CLASS_HEAD.search(n) and n in wanted]:
        if same_classes:
            continue
        taken[name] = _carry_classes(wanted[name], found[name], categories, old_names)
    if not taken:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: no tensor fits this system")
    system.load_state_dict(wanted | taken)
    return sorted(wanted.keys() - taken.keys()), sorted(found.keys() - taken.keys())


def _carry_classes(
    fresh: Tensor, old: Tensor, categories: Categories | None, old_names: tuple[str, ...]
) -> Tensor:
    """Copies the rows of classes with equal names, and of "no object", the last row, if any."""
    result = fresh.clone()
    if len(old) > len(old_names):
        result[-1] = old[-1]
    for index, name in enumerate(categories.names if categories else ()):
        if name in old_names:
            result[index] = old[old_names.index(name)]
    return result
