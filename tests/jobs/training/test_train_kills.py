"""Real workers, drivers and nodes are killed; the training ends as if undisturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from pipelines.config.loading import load_run_config
from pipelines.registry.start_weights import start_folder
from pipelines.run.folder import read_run
from pipelines.run.steps import prepare
from pipelines.training.ray_trainer import stage_threads
from pipelines.training.stages import TrainingPlace, batch_plan
from pipelines.training.worker.job import StageJob
from pipelines.training.worker.loop import StageLoop, trained_system
from pipelines.training.worker.loss_log import read_losses

ROOT = Path(__file__).resolve().parents[3]
RUN_FILE = Path(__file__).with_name("train_kills.yaml")
# Kills of workers and of drivers, each; the short form has one of both.
KILLS = int(os.environ.get("LONGTAKE_RAY_KILLS", "1"))
WORKER = "ray::RayTrainWorker"

pytestmark = pytest.mark.slow


def started(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "jobs.cli", "train", "--out", str(folder), *words]
    with (folder.parent / "log.txt").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, text=True)


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    ends = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < ends, "nothing happens"
        time.sleep(0.05)


def last_step(folder: Path) -> int:
    rows = read_losses(folder / "losses.jsonl")
    return int(rows[-1]["step"]) if rows else 0


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Lists the training workers of a driver; its Ray processes are its children."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if WORKER in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reads the lines of losses without times and machine data."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("time", "system/"))}
        for row in rows
    ]


def train_without_ray(folder: Path, run: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """Runs the same training in this process; returns the weights and the lines of losses."""
    config = load_run_config(RUN_FILE)
    stage = config.stages[0]
    place = TrainingPlace(run, prepare(read_run(run)), run / "pseudo")
    start = start_folder(config)
    job = StageJob(
        config, stage, place.data.categories, start, folder, "calm", stage_threads(config)
    )
    plan = batch_plan(config, stage, place, "calm")
    threads = torch.get_num_threads()
    try:
        loop = StageLoop(job, 0, torch.device("cpu"))
        loop.run((step, plan.batch(0, step)) for step in range(stage.steps))
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    with job.checkpoints.newest(print) as found:
        assert found is not None
        return trained_system(found[1]).state_dict(), read_losses(job.losses_path)


def test_killed_workers_and_drivers_change_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    draw = random.Random(KILLS)
    steps = load_run_config(RUN_FILE).stages[0].steps
    places = sorted(draw.sample(range(10, steps - 10), 2 * KILLS + 1))
    process = started(folder, "--config", str(RUN_FILE))
    for number, place in enumerate(places[:-1]):
        wait_until(lambda place=place: last_step(folder) >= place, process)  # type: ignore[misc]
        time.sleep(draw.uniform(0, 0.5))
        workers = workers_of(process)
        if number % 2 == 0:
            for worker in workers:
                worker.kill()
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, left = psutil.wait_procs(workers, timeout=10)
        assert left == [], "orphans after 10 s"
        process = started(folder, "--resume")
    wait_until(lambda: last_step(folder) >= places[-1], process)
    process.terminate()
    assert process.wait(60) == 143
    text = (tmp_path / "log.txt").read_text()
    assert "longtake train: stopped; the same command resumes from here" in text
    process = started(folder, "--resume")
    assert process.wait(300) == 0, (tmp_path / "log.txt").read_text()
    weights, losses = train_without_ray(tmp_path / "calm", folder)
    found = load_file(folder / "models" / "videos" / "weights.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in found.items())
    assert plain(read_losses(folder / "losses.jsonl")) == plain(losses)
    check_metrics(folder, losses)
    text = (tmp_path / "log.txt").read_text()
    assert "stage videos: resuming after step" in text
    assert not (folder / "train").is_dir() or not any((folder / "train").iterdir())


def check_metrics(folder: Path, losses: list[dict[str, Any]]) -> None:
    """Checks that the tracking store has every line once, and the scores of the run in between."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    assert run.info.status == "FINISHED"
    name = "train/loss/total"
    history = sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
    assert history == [(row["step"], row[name]) for row in losses]
    steps = sorted(m.step for m in client.get_metric_history(run.info.run_id, "val/ap"))
    assert steps == [40, 80]
    assert run.data.tags["longtake.data"]
    pictures = {file.path for file in client.list_artifacts(run.info.run_id, "pictures")}
    assert pictures == {"pictures/predictions_videos.jpg"}


def test_a_node_that_is_lost_costs_only_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    two = tmp_path / "two.yaml"
    text = RUN_FILE.read_text().replace("evaluate_every: 40, ", "")
    two.write_text(text + "ray: {num_workers: 2}\n")
    environment = os.environ | {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_V2_ENABLED": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.two_nodes", str(two), str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.index("node removed") < said.index("stage videos: resuming after step")
    assert "nodes left: 1" in said
    rows = read_losses(folder / "losses.jsonl")
    assert [row["step"] for row in rows] == list(range(10, 81, 10))
    assert rows[-1]["train/loss/total"] < rows[0]["train/loss/total"]
    result = json.loads((folder / "stages.json").read_text())
    assert [stage["steps"] for stage in result] == [80]
