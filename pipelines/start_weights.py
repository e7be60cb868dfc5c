"""The weights that the first stage starts from: found early, and read before anything is made.

Importing this module or finding a folder imports no torch; reading does.
"""

import tempfile
from pathlib import Path

from pipelines.config import RunConfig
from pipelines.foreign_models import as_model_folder, is_foreign
from vis_core.errors import ConfigError

# folder of a run that keeps what was converted
START = "start"
TINY_WEIGHTS = Path(__file__).resolve().parents[1] / "vis_core" / "weights" / "tiny"


def start_folder(config: RunConfig, cache: Path | None = None) -> Path | None:
    """Finds the model folder that the first stage starts from.

    Args:
        config: Of the run.
        cache: Keeps what is converted from other formats; None leaves it unconverted.

    Raises:
        ConfigError: It is not there.
    """
    if config.start_from is None:
        return None
    if _is_foreign(config.start_from):
        return as_model_folder(config.start_from, cache) if cache else Path(config.start_from)
    folder = TINY_WEIGHTS if config.start_from == "tiny" else Path(config.start_from).absolute()
    if not _is_file(folder / "weights.safetensors"):
        raise ConfigError(
            f"start_from: {str(folder):.200} holds no weights.safetensors; "
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
    with tempfile.TemporaryDirectory() as cache:
        folder = start_folder(config, Path(cache))
        if folder is None:
            return "random weights; published ones: --set start_from=FILE|FOLDER|hf:<id>"
        from vis_core.systems.build import taken_weights

        taken, wanted = taken_weights(config.system, folder)
    return f"{config.start_from}: {taken} of {wanted} tensors fit"


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
