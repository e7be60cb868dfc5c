"""The start weights of a run and of its stages, found and read before other work begins.

Only reading the weights imports torch; importing this module or finding a folder does not.
"""

import tempfile
from importlib import resources
from pathlib import Path

from pipelines.config.run import RunConfig, StageConfig
from pipelines.registry.foreign_models import as_model_folder, is_foreign
from vis_core.config.model_files import WEIGHTS_FILE
from vis_core.errors import ConfigError

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
        return as_model_folder(start, cache) if cache else Path(start)
    folder = TINY_WEIGHTS if start == "tiny" else Path(start).absolute()
    if not _is_file(folder / WEIGHTS_FILE):
        raise ConfigError(
            f"{where}: {str(folder):.200} holds no {WEIGHTS_FILE}; "
            "give a model folder, a checkpoint of the authors, hf:<id>, 'tiny', or null"
        )
    return folder


def check_start(config: RunConfig) -> str:
    """Reads the start weights of a run and its stages in full; returns a description.

    Raises:
        ConfigError: If there are no such weights.
        CheckpointError: If the weights are unsafe to load, or no tensor fits the system.
    """
    stages = [stage for stage in config.stages if stage.start_from is not None]
    checked = (f"{stage.name}: {_check_one(config, stage)}" for stage in stages)
    return "; ".join([_check_one(config, None), *checked])


def _check_one(config: RunConfig, stage: StageConfig | None) -> str:
    with tempfile.TemporaryDirectory() as cache:
        folder = start_folder(config, Path(cache), stage)
        if folder is None:
            return "random weights; published ones: --set start_from=FILE|FOLDER|hf:<id>"
        from vis_core.models.systems.transfer import count_fitting_weights

        taken, wanted = count_fitting_weights(config.system, folder)
    return f"{stage.start_from if stage else config.start_from}: {taken} of {wanted} tensors fit"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # not a valid file name
        return False
