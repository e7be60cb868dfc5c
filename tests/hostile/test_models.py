"""Hostile checkpoints and model folders: refused by name in one line, without running any code."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch

from pipelines.registry.model_folder import read_model_folder, verify_model_folder
from pipelines.registry.start_weights import TINY_WEIGHTS
from tests.conftest import ROOT, data_dir_or_none
from vis_core.config.model_files import WEIGHTS_FILE
from vis_core.errors import CheckpointError
from vis_core.models.systems.build import fit_problems, read_weights

pytestmark = [pytest.mark.data, pytest.mark.usefixtures("data_dir")]
PICKLES = (".pt", ".pth", ".pkl")
# runs the verbs one by one, each in its own fork, so that torch is loaded once
PROGRAM = """
import json, os, resource, sys, tempfile
import vis_core.models.importers.published
import pipelines.registry.mlflow_registry, pipelines.annotation.job
from jobs.cli import main
pages = int(open("/proc/self/statm").read().split()[0])
LIMIT = pages * resource.getpagesize() + 1_000_000_000  # the manifests allow 600 MB and more
for case in json.load(sys.stdin):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(tempfile.mkdtemp())
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
        os.dup2(write, 1), os.dup2(write, 2)
        code = 99
        try:
            code = main(case["argv"])
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            left = sorted(os.listdir("."))
            os.write(write, f"\\nleft {left}".encode())
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    status = os.waitpid(child, 0)[1]
    row = {"name": case["name"], "code": os.waitstatus_to_exitcode(status), "text": text}
    print(json.dumps(row))
"""


@cache
def refused() -> dict[str, tuple[Path, list[str]]]:
    """Lists every checkpoint and model folder to refuse, with words required in the message."""
    data = data_dir_or_none()
    if data is None:
        return {}
    manifest = json.loads((data / "hostile" / "manifest.json").read_text())
    found = {
        f"hostile/{entry['file']}": (data / "hostile" / entry["file"], entry["must_name"])
        for entry in manifest.get("entries") or manifest["files"]
        if entry["kind"] in ("checkpoint", "mlflow_model") and entry["expect"] == "reject"
    }
    more = json.loads((data / "hostile_more" / "expected.json").read_text())
    for name, entry in more.items():
        # a bit flip is whole and finite: only a registered model's digest detects it, see below
        if name == "models/bit_flipped.safetensors":
            continue
        if name.startswith("models/") and entry["outcome"] == "refuse":
            path = data / "hostile_more" / name
            found[f"hostile_more/{name}"] = (path, entry["must_mention"])
    return found


def files(*suffixes: str) -> list[str]:
    return sorted(name for name, (path, _) in refused().items() if path.suffix in suffixes)


@cache
def outcomes() -> dict[str, dict]:
    """Returns the outcomes of ``import-weights`` on pickles and ``annotate`` on model folders."""
    data = data_dir_or_none()
    assert data is not None
    video = next((data / "videos_raw").rglob("*.mp4"))
    cases = []
    start = [
        "train", "--dry-run", "--out", "run", "--config", "tiny", "--set",
    ]  # fmt: skip
    for name, (path, _) in refused().items():
        if path.is_file():
            model = path if path.suffix in PICKLES else posed_as_model(path)
            argv = [*start, f"start_from={model}"]
            cases.append({"name": f"start_from {name}", "argv": argv})
        if path.suffix in PICKLES:
            argv = ["import-weights", "--from", str(path), "--to", "model"]
        else:
            argv = ["annotate", str(video), "--model", str(path), "--out", "out"]
        if path.suffix in PICKLES or path.is_dir():
            cases.append({"name": name, "argv": argv})
    # the variable that switches off torch's own safety must change nothing
    environment = {
        **os.environ,
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "TRANSFORMERS_VERBOSITY": "error",  # as the command line sets it before the import
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=300,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: row for row in rows}


def posed_as_model(path: Path) -> Path:
    """Writes a model folder with the given weights, in a temporary folder of the session."""
    folder = Path(tempfile.mkdtemp(prefix=path.stem)) / path.name
    shutil.copytree(TINY_WEIGHTS, folder)
    shutil.copy(path, folder / WEIGHTS_FILE)
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    return folder


@pytest.mark.parametrize("name", files(*PICKLES, ".safetensors"))
def test_no_training_starts_from_it(name: str) -> None:
    outcome = outcomes()[f"start_from {name}"]
    message, _, left = outcome["text"].rstrip().rpartition("\nleft ")
    assert outcome["code"] == 2, outcome["text"]
    assert left == "[]", "something was written"
    assert "Traceback" not in message
    assert message.strip().count("\n") == 0
    assert refused()[name][0].name in message


@pytest.mark.parametrize(
    "name", [*files(*PICKLES), *sorted(n for n, (path, _) in refused().items() if path.is_dir())]
)
def test_a_verb_refuses_it_in_one_line_and_runs_nothing(name: str) -> None:
    outcome = outcomes()[name]
    message, _, left = outcome["text"].rstrip().rpartition("\nleft ")
    assert outcome["code"] == 2, outcome["text"]
    assert left == "[]", "something was written"
    assert "Traceback" not in message
    assert message.strip().count("\n") == 0
    assert refused()[name][0].name in message
    assert "weights_only" not in message  # no advice to switch off the safety


@pytest.mark.parametrize("name", files(".safetensors"))
def test_a_safetensors_file_that_lies_or_does_not_fit_is_refused(name: str) -> None:
    path, must_name = refused()[name]
    stated = path.parent / "expected_tensors.json"
    with pytest.raises(CheckpointError) as caught:
        weights = read_weights(path)
        assert stated.is_file(), "nothing in it is wrong by itself"
        problems = fit_problems(expected_tensors(stated), weights)
        if problems:
            raise CheckpointError(f"{path}: " + "; ".join(problems))
    assert [word for word in [*must_name, path.name] if word not in str(caught.value)] == []


def expected_tensors(path: Path) -> dict[str, torch.Tensor]:
    shapes = json.loads(path.read_text())["shapes"]
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def test_a_flipped_bit_is_found_by_the_digest(tmp_path: Path) -> None:
    data = data_dir_or_none()
    assert data is not None
    expected = json.loads((data / "hostile_more" / "expected.json").read_text())
    entry = expected["models/bit_flipped.safetensors"]
    shutil.copytree(TINY_WEIGHTS, tmp_path / "model")
    weights = tmp_path / "model" / WEIGHTS_FILE
    shutil.copy(data / "hostile_more/models/good.safetensors", weights)
    recorded = read_model_folder(tmp_path / "model").sha256
    assert recorded[WEIGHTS_FILE] == entry["recorded_sha256"]
    shutil.copy(data / "hostile_more/models/bit_flipped.safetensors", weights)
    with pytest.raises(CheckpointError, match=entry["must_mention"][0]):
        verify_model_folder(tmp_path / "model", recorded, "models:/m/1")
