"""The whole demonstration: it ends, repeats nothing, and survives interrupts and kills."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "synthetic.images": 12,
    "synthetic.train_videos": 3,
    "synthetic.val_videos": 2,
    "synthetic.test_videos": 2,
    "synthetic.archive_videos": 2,
    "synthetic.video_frames": 6,
    "stages.0.steps": 4,
    "stages.0.checkpoint_every": 2,
    "stages.1.steps": 30,
    "stages.1.checkpoint_every": 5,
    "stages.2.steps": 2,
    "sweep.trials": 2,
}
# A shell's background job ignores Ctrl-C, and the tests may be one.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from jobs.cli import main
sys.exit(main(sys.argv[1:]))
"""
pytestmark = pytest.mark.slow


def start(folder: Path) -> subprocess.Popen[str]:
    """Starts the demonstration in its own process group, from the folder above it."""
    changes = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "demo", "--out", folder.name, *changes],
        cwd=folder.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path) -> str:
    process = start(folder)
    output, _ = process.communicate(timeout=420)
    assert process.returncode == 0, output
    return output


def stop_when(folder: Path, stage: str, step: int, how: signal.Signals) -> tuple[int, str]:
    """Starts the demonstration and ends it once the losses of a step are written."""
    process = start(folder)
    losses = folder / "losses.jsonl"
    waited = time.monotonic()
    while not (losses.is_file() and reached(losses, stage, step)):
        assert time.monotonic() - waited < 240
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    os.killpg(process.pid, how)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def reached(losses: Path, stage: str, step: int) -> bool:
    rows = [json.loads(line) for line in losses.read_text().splitlines() if line.endswith("}")]
    return any(row["stage"] == stage and row["step"] >= step for row in rows)


def content(folder: Path) -> dict[str, str]:
    """Reads a run's output: weights, pseudo-videos, annotations, losses without their times."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name.split("/")[0] in ("data", "pseudo", "annotations", "models"):
            kept[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return kept


def weights(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in content(folder).items() if name.endswith("tensors")}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calm") / "run"
    output = run(folder)
    assert f"the report is {folder / 'report.html'}" in output
    assert "Traceback" not in output
    return folder


def test_every_step_leaves_its_result(calm: Path) -> None:
    scores = json.loads((calm / "evaluation.json").read_text())
    assert 0 <= scores["ap"] <= scores["ap50"] <= 1
    stages = json.loads((calm / "stages.json").read_text())
    assert [(row["name"], row["steps"]) for row in stages] == [
        ("images", 4),
        ("pseudo", 30),
        ("videos", 2),
    ]
    assert len(list((calm / "overlays").glob("*.mp4"))) == 2
    assert len(list((calm / "annotations" / "results").iterdir())) == 2
    page = (calm / "report.html").read_text()
    assert f"{scores['ap']:.3f}" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")


def test_a_second_time_there_is_nothing_to_do(calm: Path) -> None:
    before = content(calm)
    output = run(calm)
    assert output.count("nothing to do") >= 4
    assert content(calm) == before


def test_a_run_that_was_stopped_and_killed_ends_like_a_calm_one(calm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code, output = stop_when(folder, "images", 4, signal.SIGINT)
    assert code == 130, output
    assert "the same command resumes from here" in output
    assert "Traceback" not in output
    code, _ = stop_when(folder, "pseudo", 20, signal.SIGKILL)
    assert code == -signal.SIGKILL
    output = run(folder)
    assert "stage images is finished, nothing to do" in output
    assert weights(folder) == weights(calm)
    assert (folder / "evaluation.json").read_text() == (calm / "evaluation.json").read_text()
