"""Turns a checkpoint of Mask2Former, MinVIS, CTVIS, IDOL or CondInst into a system of ours."""

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
    for_our_pixels,
    our_condinst_names,
)
from vis_core.models.importers.config_from_shapes import (
    Shapes,
    condinst_num_classes_of,
    condinst_settings_of,
    embedding_width_of,
    idol_num_classes_of,
    idol_settings_of,
    num_classes_of,
    settings_of,
)
from vis_core.models.importers.idol_names import PREFIX, our_idol_names
from vis_core.models.importers.mask2former_names import our_names
from vis_core.models.importers.safe_pickle import read_pickled_tensors
from vis_core.models.layers.backbone import NEVER_USED_WEIGHTS
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system, fit_problems

_SHOWN = 40
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Renamed:
    """Is what a checkpoint holds under our names.

    Attributes:
        tensors: By our names.
        unknown: Names of the file that no rule knows.
        unused: Names that are known and not needed.
        contradicted: Names of tensors that the file holds twice, not alike.
    """

    tensors: dict[str, Tensor]
    unknown: list[str]
    unused: list[str]
    contradicted: list[str]


def import_official(path: Path) -> tuple[System, list[str]]:
    """Reads a checkpoint into a system of its size: IDOL, CTVIS, MinVIS or STC.

    The tracking head of STC, which CondInst does not have, is left as it starts.

    Args:
        path: ``.pth`` or ``.pkl`` of detectron2.

    Returns:
        The system in evaluation mode, and the names in the file that were left aside.

    Raises:
        CheckpointError: The file cannot be trusted, or a tensor is missing, unexpected, of another
            shape or not finite; the message names every one.
    """
    return system_of(read_pickled_tensors(path), str(path))


def system_of(found: dict[str, Tensor], source: str) -> tuple[System, list[str]]:
    """Makes the system of tensors under the authors' names (see ``import_official``)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    try:
        config, num_classes = _config_of(shapes)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    system = build_system(config, num_classes)
    renamed = rename(for_our_pixels(found))
    wanted = system.state_dict()
    tensors = renamed.tensors | _unused_of_ours(wanted, renamed.tensors)
    if isinstance(config, StcConfig):
        _log.warning("%s has no tracking head: it is random until it is trained", source)
        own = {name: tensor for name, tensor in wanted.items() if name.startswith(TRACKING_HEAD)}
        tensors |= own
    problems = [f"{name} is unexpected" for name in renamed.unknown]
    problems += [f"{name} differs from its other copy" for name in renamed.contradicted]
    problems += fit_problems(wanted, tensors)
    problems += [
        f"{name} holds values that are not finite"
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if problems:
        if len(problems) > _SHOWN:  # a page of names is read better line by line
            for problem in problems:
                _log.warning("%s: %s", source, problem)
            problems = [*problems[:_SHOWN], f"and {len(problems) - _SHOWN} more, all named above"]
        raise CheckpointError(f"{source}: " + "; ".join(problems))
    system.load_state_dict(tensors)
    return system.eval(), renamed.unused


def _config_of(shapes: Shapes) -> tuple[AnySystemConfig, int]:
    """Says of which paper and size a checkpoint is, and how many classes it has."""
    if any(name.startswith(PREFIX) for name in shapes):
        embedding = shapes.get("detr.reid_embed_head.layers.2.weight", (0,))
        config = IdolConfig(
            segmentor=idol_settings_of(shapes), embedding_width=max(8, embedding[0])
        )
        return config, idol_num_classes_of(shapes)
    if any(name.startswith(HEAD) for name in shapes):
        return StcConfig(segmentor=condinst_settings_of(shapes)), condinst_num_classes_of(shapes)
    settings, width = settings_of(shapes), embedding_width_of(shapes)
    if width is None:
        return MinvisConfig(segmentor=settings), num_classes_of(shapes)
    return CtvisConfig(segmentor=settings, embedding_width=width), num_classes_of(shapes)


def rename(found: dict[str, Tensor]) -> Renamed:
    """Gives tensors our names; a fused projection becomes three."""
    tensors: dict[str, Tensor] = {}
    unknown, unused, contradicted = [], [], []
    condinst = any(name.startswith(HEAD) for name in found)
    for official, tensor in found.items():
        known = our_idol_names if official.startswith("detr.") else our_names
        known = our_condinst_names if condinst else known
        targets = known(official)
        if targets is None:
            unknown.append(official)
        elif not targets:
            unused.append(official)
        for name, third in targets or ():
            part = tensor if third is None else tensor.chunk(3)[third]
            if name in tensors and not torch.equal(tensors[name], part):
                contradicted.append(official)
            tensors[name] = part
    return Renamed(tensors, unknown, unused, contradicted)


# Counters, the class weights of a loss that is not used here, and what nothing reads.
_OURS_ALONE = (".num_batches_tracked", "criterion.empty_weight", *NEVER_USED_WEIGHTS)


def _unused_of_ours(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives what transformers keeps and no release has."""
    return {
        name: tensor
        for name, tensor in wanted.items()
        if name not in found and name.endswith(_OURS_ALONE)
    }
