"""Makes systems from their config, and saves and loads them as plain folders.

A model folder holds ``weights.safetensors``, ``config.json``, ``categories.json`` and
nothing that can run. Loading checks names, shapes and finiteness before a tensor is used.
"""

import json
import re
import uuid
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vis_core.config.systems import (
    AnySystemConfig,
    CtvisConfig,
    IdolConfig,
    MinvisConfig,
    SystemConfig,
)
from vis_core.errors import CheckpointError
from vis_core.formats.categories import Categories
from vis_core.models.systems.base import System
from vis_core.models.systems.ctvis import Ctvis
from vis_core.models.systems.idol import Idol
from vis_core.models.systems.minvis import Minvis
from vis_core.models.systems.stc import Stc

# the heads whose rows are classes, in the order of the class list
_CLASS_HEAD = re.compile(r"\.class_predictor\.|\.class_heads\.\d+\.|\.(class|semantic)_head\.")
WEIGHTS_FILE, CONFIG_FILE, CATEGORIES_FILE = "weights.safetensors", "config.json", "categories.json"


def build_system(config: AnySystemConfig, num_classes: int) -> System:
    """Makes a system with random weights."""
    if isinstance(config, CtvisConfig):
        return Ctvis(config, num_classes)
    if isinstance(config, IdolConfig):
        return Idol(config, num_classes)
    if isinstance(config, MinvisConfig):
        return Minvis(config, num_classes)
    return Stc(config, num_classes)


def save_system(folder: Path, system: System, categories: Categories) -> None:
    """Writes a model folder; each file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    config = system.config
    weights = {name: tensor.contiguous() for name, tensor in system.state_dict().items()}
    temporary = folder / f".{WEIGHTS_FILE}-{uuid.uuid4().hex}"
    save_file(weights, temporary)
    temporary.replace(folder / WEIGHTS_FILE)
    _write_json(folder / CONFIG_FILE, config.model_dump(mode="json", by_alias=True))
    _write_json(folder / CATEGORIES_FILE, categories.to_json())


def load_system(
    folder: str | Path, device: str | torch.device = "cpu", *, for_training: bool = False
) -> System:
    """Reads a model folder in evaluation mode.

    Args:
        folder: Model folder.
        device: Where the weights go.
        for_training: Whether parts that only training uses are kept.

    Raises:
        CheckpointError: A file is missing or a tensor does not fit; the message lists the names.
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
            if name in wanted or not name.startswith(system.training_prefix)
        }
    problems = fit_problems(wanted, weights)
    if problems:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: " + "; ".join(problems[:20]))
    system.load_state_dict(weights)
    return system.to(device).eval()


def read_system_config(folder: Path) -> AnySystemConfig:
    """Reads the config of a model folder."""
    text = _read_text(folder / CONFIG_FILE)
    try:
        config: AnySystemConfig = TypeAdapter(SystemConfig).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{folder / CONFIG_FILE}: {where}: {first['msg']}") from error
    return config


def read_categories(folder: Path) -> Categories:
    """Reads the classes of a model folder."""
    path = folder / CATEGORIES_FILE
    try:
        return Categories.from_json(json.loads(_read_text(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a list of categories with id and name") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads tensors that are finite; nothing in the file can run."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a model folder holds {WEIGHTS_FILE}")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    return weights


def fit_problems(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Lists what keeps tensors from fitting a model: absent, unexpected, of other shape or kind."""
    problems = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    problems += [f"{name} is unexpected" for name in found.keys() - wanted.keys()]
    for name in sorted(wanted.keys() & found.keys()):
        if wanted[name].shape != found[name].shape:
            problems.append(
                f"{name} has shape {tuple(found[name].shape)}, expected {tuple(wanted[name].shape)}"
            )
        elif wanted[name].is_floating_point() != found[name].is_floating_point():
            problems.append(f"{name} holds {_kind(found[name])}, expected {_kind(wanted[name])}")
    return sorted(problems)


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
        for prefix in {kind.backbone_prefix for kind in (Ctvis, Minvis, Idol, Stc)}:
            if name.startswith(prefix):
                name = system.backbone_prefix + name.removeprefix(prefix)
        renamed[name] = tensor
    return renamed


def _fits(wanted: dict[str, Tensor], name: str, tensor: Tensor) -> bool:
    return name in wanted and tensor.shape == wanted[name].shape


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


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


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; is {path.parent} a model folder?")
    return path.read_text(encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
