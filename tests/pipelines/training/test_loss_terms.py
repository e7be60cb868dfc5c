"""No recipe starts with one loss that drowns the others."""

import re
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.options import CONFIGS
from pipelines.config.loading import digest, load_run_config
from pipelines.config.run import RunConfig, StageConfig
from pipelines.training.loss_terms import DOMINANT, dominance, loss_terms, num_frames

_RATIOS: dict[str, tuple[str, float]] = {}


def with_tiny_backbone(config: RunConfig) -> RunConfig:
    """Returns the recipe with a small random backbone, which keeps the losses' scale."""
    segmentor = config.system.segmentor.model_copy(update={"backbone": "tiny"})
    system = config.system.model_copy(update={"segmentor": segmentor})
    return config.model_copy(update={"system": system, "start_from": None})


def ratio(config: RunConfig, stage: StageConfig) -> tuple[str, float]:
    """Returns the name of a stage's largest loss, and its ratio to all others together."""
    frames = num_frames(config, stage)
    inference = {"selection", "association", "test_short_side", "test_max_long_side"}
    training = config.system.model_dump(mode="json", exclude=inference)
    key = digest(training, frames, stage.loss_weights)
    if key not in _RATIOS:
        terms = loss_terms(config, stage)
        _RATIOS[key] = terms[0].name, dominance(terms)
    return _RATIOS[key]


def excused(recipe: str) -> set[str]:
    """Returns the losses excused in a recipe: ``# dominant loss: NAME, because ...``."""
    text = (CONFIGS / f"{recipe}.yaml").read_text()
    return set(re.findall(r"# dominant loss: (\w+), because ", text))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_no_loss_of_a_recipe_is_ten_times_the_others_at_step_0(recipe: str) -> None:
    config = with_tiny_backbone(load_run_config(CONFIGS / f"{recipe}.yaml"))
    for stage in config.stages:
        name, times = ratio(config, stage)
        assert times <= DOMINANT or name in excused(recipe), f"{stage.name}: {name} is {times:.1f}x"


def test_a_dominant_loss_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "stc_tiny", "--dry-run", "--terms", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert "hardly learn" not in (plan := capsys.readouterr().out)
    assert re.search(r"stage videos: clips of 2 frames\n  \w+ +[\d.]+ x [\d.]+ += +[\d.]+", plan)
    assert main([*command, "--set", "system.loss_weights.class=500"]) == 0
    assert re.search(r"  class is \d+ times the sum of the other", capsys.readouterr().out)
    assert not (tmp_path / "run").exists()


def test_terms_belong_to_a_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "stc_tiny", "--terms", "--out", str(tmp_path / "run")]) == 2
    assert "--terms only works with --dry-run" in capsys.readouterr().err
