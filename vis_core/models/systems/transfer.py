"""Weight transfer from one system to another at the start of training."""

import re
from pathlib import Path

import torch
from torch import Tensor

from vis_core.config.model_files import WEIGHTS_FILE
from vis_core.config.systems import AnySystemConfig
from vis_core.errors import CheckpointError
from vis_core.formats.categories import Categories
from vis_core.formats.class_maps import published_list
from vis_core.models.systems.base import BACKBONE_PREFIXES, System
from vis_core.models.systems.build import build_system, read_categories, read_weights

# heads with one row per class, in the order of the class list
_CLASS_HEAD = re.compile(r"\.class_predictor\.|\.class_heads\.\d+\.|\.(class|semantic)_head\.")


def count_fitting_weights(config: AnySystemConfig, folder: Path) -> tuple[int, int]:
    """Counts the tensors that ``start_from`` would load from a folder, and the system's tensors.

    Reads all tensors, so that a faulty folder is rejected.

    Raises:
        CheckpointError: As in ``start_from``.
    """
    with torch.device("meta"):
        system = build_system(config, len(read_categories(folder)))
    wanted = system.state_dict()
    _, fitting = _found_and_fitting(system, folder, wanted)
    if not fitting:
        raise _nothing_fits(folder)
    return len(fitting), len(wanted)


def _found_and_fitting(
    system: System, folder: Path, wanted: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Reads all weights, renames the backbone's and selects the weights that fit this system."""
    found = {}
    for name, tensor in read_weights(folder / WEIGHTS_FILE).items():
        for prefix in BACKBONE_PREFIXES:
            if name.startswith(prefix):
                name = system.backbone_prefix + name.removeprefix(prefix)
        found[name] = tensor
    shapes = {name: tensor.shape for name, tensor in wanted.items()}
    return found, {name: t for name, t in found.items() if t.shape == shapes.get(name)}


def _nothing_fits(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"{folder / WEIGHTS_FILE}: no tensor fits this system; start from a model with its backbone"
    )


def start_from(
    system: System, folder: Path, categories: Categories | None = None
) -> tuple[list[str], list[str]]:
    """Loads the tensors that fit from a model folder, to start a training stage.

    The folder may contain another kind of system with the same backbone. A class head for
    other categories keeps its random weights, except in the rows of equal names and "no object".
    Between COCO's classes and a public list of videos, all its rows start anew, as in the releases.

    Args:
        system: Changed in place.
        folder: Model folder.
        categories: Classes of ``system``; None starts the class heads anew.

    Returns:
        Names of the tensors that stay random, and of the file's unused tensors.

    Raises:
        CheckpointError: No tensor fits.
    """
    wanted = system.state_dict()
    found, fitting = _found_and_fitting(system, folder, wanted)
    old = read_categories(folder)
    if categories is None or _start_anew(old, categories):
        fitting = {name: t for name, t in fitting.items() if not _CLASS_HEAD.search(name)}
    elif categories.names != old.names:
        for name in [n for n in found if _CLASS_HEAD.search(n) and n in wanted]:
            fitting[name] = _copy_class_rows(wanted[name], found[name], categories.names, old.names)
    if not fitting:
        raise _nothing_fits(folder)
    system.load_state_dict(wanted | fitting)
    return sorted(wanted.keys() - fitting.keys()), sorted(found.keys() - fitting.keys())


def _start_anew(old: Categories, new: Categories) -> bool:
    """Returns whether one list is COCO's and the other one a public list of video classes."""
    is_published = published_list(old, new) or published_list(new, old)
    return old.names != new.names and is_published is not None


def _copy_class_rows(
    fresh: Tensor, old: Tensor, names: tuple[str, ...], old_names: tuple[str, ...]
) -> Tensor:
    """Copies the rows of classes with equal names, and the last row if it is "no object"."""
    result = fresh.clone()
    if len(old) > len(old_names):
        result[-1] = old[-1]
    for index, name in enumerate(names):
        if name in old_names:
            result[index] = old[old_names.index(name)]
    return result
