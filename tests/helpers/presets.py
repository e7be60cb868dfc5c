"""The systems of the small presets, read from the run files that users start from."""

from pathlib import Path

from pipelines.config.loading import load_run_config
from vis_core.config.systems import AnySystemConfig

_PRESETS = Path(__file__).resolve().parents[2] / "jobs" / "configs"


def tiny_config(name: str) -> AnySystemConfig:
    """Returns the system of the tiny preset of ``ctvis``, ``minvis``, ``idol`` or ``stc``."""
    file = "tiny.yaml" if name == "ctvis" else f"{name}_tiny.yaml"
    return load_run_config(_PRESETS / file).system
