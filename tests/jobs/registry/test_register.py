import json
import sys

import pytest

import pipelines.registry.mlflow_registry as registry
from jobs.cli import main
from tests.helpers.mlflow import migrated_store
from tests.helpers.models import make_model


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Sets up a store and a check that passes: the real one needs a model of this project."""
    file = tmp_path / "store" / "mlflow.db"
    file.parent.mkdir()
    file.write_bytes(migrated_store())
    monkeypatch.setattr(registry, "MODEL_CHECK", (sys.executable, "-c", ""))
    return f"sqlite:///{file}"


def register(tmp_path, store, *more):
    run_dir = ["--run-dir", str(tmp_path / "runs")]
    model = str(make_model(tmp_path / "model"))
    return main(["register", model, "--name", "toy", "--tracking-uri", store, *run_dir, *more])


def test_the_command_registers_and_says_the_version_and_the_move(tmp_path, store, capsys):
    (tmp_path / "scores.json").write_text(json.dumps({"ap": 0.31}))
    assert register(tmp_path, store, "--metrics", str(tmp_path / "scores.json")) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("toy version 1 (") and out[1] == "champion: none -> 1"
    assert register(tmp_path, store, "--no-alias") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert register(tmp_path, store, "--json") == 0
    assert json.loads(capsys.readouterr().out)["alias"] == "champion"


def test_a_folder_that_is_no_model_is_one_line_and_exit_2(tmp_path, store, capsys):
    arguments = ["register", str(tmp_path), "--name", "toy", "--tracking", store]
    assert main([*arguments, "--run-dir", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "weights.safetensors" in error


@pytest.mark.parametrize("text", ["[1]", "{", '{"ap": "high"}'])
def test_scores_of_another_shape_are_refused_before_anything_else(tmp_path, store, text, capsys):
    (tmp_path / "scores.json").write_text(text)
    assert register(tmp_path, store, "--metrics", str(tmp_path / "scores.json")) == 2
    assert "--metrics" in capsys.readouterr().err
