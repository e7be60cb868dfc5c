"""Real actors and drivers of an archive job are killed; it ends as if undisturbed.

``LONGTAKE_RAY_KILLS=20`` kills twenty workers and twenty drivers.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.toy_archive import toy_archive, toy_model, tree

ROOT = Path(__file__).resolve().parents[3]
# Kills of workers and of drivers, each; the short form has one of both.
KILLS = int(os.environ.get("LONGTAKE_RAY_KILLS", "1"))
WORKERS = 2
# Ray's own helper processes check for it now and then; on a busy machine they outlast it a little
AGENTS = ("ray::RuntimeEnvAgent", "ray::DashboardAgent")
DRIVER = """
import sys
from pathlib import Path
from pipelines.annotation.job import annotate_archive
from pipelines.annotation.options import AnnotateOptions
from tests.helpers import toy_loaders
from tests.helpers.toy_archive import toy_model
root = Path(sys.argv[1])
summary = annotate_archive(
    root / "videos", root / sys.argv[2], toy_model(root / "model"),
    options=AnnotateOptions(workers=2, save_every=4), load=getattr(toy_loaders, sys.argv[3]),
)
assert len(summary.having("done")) == len(summary.rows), summary.describe()
"""
pytestmark = [pytest.mark.slow, pytest.mark.ray]


def started(root: Path, out: str, load: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-c", DRIVER, str(root), out, load]
    with (root / "log.txt").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def processes_of(driver: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Lists all processes that a driver has started."""
    return psutil.Process(driver.pid).children(recursive=True)


def actors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Lists those processes that annotate."""
    found = []
    for process in processes:
        try:
            if "ray::VideoAnnotator" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for_work(root: Path, driver: "subprocess.Popen[str]", num_begun: int) -> bool:
    """Waits until one more video has begun; returns False if the job ends first."""
    ends = time.monotonic() + 240
    while driver.poll() is None:
        if begun(root) > num_begun:
            return True
        assert time.monotonic() < ends, (root / "log.txt").read_text()
        time.sleep(0.05)
    return False


def begun(root: Path) -> int:
    path = root / "model" / "begun"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def test_killed_workers_and_drivers_cost_a_video_each_and_change_nothing(tmp_path: Path) -> None:
    num_videos = 5 + 3 * KILLS
    toy_archive(tmp_path / "videos", num_videos)
    toy_model(tmp_path / "model")
    assert started(tmp_path, "calm", "load_toy").wait(300) == 0, (tmp_path / "log.txt").read_text()
    draw = random.Random(KILLS)
    killed = {"workers": 0, "drivers": 0}
    for _ in range(KILLS):
        driver = started(tmp_path, "out", "load_counted")
        for what in ("workers", "drivers"):
            if not wait_for_work(tmp_path, driver, begun(tmp_path)):
                break
            time.sleep(draw.uniform(0, 2))
            processes = processes_of(driver) if driver.poll() is None else []
            if what == "workers" and (found := actors(processes)):
                draw.choice(found).kill()
                killed[what] += 1
            elif what == "drivers" and processes:
                driver.kill()
                driver.wait()
                _, left = psutil.wait_procs(processes, timeout=10)
                late = [process for process in left if process.name() not in AGENTS]
                assert late == [], f"orphans after 10 s: {late}"
                _, left = psutil.wait_procs(left, timeout=60)
                assert left == [], f"orphans after 70 s: {left}"
                killed[what] += 1
    assert killed == {"workers": KILLS, "drivers": KILLS}
    assert started(tmp_path, "out", "load_counted").wait(600) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")
    redone = begun(tmp_path) - num_videos
    print(f"{killed}: {redone} videos begun again")
    assert redone <= KILLS + WORKERS * KILLS
