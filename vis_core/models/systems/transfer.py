"""Weight transfer from one system to another at the start of training."""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers.models.deformable_detr.modeling_deformable_detr import (
    DeformableDetrFrozenBatchNorm2d,
)

from vis_core.config.model_files import CONFIG_FILE, WEIGHTS_FILE
from vis_core.config.segmentors import BackboneName, BackboneOnly, OwnBackbone
from vis_core.config.systems import AnySystemConfig
from vis_core.errors import CheckpointError
from vis_core.formats.categories import Categories
from vis_core.formats.class_maps import published_list
from vis_core.models.layers.backbone import NEVER_USED_WEIGHTS, backbone_config
from vis_core.models.systems.base import BACKBONE_PREFIXES, System
from vis_core.models.systems.build import (
    build_system,
    read_categories,
    read_system_config,
    read_weights,
)

# heads with one row per class, in the order of the class list
_CLASS_HEAD = re.compile(r"\.class_predictor\.|\.class_heads\.\d+\.|\.(class|semantic)_head\.")
_STRIDES = {
    False: "the 3x3 convolution of a block halves the map",
    True: "the first 1x1 convolution of a block halves the map",
}


@dataclass(frozen=True)
class Transfer:
    """The tensors that a system takes from a model folder."""

    found: dict[str, Tensor]  # all tensors of the folder, the backbone's under the system's names
    whole: set[str]  # names of the tensors that are taken completely
    heads: set[str]  # names of the class heads of which all or some rows are taken
    class_heads: str  # how class heads are carried over
    backbone: tuple[int, int]  # number of backbone tensors that are taken, and of all of them
    total: int  # number of the system's tensors

    def describe(self) -> str:
        """Describes how many tensors fit, and how class heads are carried over."""
        return (
            f"{len(self.whole)} of {self.total} tensors fit, {self.backbone[0]} of "
            f"{self.backbone[1]} in the backbone; class heads: {self.class_heads}"
        )


def planned_transfer(
    config: AnySystemConfig, folder: Path, categories: Categories | None = None
) -> tuple[System, Transfer]:
    """Determines what ``start_from`` would load from a folder, without loading it.

    Reads all tensors, so that a faulty folder is rejected. ``categories`` is None while the classes
    are unknown. Also returns the system, whose tensors have no values. Raises the errors of
    ``start_from``.
    """
    old = read_categories(folder)
    with torch.device("meta"):
        system = build_system(config, len(categories or old) or 1)
    if categories is None:
        return system, _transfer(system, folder, (), _unknown_fate(old))
    return system, _transfer(system, folder, *_class_rows(categories, old))


def start_from(
    system: System, folder: Path, categories: Categories | None = None
) -> tuple[list[str], list[str]]:
    """Loads the tensors that fit from a model folder, to start a training stage.

    The folder may contain another kind of system with the same backbone, or a backbone alone. Rows
    of a class head are copied for classes with equal names, or by number if the folder has equally
    many classes without names; other rows keep their random weights. Between COCO's classes and
    a public list of videos, all rows start anew, as in the releases.

    Args:
        system: Changed in place.
        folder: Model folder.
        categories: Classes of ``system``; None starts the class heads anew.

    Returns:
        Names of the tensors that stay random, and of the file's unused tensors.

    Raises:
        CheckpointError: No tensor fits, or the backbone's strides are in other convolutions.
    """
    old = read_categories(folder)
    rows, fate = _class_rows(categories, old) if categories else ((), "new")
    transfer = _transfer(system, folder, rows, fate)
    wanted = system.state_dict()
    taken = {name: transfer.found[name] for name in transfer.whole | transfer.heads}
    for name in transfer.heads:
        taken[name] = _copy_class_rows(wanted[name], taken[name], rows, len(old))
    system.load_state_dict(wanted | taken)
    return sorted(wanted.keys() - taken.keys()), sorted(transfer.found.keys() - taken.keys())


def random_frozen(system: System, taken: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Finds frozen parts of the backbone that are not among the taken tensors.

    Returns the names of weights and the names of batch norms. Batch norms of the backbone "tiny"
    are not listed, because with few layers they may remain the identity.
    """
    weights, norms = [], []
    prefix = system.backbone_prefix
    for path, module in system.get_submodule(prefix.removesuffix(".")).named_modules():
        own = {f"{prefix}{path}.{name}": p for name, p in module.named_parameters(recurse=False)}
        if isinstance(module, nn.BatchNorm2d | DeformableDetrFrozenBatchNorm2d):
            stays = f"{prefix}{path}.running_mean" not in taken
            frozen = not any(p.requires_grad for p in own.values())
            if stays and frozen and system.segmentor.settings.backbone != "tiny":
                norms.append(f"{prefix}{path}")
        else:
            weights += [
                name
                for name, p in own.items()
                if not (p.requires_grad or name in taken or name.endswith(NEVER_USED_WEIGHTS))
            ]
    return weights, norms


def backbone_text(backbone: BackboneName | OwnBackbone) -> str:
    """Returns a backbone's name, or its family if its sizes are custom."""
    return backbone if isinstance(backbone, str) else f"a {backbone.family} of other sizes"


def _transfer(
    system: System, folder: Path, rows: tuple[tuple[int, int], ...], fate: str
) -> Transfer:
    """Reads all weights, renames the backbone's and selects the weights that fit this system."""
    wanted, found = system.state_dict(), {}
    for name, tensor in read_weights(folder / WEIGHTS_FILE).items():
        for prefix in BACKBONE_PREFIXES:
            if name.startswith(prefix):
                name = system.backbone_prefix + name.removeprefix(prefix)
        found[name] = tensor
    common = found.keys() & wanted.keys()
    heads = {name for name in common if _CLASS_HEAD.search(name)}
    whole = {name for name in common - heads if found[name].shape == wanted[name].shape}
    heads = {name for name in heads if found[name].shape[1:] == wanted[name].shape[1:]}
    if not heads:
        fate = "new, since the start weights have none that fit"
    if not rows:
        heads = set()
    elif len(rows) == system.num_classes:
        whole |= heads
    if not whole:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE}: no tensor fits this system; start from a model with its "
            "backbone"
        )
    backbone = {name for name in wanted if name.startswith(system.backbone_prefix)}
    if backbone & whole:
        _check_strides(system, folder)
    return Transfer(
        found,
        whole,
        heads,
        fate,
        (len(backbone & whole), len(backbone)),
        len(wanted),
    )


def _check_strides(system: System, folder: Path) -> None:
    """Raises a CheckpointError if the strides of two ResNets are in different convolutions."""
    ours, theirs = system.segmentor.settings.backbone, _read_backbone(folder)
    strides = [
        bool(getattr(backbone_config(each), "downsample_in_bottleneck", False))
        for each in (ours, theirs)
    ]
    if strides[0] != strides[1]:
        hint = theirs if isinstance(theirs, str) else "{family: resnet, sizes: ...}"
        raise CheckpointError(
            f"{folder}: backbone: expected {backbone_text(ours)} ({_STRIDES[strides[0]]}), found "
            f"{backbone_text(theirs)} ({_STRIDES[strides[1]]}); set system.segmentor.backbone="
            f"{hint}, or start from weights of {backbone_text(ours)}"
        )


def _read_backbone(folder: Path) -> BackboneName | OwnBackbone:
    with suppress(OSError, ValidationError):  # a system's config, or a faulty one
        text = (folder / CONFIG_FILE).read_bytes()
        return BackboneOnly.model_validate_json(text).backbone
    config: Any = read_system_config(folder)
    backbone: BackboneName | OwnBackbone = config.segmentor.backbone
    return backbone


def _class_rows(new: Categories, old: Categories) -> tuple[tuple[tuple[int, int], ...], str]:
    """Pairs the rows of the new and old class heads; also describes the result in words."""
    same = tuple((row, row) for row in range(len(new)))
    if new.names == old.names:
        return same, f"all {len(new)} rows, the classes are the same"
    if old.unnamed and len(new) == len(old):
        return same, (
            f"{len(new)} rows by number, since the classes of the start weights have no names; if "
            "they are others or in another order, name them with import-weights --classes"
        )
    if published_list(old, new) or published_list(new, old):
        return (), "new, as in the releases between COCO's classes and a list of video classes"
    names = [name for name in new.names if name in old.names]
    rows = tuple((new.names.index(name), old.names.index(name)) for name in names)
    if rows:
        return rows, f"{len(rows)} of {len(new)} rows by name"
    if not len(old):
        return (), "new"
    reason = f"{len(old)} have no names" if old.unnamed else f"none of {len(old)} has an equal name"
    return (), f"new, since the start weights' classes are others ({reason})"


def _unknown_fate(old: Categories) -> str:
    """Describes how class heads will be carried over, for a run whose classes are not yet known."""
    if not len(old):
        return "new"
    if old.unnamed:
        return f"by number if the run has {len(old)} classes too, since they have no names"
    return f"rows of classes with equal names ({len(old)} in the start weights)"


def _copy_class_rows(
    fresh: Tensor, old: Tensor, rows: tuple[tuple[int, int], ...], num_old: int
) -> Tensor:
    """Copies rows of a class head, and the last row if it is "no object"."""
    result = fresh.clone()
    if len(old) > num_old:
        result[-1] = old[-1]
    for row, source in rows:
        result[row] = old[source]
    return result
