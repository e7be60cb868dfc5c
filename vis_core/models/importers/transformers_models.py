"""Import of a Mask2Former in transformers' format as MinVIS, which needs no video training.

MinVIS (Huang 2022) associates a Mask2Former's queries from frame to frame, so any Mask2Former
for instance segmentation from a model hub can annotate videos without training.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
from transformers.utils.logging import disable_progress_bar

from vis_core.config.segmentors import Mask2FormerSettings, OwnBackbone
from vis_core.config.systems import MinvisConfig
from vis_core.errors import CheckpointError
from vis_core.formats.categories import Categories, numbered
from vis_core.formats.class_maps import CLASS_LISTS
from vis_core.models.layers.backbone import named_backbone
from vis_core.models.systems.build import fit_problems, infinite_problems
from vis_core.models.systems.minvis import Minvis

_SIZES = {
    "resnet": ("embedding_size", "hidden_sizes", "depths", "layer_type"),
    "swin": ("embed_dim", "depths", "num_heads", "window_size", "patch_size", "mlp_ratio"),
    "convnext": ("hidden_sizes", "depths", "patch_size"),
}


def import_transformers(folder: Path) -> tuple[Minvis, Categories]:
    """Reads a folder with a Mask2Former's ``config.json`` and ``model.safetensors``.

    Returns:
        MinVIS in evaluation mode, and the checkpoint's classes.

    Raises:
        CheckpointError: The folder contains another model, unsupported sizes or no safetensors, or
            a tensor is missing.
    """
    network = _read_network(folder)
    settings = _settings(network.config, folder)
    system = Minvis(MinvisConfig(segmentor=settings), network.config.num_labels)
    weights = {f"segmentor.network.{name}": t for name, t in network.state_dict().items()}
    problems = fit_problems(system.state_dict(), weights) or infinite_problems(weights)
    if problems:
        raise CheckpointError(f"{folder}: " + "; ".join(problems[:20]))
    system.load_state_dict(weights)
    return system.eval(), _categories(network.config, folder)


def read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """Reads the ``model_type`` of a folder's ``config.json``, and the whole document."""
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointError(f"{folder}: expected config.json, found none; is it a model?")
    try:
        document = json.loads(config.read_bytes())
        return str(document["model_type"]), document
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{config}: expected JSON with a model_type, found none") from error


def _read_network(folder: Path) -> Mask2FormerForUniversalSegmentation:
    """Reads the network and checks that every tensor is present."""
    kind, _ = read_config(folder)
    if kind != "mask2former":
        hint = "; a backbone alone is a start_from for training" if kind in _SIZES else ""
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type: expected mask2former, found {kind!r}; give an "
            f"instance segmentation Mask2Former{hint}"
        )
    if not list(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"{folder}: expected model.safetensors, found none; pickled weights are not read here, "
            "take a revision with safetensors"
        )
    disable_progress_bar()
    try:
        network, notes = Mask2FormerForUniversalSegmentation.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{folder}: cannot be read as a Mask2Former ({reason})") from error
    # inference does not need the loss's buffer, criterion.empty_weight
    problems = [f"{name} is missing" for name in sorted(notes["missing_keys"])]
    problems += map(_mismatch, sorted(notes["mismatched_keys"]))
    problems = [problem for problem in problems if not problem.startswith("criterion.")]
    if problems:
        raise CheckpointError(f"{folder}: " + "; ".join(problems[:20]))
    return network


def _mismatch(found: tuple[str, Sequence[int], Sequence[int]]) -> str:
    name, have, want = found
    text = f"{name} has shape {tuple(have)}, expected {tuple(want)} by config.json"
    if name != "class_predictor.weight":
        return text
    return (
        f"{text}: the weights have {have[0] - 1} labels, id2label in config.json has "
        f"{want[0] - 1}; correct id2label"
    )


def _settings(config: Mask2FormerConfig, folder: Path) -> Mask2FormerSettings:
    widths = {config.feature_size, config.mask_feature_size, config.hidden_dim}
    if len(widths) != 1:
        raise CheckpointError(
            f"{folder / 'config.json'}: feature_size, mask_feature_size and hidden_dim: expected "
            f"one width, found {sorted(widths)}; such networks are not supported"
        )
    return Mask2FormerSettings(
        backbone=backbone_settings(config.backbone_config, folder),
        num_queries=config.num_queries,
        hidden_width=config.hidden_dim,
        num_heads=config.num_attention_heads,
        encoder_layers=config.encoder_layers,
        encoder_ffn_width=config.encoder_feedforward_dim,
        # transformers counts the learnt queries as its first layer
        decoder_layers=config.decoder_layers - 1,
        decoder_ffn_width=config.dim_feedforward,
    )


def backbone_settings(config: Any, folder: Path) -> Any:
    """Returns the settings for a backbone, given its transformers config."""
    family = getattr(config, "model_type", None)
    if family not in _SIZES:
        raise CheckpointError(
            f"{folder / 'config.json'}: backbone_config: expected {', '.join(_SIZES)}, found "
            f"{family!r}"
        )
    sizes = {key: getattr(config, key) for key in _SIZES[family] if hasattr(config, key)}
    sizes = {key: list(size) if isinstance(size, tuple) else size for key, size in sizes.items()}
    if getattr(config, "downsample_in_bottleneck", False):
        sizes["downsample_in_bottleneck"] = True
    backbone = OwnBackbone(family=family, sizes=sizes)
    return named_backbone(backbone) or backbone


def _categories(config: Mask2FormerConfig, folder: Path) -> Categories:
    """Returns the checkpoint's classes; COCO's class list keeps COCO's ids."""
    names = [clean_name(str(config.id2label[index])) for index in sorted(config.id2label)]
    if "" in names:
        raise CheckpointError(
            f"{folder / 'config.json'}: id2label, label {names.index('')}: expected a name, found "
            "blanks; write a name"
        )
    coco = CLASS_LISTS["coco"]
    return coco if tuple(names) == coco.names else numbered(_distinct(names))


def clean_name(name: str) -> str:
    """Replaces line ends and any other blanks in a label by single spaces."""
    return " ".join(name.split())


def _distinct(names: list[str]) -> list[str]:
    """Appends numbers to names that a checkpoint uses more than once."""
    return [
        name if names.count(name) == 1 else f"{name} {index}" for index, name in enumerate(names)
    ]
