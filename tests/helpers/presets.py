"""The systems of the small presets, read from the run files that users start from."""

from pathlib import Path

from pipelines.config.loading import load_run_config
from vis_core.config.systems import AnySystemConfig, CtvisConfig, IdolConfig

_PRESETS = Path(__file__).resolve().parents[2] / "jobs" / "configs"


def tiny_config(name: str) -> AnySystemConfig:
    """Returns the system of the tiny preset of ``ctvis``, ``minvis``, ``idol`` or ``stc``."""
    file = "tiny.yaml" if name == "ctvis" else f"{name}_tiny.yaml"
    return load_run_config(_PRESETS / file).system


def combined_config(name: str) -> CtvisConfig | IdolConfig:
    """Returns the tiny preset of ``ctvis`` or ``idol`` with the other one's segmentor."""
    config, other = tiny_config(name), tiny_config({"ctvis": "idol", "idol": "ctvis"}[name])
    assert isinstance(config, CtvisConfig | IdolConfig)
    values = config.model_dump(by_alias=True, exclude={"loss_weights"})
    return type(config).model_validate(values | {"segmentor": other.segmentor})
