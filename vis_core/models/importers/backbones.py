"""Import of a backbone without a segmentor, from which training starts.

Reads folders with transformers' ResNet, Swin or ConvNeXt, and files with a ResNet or Swin whose
tensors are named as in torchvision, detectron2, Caffe2 (MSRA's ResNet) or Swin's own code.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoBackbone
from transformers.utils import logging

from vis_core.config.model_files import CATEGORIES_FILE, CONFIG_FILE, WEIGHTS_FILE
from vis_core.config.segmentors import BackboneName, BackboneOnly, OwnBackbone
from vis_core.errors import CheckpointError, first_line
from vis_core.files import whole_file, write_json
from vis_core.models.importers.condinst_names import bgr_stem_for_our_pixels
from vis_core.models.importers.config_from_shapes import backbone_settings_of
from vis_core.models.importers.mask2former_names import backbone_names
from vis_core.models.importers.safe_pickle import read_pickled_tensors
from vis_core.models.importers.transformers_models import backbone_settings, read_config
from vis_core.models.layers.backbone import FAMILIES, NEVER_USED_WEIGHTS, backbone_config
from vis_core.models.systems.build import fit_problems, read_weights

_MSRA = re.compile(r"conv1_w|res\d_\d+_branch\w+")
_OTHERS = re.compile(r"(layer\d\.\d+|res\d\.\d+|stem|patch_embed|layers\.\d\.blocks)\..+")
# the classification head, and a bias that detectron2 also ignores because a norm follows it
_UNUSED = re.compile(
    r"(stem\.)?fc(1000)?[._]\w+|conv1_b|.*_momentum|head\.\w+|norm\.\w+|.*\.attn_mask"
)
_UNUSED_IN_FOLDERS = re.compile(
    r"(.*\.)?(classifier(\.1)?|layernorm)\.\w+|.*relative_position_index"
)
# norms after each stage, which segmentors add to Swin and ConvNeXt
_FRESH = "hidden_states_norms."
# settings that the layers here cannot change, by family
_FIXED = {
    "resnet": ("hidden_act", "downsample_in_first_stage"),
    "swin": ("hidden_act", "qkv_bias", "use_absolute_embeddings", "layer_norm_eps"),
    "convnext": ("hidden_act", "layer_norm_eps"),
}
_PREFIX = "segmentor.backbone."  # on disk, as in STC; ``start_from`` renames it
_EPSILON = 1e-5  # of a batch norm
_SHOWN = 10
# errors of transformers or torch for sizes that make no network
_UNBUILDABLE = (
    StrictDataclassError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
    RuntimeError,
)  # fmt: skip

_NORM_PARTS = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}


@dataclass(frozen=True)
class Backbone:
    """A backbone's settings, and its tensors under transformers' names."""

    settings: BackboneName | OwnBackbone
    tensors: dict[str, Tensor]


def save_backbone(folder: Path, backbone: Backbone) -> None:
    """Writes a model folder that contains only a backbone and no classes."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        _PREFIX + name: (t.float() if t.is_floating_point() else t).contiguous()
        for name, t in backbone.tensors.items()
    }
    with whole_file(folder / WEIGHTS_FILE) as partial:
        save_file(tensors, partial)
    config = BackboneOnly(backbone=backbone.settings)
    write_json(folder / CONFIG_FILE, config.model_dump(mode="json"), indent=2)
    write_json(folder / CATEGORIES_FILE, [], indent=2)


def is_backbone_file(names: Iterable[str]) -> bool:
    """Returns whether a checkpoint's tensors are those of a backbone alone."""
    return any(_MSRA.fullmatch(name) or _OTHERS.fullmatch(name) for name in names)


def backbone_of(found: dict[str, Tensor], source: str) -> Backbone:
    """Translates a backbone file's tensors; raises a CheckpointError that names faulty ones.

    MSRA's ResNet expects BGR pixels that are not divided by the standard deviation, so its first
    convolution is adapted. Blocks that halve the map do so in their first convolution.
    """
    is_msra = any(map(_MSRA.fullmatch, found))
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    unknown = []
    for name, tensor in found.items():
        theirs = _detectron2_name(name)
        targets = [] if _UNUSED.fullmatch(name) else backbone_names(theirs, "", "")
        if targets is None:
            unknown.append(f"{name} is unexpected")
        shapes["backbone." + theirs] = tuple(tensor.shape)
        for ours, third in targets or ():
            tensors[ours] = tensor if third is None else tensor.chunk(3)[third]
    try:
        settings = backbone_settings_of(shapes, stride_in_1x1=is_msra)
        wanted = _state(settings)
    except (CheckpointError, *_UNBUILDABLE) as error:
        raise CheckpointError(f"{source}: {first_line(error)}") from error
    for name in wanted.keys() - tensors.keys():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(0)
        elif is_msra and name.endswith(("running_mean", "running_var")):
            # folded into scale and shift, as detectron2 assumes
            value = 0.0 if name.endswith("mean") else 1.0 - _EPSILON
            tensors[name] = torch.full(wanted[name].shape, value)
    return _checked(settings, wanted, tensors, unknown, source, is_msra=is_msra)


def import_backbone_folder(folder: Path) -> Backbone:
    """Reads a folder with transformers' ResNet, Swin or ConvNeXt, but no classification head.

    Raises a CheckpointError for unsupported settings, missing files and faulty tensors.
    """
    source = folder / "config.json"
    family, document = read_config(folder)
    try:
        config = FAMILIES[family].from_dict(document)
        settings = backbone_settings(config, folder)
        like = backbone_config(settings)
        wanted = _state(settings)
    except _UNBUILDABLE as error:
        raise CheckpointError(
            f"{source}: not the config of a {family} ({first_line(error)})"
        ) from error
    for key in _FIXED[family]:
        expected, value = getattr(like, key), getattr(config, key)
        if value != expected:
            raise CheckpointError(
                f"{source}: {key}: expected {expected!r}, found {value!r}; such backbones are not "
                "supported"
            )
    path, found = _folder_tensors(folder)
    network: Any = type(AutoBackbone.from_config(like))
    logging.disable_progress_bar()
    # renames the tensors of older versions too
    loaded, notes = network.from_pretrained(
        None, config=like, state_dict=found, output_loading_info=True, ignore_mismatched_sizes=True
    )
    problems = [
        f"{name} has shape {tuple(have)}, expected {tuple(want)}"
        for name, have, want in notes["mismatched_keys"]
    ]
    unexpected = [key for key in notes["unexpected_keys"] if not _UNUSED_IN_FOLDERS.fullmatch(key)]
    problems += [f"{name} is unexpected" for name in unexpected]
    missing = notes["missing_keys"]
    tensors = {name: t for name, t in loaded.state_dict().items() if name not in missing}
    return _checked(settings, wanted, tensors, problems, str(path))


def _folder_tensors(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safe.is_file():
        return safe, read_weights(safe)
    if pickled.is_file():
        return pickled, read_pickled_tensors(pickled)
    raise CheckpointError(
        f"{folder}: expected model.safetensors or pytorch_model.bin, found neither; download the "
        "weights too"
    )


def _checked(
    settings: BackboneName | OwnBackbone,
    wanted: dict[str, Tensor],
    tensors: dict[str, Tensor],
    problems: list[str],
    source: str,
    *,
    is_msra: bool = False,
) -> Backbone:
    needed = {name: t for name, t in wanted.items() if name in tensors or not _may_miss(name)}
    problems = sorted({*problems, *fit_problems(needed, tensors)})
    problems += [
        f"{name} holds values that are not finite"
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise CheckpointError(
            f"{source}: " + "; ".join([*problems[:_SHOWN], *more]) + "; download the file again"
        )
    if is_msra:
        stem = "embedder.embedder.convolution.weight"
        tensors = tensors | {stem: bgr_stem_for_our_pixels(tensors[stem].float())}
    return Backbone(settings, tensors)


def _may_miss(name: str) -> bool:
    return name.startswith(_FRESH) or f".{name}".endswith(NEVER_USED_WEIGHTS)


def _state(settings: BackboneName | OwnBackbone) -> dict[str, Tensor]:
    with torch.device("meta"):
        state: dict[str, Tensor] = AutoBackbone.from_config(backbone_config(settings)).state_dict()
    return state


def _detectron2_name(name: str) -> str:
    """Translates a tensor name of torchvision or Caffe2; returns other names unchanged."""
    if found := re.fullmatch(r"res(\d)_(\d+)_branch(1|2[abc])(_bn)?_(w|s|b|rm|riv)", name):
        stage, block, branch, norm, part = found.groups()
        rest = f"norm.{_NORM_PARTS[part]}" if norm and part != "w" else "weight"
        return f"res{stage}.{block}.{_BRANCHES[branch]}.{rest}"
    if found := re.fullmatch(r"res_conv1_bn_(s|b|rm|riv)", name):
        return f"stem.conv1.norm.{_NORM_PARTS[found[1]]}"
    if name == "conv1_w":
        return "stem.conv1.weight"
    name = re.sub(r"^(conv1|bn1)\.", r"stem.\1.", name)
    name = re.sub(r"^layer(\d)\.(?=\d)", lambda found: f"res{int(found[1]) + 1}.", name)
    name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
    return re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
