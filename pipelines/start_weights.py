"""The weights that the first stage starts from. Imports no torch: what is absent is told early."""

from pathlib import Path

from pipelines.config import RunConfig
from pipelines.foreign_models import as_model_folder, is_foreign
from vis_core.errors import ConfigError

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
