"""The verb ``longtake learn``: systems side by side on the same scenes."""

import json
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.options import CONFIGS
from pipelines.config.loading import load_run_config
from pipelines.experiments.backbone_pretraining import write_backbone
from pipelines.experiments.comparison import (
    FROM_SCRATCH,
    SYSTEMS,
    learning_changes,
    scratch_changes,
    shared_batches,
)
from pipelines.registry.start_weights import check_start

SMALL = {
    "synthetic.images": 8,
    "synthetic.train_videos": 2,
    "synthetic.val_videos": 1,
    "synthetic.test_videos": 1,
    "synthetic.archive_videos": 1,
    "synthetic.video_frames": 4,
    "stages.0.steps": 4,
    "stages.0.evaluate_every": 2,
    "stages.1.steps": 2,
    "sweep.trials": 2,
}


def test_all_systems_learn_on_the_same_scenes() -> None:
    configs = [
        load_run_config(CONFIGS / f"{preset}.yaml", learning_changes(name))
        for name, (preset, _) in SYSTEMS.items()
    ]
    assert len({config.synthetic.model_dump_json() for config in configs}) == 1
    assert len({config.inference.chunk_frames for config in configs}) == 1
    assert [config.system.name for config in configs] == list(SYSTEMS)  # type: ignore[union-attr]


def test_from_random_weights_a_backbone_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "backbone"
    write_backbone(folder, 4, seed=0)
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    write_backbone(folder, 4, seed=0)
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before, "it is there"
    assert [path.name for path in folder.parent.iterdir()] == ["backbone"]
    scenes = set()
    for name, (preset, _) in SYSTEMS.items():
        changes = learning_changes(name) + scratch_changes(name, folder)
        config = load_run_config(CONFIGS / f"{preset}.yaml", changes)
        assert tuple(stage.steps for stage in config.stages) == FROM_SCRATCH[name]
        assert check_start(config).startswith(f"{folder}: ")
        scenes.add(config.synthetic.model_dump_json())
    assert len(scenes) == 1, "the same for every system"


def test_a_number_of_backbone_steps_below_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["learn", "stc", "--from-scratch", "--backbone-steps", "-1", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "--backbone-steps: expected 0 or more, found '-1'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_epochs_which_would_not_be_comparable_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["learn", "stc", "--dry-run", "--out", str(tmp_path), "--set", "stages.1.epochs=1"]
    assert main(words) == 2
    assert "stc: expected stages with steps, found epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ("0", "--workers: expected 1 or more, found '0'"),
        ("3", "divides the 8 clips of a batch of ctvis (stage images), found 3"),
    ],
)
def test_workers_that_cannot_share_a_batch_are_refused(
    workers: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["learn", "ctvis", "--workers", workers, "--out", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_workers_share_the_batches() -> None:
    preset = CONFIGS / "tiny.yaml"
    alone = load_run_config(preset, learning_changes("ctvis"))
    shared = load_run_config(preset, [*learning_changes("ctvis"), *shared_batches(alone, 2)])
    assert shared.ray.num_workers == 2
    assert [stage.batch_size for stage in shared.stages] == [4, 1, 1]
    assert [stage.batch_size for stage in alone.stages] == [8, 2, 2]


def test_an_unknown_system_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", "vita", "--out", str(tmp_path)]) == 2
    assert "vita: no such system; expected one of ctvis, idol" in capsys.readouterr().err


@pytest.mark.slow
def test_systems_are_trained_scored_and_laid_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["learn", "minvis", "stc", "--out", str(tmp_path / "runs")]
    for key, value in SMALL.items():
        words += ["--set", f"{key}={value}"]
    assert main(words) == 0
    rows = json.loads((tmp_path / "runs" / "table.json").read_text())
    assert [row["system"] for row in rows] == ["minvis", "stc"]
    assert all(row["steps"] == 6 and set(row["scores"]) >= {"AP", "HOTA", "IDF1"} for row in rows)
    said = capsys.readouterr().out
    assert "| minvis | 6 |" in said and "| stc | 6 |" in said
    assert (tmp_path / "runs" / "curves.html").read_text().count("<figure") == 2
    curve = json.loads(
        (tmp_path / "runs" / "stc" / "evaluation" / "images" / "on_the_way.json").read_text()
    )
    assert list(curve) == ["2", "4"]
    before = (tmp_path / "runs" / "stc" / "losses.jsonl").read_bytes()
    assert main(words) == 0, "the second time nothing is trained"
    assert (tmp_path / "runs" / "stc" / "losses.jsonl").read_bytes() == before
