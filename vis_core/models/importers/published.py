"""Import of published Mask2Former, MinVIS, CTVIS, IDOL and CondInst checkpoints as systems."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vis_core.config.systems import (
    AnySystemConfig,
    CtvisConfig,
    IdolConfig,
    MinvisConfig,
    StcConfig,
)
from vis_core.errors import CheckpointError
from vis_core.models.importers.condinst_names import (
    HEAD,
    TRACKING_HEAD,
    adapt_stem_to_pixels,
    our_condinst_names,
)
from vis_core.models.importers.config_from_shapes import (
    Shapes,
    condinst_num_classes_of,
    condinst_settings_of,
    embedding_width_of,
    idol_num_classes_of,
    idol_settings_of,
    mask2former_num_classes_of,
    mask2former_settings_of,
)
from vis_core.models.importers.idol_names import PREFIX, our_idol_names
from vis_core.models.importers.mask2former_names import our_names
from vis_core.models.importers.safe_pickle import read_pickled_tensors
from vis_core.models.layers.backbone import NEVER_USED_WEIGHTS
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system, fit_problems, infinite_problems

_SHOWN = 40
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RenamedTensors:
    """A checkpoint's tensors under our names."""

    tensors: dict[str, Tensor]  # tensors by translated name
    unknown: list[str]  # names in the file that no rule matches
    unused: list[str]  # names of tensors that are not needed
    contradicted: list[str]  # names of tensors that the file contains twice with different values


def import_official(path: Path) -> tuple[System, list[str]]:
    """Reads a checkpoint into an IDOL, CTVIS, MinVIS or STC system of the same size.

    STC's tracking head, which CondInst lacks, stays random. The file is a ``.pth`` or ``.pkl`` from
    detectron2. Returns the system in evaluation mode and the names of the file's unused tensors.
    Raises CheckpointError if the file cannot be trusted, or a tensor is missing, unexpected,
    misshapen or not finite; the message or the log names every such tensor.
    """
    return system_of(read_pickled_tensors(path), str(path))


def system_of(found: dict[str, Tensor], source: str) -> tuple[System, list[str]]:
    """Builds a system from tensors under the release's names (see ``import_official``)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    try:
        config, num_classes = _config_of(shapes)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    system = build_system(config, num_classes)
    renamed = rename(adapt_stem_to_pixels(found))
    wanted = system.state_dict()
    tensors = renamed.tensors | _without_counterpart(wanted, renamed.tensors)
    if isinstance(config, StcConfig):
        _log.warning("%s has no tracking head: it is random until it is trained", source)
        tensors |= {name: t for name, t in wanted.items() if name.startswith(TRACKING_HEAD)}
    problems = [f"{name} is unexpected" for name in renamed.unknown]
    problems += [f"{name} differs from its other copy" for name in renamed.contradicted]
    problems += fit_problems(wanted, tensors) + infinite_problems(tensors)
    if problems:
        if len(problems) > _SHOWN:  # a long list is logged, one name per line
            for problem in problems:
                _log.warning("%s: %s", source, problem)
            problems = [*problems[:_SHOWN], f"and {len(problems) - _SHOWN} more, all named above"]
        raise CheckpointError(f"{source}: " + "; ".join(problems))
    system.load_state_dict(tensors)
    return system.eval(), renamed.unused


def _config_of(shapes: Shapes) -> tuple[AnySystemConfig, int]:
    """Derives a checkpoint's config and number of classes from its shapes."""
    if any(name.startswith(PREFIX) for name in shapes):
        width = max(8, shapes.get("detr.reid_embed_head.layers.2.weight", (0,))[0])
        idol = IdolConfig(segmentor=idol_settings_of(shapes), embedding_width=width)
        return idol, idol_num_classes_of(shapes)
    if any(name.startswith(HEAD) for name in shapes):
        return StcConfig(segmentor=condinst_settings_of(shapes)), condinst_num_classes_of(shapes)
    settings, num_classes = mask2former_settings_of(shapes), mask2former_num_classes_of(shapes)
    embedding = embedding_width_of(shapes)
    if embedding is None:
        return MinvisConfig(segmentor=settings), num_classes
    return CtvisConfig(segmentor=settings, embedding_width=embedding), num_classes


def rename(found: dict[str, Tensor]) -> RenamedTensors:
    """Renames a release's tensors and splits each fused projection into three."""
    tensors: dict[str, Tensor] = {}
    unknown, unused, contradicted = [], [], []
    is_condinst = any(name.startswith(HEAD) for name in found)
    for official, tensor in found.items():
        is_idol = official.startswith("detr.")
        names_of = our_idol_names if is_idol else our_names
        targets = (our_condinst_names if is_condinst else names_of)(official)
        if targets is None:
            unknown.append(official)
        elif not targets:
            unused.append(official)
        for name, third in targets or ():
            part = tensor if third is None else tensor.chunk(3)[third]
            if name in tensors and not torch.equal(tensors[name], part):
                contradicted.append(official)
            tensors[name] = part
    return RenamedTensors(tensors, unknown, unused, contradicted)


# Counters, the class weights of a loss that is not used here, and unused norms.
_WITHOUT_COUNTERPART = (".num_batches_tracked", "criterion.empty_weight", *NEVER_USED_WEIGHTS)


def _without_counterpart(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors that transformers keeps but no release contains."""
    names = [name for name in wanted if name.endswith(_WITHOUT_COUNTERPART) and name not in found]
    return {name: wanted[name] for name in names}
