"""Stages one after the other: which are trained, which are left alone, which are refused."""

from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from pipelines.config.loading import load_run_config
from pipelines.config.run import RunConfig
from pipelines.data.run_data import RunData
from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.storage.open import absolute_uri
from pipelines.training import stages
from pipelines.training.listener import StageResult
from pipelines.training.stages import TrainingPlace, run_stages
from pipelines.training.worker.loop import stage_loss_weights
from vis_core.errors import ConfigError
from vis_core.formats.categories import numbered
from vis_core.models.systems.build import build_system

STC = Path(__file__).resolve().parents[3] / "jobs" / "configs" / "stc_tiny.yaml"


class Data:
    """What the names of stages depend on."""

    categories = numbered(("a", "b"))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the stages that are trained, instead of training them."""
    names: list[str] = []

    def train_and_score(
        config: RunConfig, stage: Any, place: TrainingPlace, start: Path | None, key: str, *_: Any
    ) -> StageResult:
        assert start is None or start.is_dir()
        assert config.stages
        names.append(stage.name)
        result = StageResult(stage.name, stage.steps, 1.0, {"ap": 0.5}, place.model(stage.name))
        result.model.mkdir(parents=True, exist_ok=True)
        (place.folder / "evaluation" / stage.name).mkdir(parents=True, exist_ok=True)
        stages._mark_finished(place, result, key)
        return result

    monkeypatch.setattr(stages, "_train_and_score", train_and_score)
    return names


def place(folder: Path) -> TrainingPlace:
    data: RunData = Data()  # type: ignore[assignment]
    return TrainingPlace(folder, data, folder / "pseudo")


def test_one_stage_is_trained_after_the_ones_before_it(trained: list[str], tmp_path: Path) -> None:
    config = load_run_config(STC, ["start_from=null"])
    assert [stage.name for stage in config.stages] == ["images", "videos"]
    with pytest.raises(ConfigError, match="stage images before it is not finished"):
        run_stages(config, place(tmp_path), only="videos")
    with pytest.raises(ConfigError, match="no such stage; the run has images, videos"):
        run_stages(config, place(tmp_path), only="pairs")
    assert trained == []
    assert [r.name for r in run_stages(config, place(tmp_path), only="images")] == ["images"]
    assert [r.name for r in run_stages(config, place(tmp_path), only="images")] == ["images"]
    assert trained == ["images"]
    results = run_stages(config, place(tmp_path), only="videos")
    assert [result.name for result in results] == trained == ["images", "videos"]
    run_stages(config, place(tmp_path))
    assert trained == ["images", "videos"]


def test_other_settings_train_a_stage_and_all_after_it_again(
    trained: list[str], tmp_path: Path
) -> None:
    run_stages(load_run_config(STC, ["start_from=null"]), place(tmp_path / "a"))
    changed = load_run_config(STC, ["start_from=null", "stages.1.steps=7"])
    run_stages(changed, place(tmp_path / "a"))
    assert trained == ["images", "videos", "videos"]


def test_only_a_run_can_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "--out", str(tmp_path / "none")]) == 2
    assert "not a run folder (no run.json)" in capsys.readouterr().err


def test_a_stage_may_start_elsewhere_and_weigh_losses_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = {}

    def train_and_score(
        _: RunConfig, stage: Any, place: TrainingPlace, start: Path | None, *__: Any
    ) -> StageResult:
        starts[stage.name] = start
        result = StageResult(stage.name, stage.steps, 1.0, {"ap": 0.5}, place.model(stage.name))
        result.model.mkdir(parents=True)
        return result

    monkeypatch.setattr(stages, "_train_and_score", train_and_score)
    own = ["start_from=null", "stages.1.start_from=tiny", "stages.1.loss_weights={box: 2.5}"]
    run_stages(load_run_config(STC, own), place(tmp_path))
    assert starts == {"images": None, "videos": TINY_WEIGHTS}
    system = build_system(load_run_config(STC, own).system, 2)
    weights = stage_loss_weights(system, load_run_config(STC, own).stages[1].loss_weights)
    assert weights == system.loss_weights | {"box": 2.5}
    wrong = load_run_config(STC, ["stages.1.loss_weights={boxes: 1.0}"])
    with pytest.raises(ConfigError, match=r"stages.1.loss_weights.boxes: stc has no such loss"):
        run_stages(wrong, place(tmp_path / "other"))


def test_a_folder_of_checkpoints_means_the_same_in_every_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("kept/here") == str(tmp_path / "kept" / "here")
    assert absolute_uri("s3://bucket/prefix") == "s3://bucket/prefix"
    assert absolute_uri(None) is None


def test_other_pseudo_videos_train_anew(trained: list[str], tmp_path: Path) -> None:
    for change in ("clips_per_image=1", "clips_per_image=2", "stream_pseudo=true"):
        run_stages(load_run_config(STC, ["start_from=null", change]), place(tmp_path))
    assert trained == ["images", "videos"] * 3
