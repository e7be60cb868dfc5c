"""The start weights of a run and of its stages, found and read before other work begins.

Only reading the weights imports torch; importing this module or finding a folder does not.
"""

import tempfile
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config.run import RunConfig, StageConfig
from pipelines.registry.foreign_models import as_model_folder, is_foreign
from vis_core.config.model_files import WEIGHTS_FILE
from vis_core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from vis_core.models.systems.base import System

START = "start"  # folder in a run for the converted start weights
TINY_WEIGHTS = Path(str(resources.files("vis_core") / "weights" / "tiny"))


def start_folder(
    config: RunConfig, cache: Path | None = None, stage: StageConfig | None = None
) -> Path | None:
    """Finds the model folder that the first stage, or a given stage, starts from.

    Args:
        cache: Folder for converted models; None leaves models in other formats unconverted.
        stage: A stage with its own ``start_from``; None means the run's ``start_from``.

    Raises:
        ConfigError: If there is no such model.
    """
    start = stage.start_from if stage else config.start_from
    where = f"stage {stage.name}: start_from" if stage else "start_from"
    if start is None:
        return None
    if is_foreign(start):
        return as_model_folder(start, cache, backbones=True) if cache else Path(start)
    folder = TINY_WEIGHTS if start == "tiny" else Path(start).absolute()
    if not _is_file(folder / WEIGHTS_FILE):
        raise ConfigError(
            f"{where}: {str(folder):.200} holds no {WEIGHTS_FILE}; "
            "give a model folder, a checkpoint or backbone file, hf:<id>, 'tiny', or null"
        )
    return folder


def check_start(config: RunConfig, *, allow_random: bool = False) -> str:
    """Reads the start weights of a run and its stages in full; returns a description.

    With ``allow_random``, as for a printed plan, a run without start weights is accepted although
    parts of its backbone are frozen.

    Raises:
        ConfigError: If the weights do not exist, or parts of the backbone would be both random and
            frozen.
        CheckpointError: If the weights cannot be trusted, or no tensor fits the system.
    """
    if not allow_random:
        refuse_random_start(config)
    stages = [stage for stage in config.stages if stage.start_from is not None]
    checked = (f"{stage.name}: {_check_one(config, stage)}" for stage in stages)
    return "; ".join([_check_one(config, None), *checked])


def refuse_random_start(config: RunConfig) -> None:
    """Raises a ConfigError if the first stage has no start weights but a frozen backbone."""
    if config.start_from is None and config.stages[0].start_from is None:
        import torch

        from vis_core.models.systems.build import build_system

        with torch.device("meta"):
            system = build_system(config.system, 1)
        _refuse_random_frozen(config, system, "start_from", ())


def _check_one(config: RunConfig, stage: StageConfig | None) -> str:
    start = stage.start_from if stage else config.start_from
    with tempfile.TemporaryDirectory() as cache:
        folder = start_folder(config, Path(cache), stage)
        if folder is None or start is None:
            names = f"; the recipe's: {config.start_hint}" if config.start_hint else ""
            return f"random weights; published ones: --set start_from=FILE|FOLDER|hf:<id>{names}"
        from vis_core.models.systems.transfer import planned_transfer

        try:
            system, transfer = planned_transfer(config.system, folder)
        except CheckpointError as error:  # name the given source, not the converted copy
            raise CheckpointError(str(error).replace(str(folder), start)) from error
        where = f"stage {stage.name}: start_from" if stage else "start_from"
        _refuse_random_frozen(config, system, f"{where}: {start}", transfer.whole)
    return f"{start}: {transfer.describe()}"


def _refuse_random_frozen(
    config: RunConfig, system: "System", where: str, taken: Collection[str]
) -> None:
    from vis_core.models.systems.transfer import backbone_text, random_frozen

    weights, norms = random_frozen(system, taken)
    segmentor = config.system.segmentor
    backbone = backbone_text(segmentor.backbone)
    reasons, mends = [], ["start_from=FILE|FOLDER|hf:<id>"]
    if weights:
        count = getattr(segmentor, "frozen_stages", 0)
        reasons.append(f"{len(weights)} weights by system.segmentor.frozen_stages={count}")
    if norms:
        reasons.append(f"{len(norms)} batch norms without statistics")
    if norms and hasattr(segmentor, "train_batch_norm"):
        mends.append("system.segmentor.train_batch_norm=true")
    elif not norms:
        mends.append("system.segmentor.frozen_stages=0")
    if reasons:
        recipe = f" ({config.start_hint})" if config.start_hint else ""
        raise ConfigError(
            f"{where}: expected trained weights of the backbone {backbone}, found random ones that "
            f"would stay frozen: {' and '.join(reasons)}; start from ImageNet or COCO weights of "
            f"this backbone{recipe}: --set {' or --set '.join(mends)}"
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # not a valid file name
        return False
