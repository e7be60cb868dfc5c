"""The weights that the first stage starts from: found early, and read before anything is made.

Importing this module or finding a folder imports no torch; reading does.
"""

import tempfile
from pathlib import Path

from pipelines.config.run import RunConfig, StageConfig
from pipelines.registry.foreign_models import as_model_folder, is_foreign
from vis_core.errors import ConfigError

# folder of a run that keeps what was converted
START = "start"
TINY_WEIGHTS = Path(__file__).resolve().parents[2] / "vis_core" / "weights" / "tiny"


def start_folder(
    config: RunConfig, cache: Path | None = None, stage: StageConfig | None = None
) -> Path | None:
    """Finds the model folder that the first stage starts from, or one with a start of its own.

    Args:
        config: Of the run.
        cache: Keeps what is converted from other formats; None leaves it unconverted.
        stage: A stage that names its start.

    Raises:
        ConfigError: It is not there.
    """
    start = stage.start_from if stage else config.start_from
    where = f"stage {stage.name}: start_from" if stage else "start_from"
    if start is None:
        return None
    if _is_foreign(start):
        return as_model_folder(start, cache) if cache else Path(start)
    folder = TINY_WEIGHTS if start == "tiny" else Path(start).absolute()
    if not _is_file(folder / "weights.safetensors"):
        raise ConfigError(
            f"{where}: {str(folder):.200} holds no weights.safetensors; "
            "give a model folder, a checkpoint of the authors, hf:<id>, 'tiny', or null"
        )
    return folder


def check_start(config: RunConfig) -> str:
    """Reads the start weights whole, so that what is wrong with them is said before work is done.

    Args:
        config: Of the run.

    Returns:
        What the first stage starts from, for people.

    Raises:
        ConfigError: The start is not there.
        CheckpointError: It cannot be trusted, or nothing in it fits the system.
    """
    parts = [_check_one(config, None)]
    for stage in config.stages:
        if stage.start_from is not None:
            parts.append(f"{stage.name}: {_check_one(config, stage)}")
    return "; ".join(parts)


def _check_one(config: RunConfig, stage: StageConfig | None) -> str:
    with tempfile.TemporaryDirectory() as cache:
        folder = start_folder(config, Path(cache), stage)
        if folder is None:
            return "random weights; published ones: --set start_from=FILE|FOLDER|hf:<id>"
        from vis_core.models.systems.transfer import count_fitting_weights

        taken, wanted = count_fitting_weights(config.system, folder)
    return f"{stage.start_from if stage else config.start_from}: {taken} of {wanted} tensors fit"


def _is_foreign(uri: str) -> bool:
    try:
        return is_foreign(uri)
    except OSError:  # a name that no file can have
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False
