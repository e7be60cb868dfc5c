"""Systems built from their config, saved to model folders and loaded from them.

A model folder contains the files named in ``config/model_files.py`` and no code. Loading checks
names and shapes, and that values are finite, before a tensor is used.
"""

import json
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vis_core.config.model_files import CATEGORIES_FILE, CONFIG_FILE, WEIGHTS_FILE
from vis_core.config.systems import AnySystemConfig, SystemConfig
from vis_core.errors import CheckpointError
from vis_core.files import whole_file, write_json
from vis_core.formats.categories import Categories
from vis_core.models.systems.base import System
from vis_core.models.systems.ctvis import Ctvis
from vis_core.models.systems.idol import Idol
from vis_core.models.systems.minvis import Minvis
from vis_core.models.systems.stc import Stc

SYSTEMS: dict[str, type[System]] = {"ctvis": Ctvis, "idol": Idol, "minvis": Minvis, "stc": Stc}


def build_system(config: AnySystemConfig, num_classes: int) -> System:
    """Builds a system with random weights."""
    return SYSTEMS[config.name](config, num_classes)


def save_system(folder: Path, system: System, categories: Categories) -> None:
    """Writes a model folder; each file is written completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    config = system.config
    weights = {name: tensor.contiguous() for name, tensor in system.state_dict().items()}
    with whole_file(folder / WEIGHTS_FILE) as partial:
        save_file(weights, partial)
    write_json(folder / CONFIG_FILE, config.model_dump(mode="json", by_alias=True), indent=2)
    write_json(folder / CATEGORIES_FILE, categories.to_json(), indent=2)


def load_system(
    folder: str | Path, device: str | torch.device = "cpu", *, for_training: bool = False
) -> System:
    """Loads a model folder's system in evaluation mode.

    Training-only parts are omitted unless ``for_training``. Raises CheckpointError if a file is
    missing, or tensors do not fit; the message names at most 20.
    """
    folder = Path(folder)
    config = read_system_config(folder)
    weights = read_weights(folder / WEIGHTS_FILE)
    if not for_training:
        config = config.for_inference()
    system = build_system(config, len(read_categories(folder)))
    wanted = system.state_dict()
    if not for_training:
        weights = {
            name: tensor
            for name, tensor in weights.items()
            if name in wanted or not name.startswith(system.training_prefixes)
        }
    problems = fit_problems(wanted, weights)
    if problems:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: " + "; ".join(problems[:20]))
    system.load_state_dict(weights)
    return system.to(device).eval()


def read_system_config(folder: Path) -> AnySystemConfig:
    """Reads a model folder's config."""
    text = _read_text(folder / CONFIG_FILE)
    try:
        return TypeAdapter(SystemConfig).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{folder / CONFIG_FILE}: {where}: {first['msg']}") from error


def read_categories(folder: Path) -> Categories:
    """Reads a model folder's classes."""
    path = folder / CATEGORIES_FILE
    try:
        return Categories.from_json(json.loads(_read_text(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected a list of categories with id and name, found other content; "
            "save the model again"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads tensors and checks that they are finite; the file contains no code."""
    if not path.is_file():
        raise CheckpointError(
            f"{path}: expected the weights of a model, found no file; check the path"
        )
    try:
        path.open("rb").close()  # safetensors calls every file that it cannot open missing
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    if problems := infinite_problems(weights):
        raise CheckpointError(f"{path}: {problems[0]}")
    return weights


def infinite_problems(tensors: dict[str, Tensor]) -> list[str]:
    """Lists tensors with NaN or infinite values."""
    return [
        f"{name} holds values that are not finite"
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]


def fit_problems(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Lists missing and unexpected tensors, and those with a different shape or kind."""
    problems = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    problems += [f"{name} is unexpected" for name in found.keys() - wanted.keys()]
    for name in wanted.keys() & found.keys():
        want, have = wanted[name], found[name]
        if want.shape != have.shape:
            problems.append(f"{name} has shape {tuple(have.shape)}, expected {tuple(want.shape)}")
        elif want.is_floating_point() != have.is_floating_point():
            kinds = [str(each.dtype).removeprefix("torch.") for each in (have, want)]
            problems.append(f"{name} holds {kinds[0]}, expected {kinds[1]}")
    return sorted(problems)


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: expected a model folder, found no such file in it; check the path"
        )
    return path.read_text(encoding="utf-8-sig")
