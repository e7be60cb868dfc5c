"""A training killed anywhere ends with the weights and losses of an undisturbed one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.config.run import RunConfig, StageConfig
from pipelines.training.worker.job import StageJob, read_scores
from pipelines.training.worker.loop import first_weights, trained_system
from pipelines.training.worker.loss_log import read_losses
from tests.helpers.killing import kill_places
from tests.helpers.presets import tiny_config
from tests.helpers.training_child import STEPS, Training
from vis_core.formats.categories import numbered
from vis_core.models.systems.build import build_system, save_system

AWS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")


def weights(training: Training) -> dict[str, torch.Tensor]:
    with training.job.checkpoints.newest(print) as found:
        assert found is not None
        step, folder = found
        assert step == STEPS
        return trained_system(folder).state_dict()


def losses(training: Training) -> list[dict[str, Any]]:
    """Reads the lines without times and machine data."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("time", "system/"))}
        for row in read_losses(training.folder / "losses.jsonl")
    ]


def assert_equal(one: Training, other: Training) -> None:
    theirs = weights(other)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(one).items())
    assert losses(one) == losses(other)


def notes(training: Training) -> str:
    path = training.job.notes_path
    return path.read_text() if path.is_file() else ""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Runs a training undisturbed."""
    training = Training(tmp_path_factory.mktemp("calm") / "run")
    assert training.run() == 0
    assert [row["step"] for row in losses(training)] == [STEPS]
    return training


def test_a_kill_at_any_place_changes_nothing(calm: Training, tmp_path: Path) -> None:
    for place in kill_places(calm.num_events()):
        killed = calm.in_(tmp_path / str(place))
        killed.run_to_the_end(place)
        assert_equal(killed, calm)
        assert killed.job.checkpoints.steps() == [8, 9], f"killed at {place}"


def test_kills_one_after_the_other_change_nothing(calm: Training, tmp_path: Path) -> None:
    training = calm.in_(tmp_path / "run")
    kills = 0
    while (code := training.run(kill_at=40)) != 0:
        assert code == -9
        kills += 1
        assert kills < 12, "it does not get on"
    assert kills >= 1
    assert_equal(training, calm)


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "no manifest", "bad manifest"])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_word(
    calm: Training, tmp_path: Path, damage: str
) -> None:
    training = calm.in_(tmp_path / "run")
    assert training.run() == 0
    newest = training.job.work / "checkpoints" / f"step-{STEPS:08d}"
    file = newest / "weights.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "flipped":
        content = bytearray(file.read_bytes())
        content[-50] ^= 1
        file.write_bytes(content)
    elif damage == "missing":
        file.unlink()
    elif damage == "no manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "manifest.json").write_text('{"files": [1]}')
    before = notes(training)
    assert training.run() == 0
    said = notes(training).removeprefix(before)
    assert f"the checkpoint of step {STEPS} is skipped" in said
    assert "resuming after step 8 of 9" in said
    assert_equal(training, calm)


def test_checkpoints_on_s3_survive_kills_too(
    calm: Training, tmp_path: Path, s3_bucket: str
) -> None:
    environment = {name: os.environ[name] for name in AWS}
    undisturbed = Training(tmp_path / "calm", f"{s3_bucket}/calm", environment)
    assert undisturbed.run() == 0
    assert_equal(undisturbed, calm)
    for place in kill_places(undisturbed.num_events(), share=0.4):
        killed = Training(tmp_path / str(place), f"{s3_bucket}/{place}", environment)
        killed.run_to_the_end(place)
        assert_equal(killed, calm)
    killed.job.checkpoints.remove()
    assert killed.job.checkpoints.steps() == []


def test_models_are_left_to_be_scored_but_not_again(tmp_path: Path) -> None:
    training = Training(tmp_path / "run", changes={"evaluate_every": 4})
    assert training.run() == 0
    candidates = training.job.candidates
    names = ["step-00000004", "step-00000008", "step-00000009"]
    assert sorted(path.name for path in candidates.iterdir()) == names
    (candidates / "step-00000009" / "categories.json").unlink()
    (candidates / "step-00000008" / "categories.json").unlink()
    (candidates / "scores.json").write_text(json.dumps({"9": {"ap": 0.5}}))
    training.job.checkpoints._remove(9, ["manifest.json"])
    training.job.checkpoints._remove(8, ["manifest.json"])
    assert training.run() == 0
    assert read_scores(candidates) == {9: {"ap": 0.5}}
    assert not (candidates / "step-00000009" / "categories.json").exists()


def test_layers_that_compute_twice_learn_the_same(calm: Training, tmp_path: Path) -> None:
    twice = Training(tmp_path / "run", changes={"recompute_activations": True})
    assert twice.run() == 0
    assert_equal(twice, calm)


@pytest.mark.parametrize("fresh_classes", [False, True])
def test_a_stage_with_other_classes_starts_with_new_class_heads(
    fresh_classes: bool, tmp_path: Path
) -> None:
    stage = StageConfig(name="videos", clips="videos", steps=1)
    config = RunConfig(system=tiny_config("idol"), stages=(stage,))
    before = build_system(config.system, 3)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.fill_(7.0)
    save_system(tmp_path / "pairs", before, numbered(("a", "b", "c")))
    arguments = config, stage, numbered(("d", "b")), tmp_path / "pairs", tmp_path, "key", 1, None
    after = first_weights(StageJob(*arguments, fresh_classes)).state_dict()
    heads = [name for name in after if "class_head" in name]
    assert heads
    for name in heads:
        rows = [bool((row == 7.0).all()) for row in after[name]]
        assert rows == [False, not fresh_classes]  # without the setting, "b" goes by its name
    trained = dict(before.named_parameters()).keys() - set(heads)
    assert all((after[name] == 7.0).all() for name in trained)
