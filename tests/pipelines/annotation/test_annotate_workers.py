"""Workers of an archive job die, and jobs are stopped: the whole archive is still annotated."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import toy_loaders
from tests.helpers.toy_archive import add_poison, annotate, statuses, toy_archive, tree
from vis_core.config.inference import InferenceConfig
from vis_core.errors import CheckpointError, MachineError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_a_model_that_does_not_load_is_an_error_at_once(tmp_path, model):
    videos = toy_archive(tmp_path / "videos")
    with pytest.raises(CheckpointError, match="weights do not fit"):
        annotate(videos, tmp_path / "out", model, load=toy_loaders.load_that_is_refused)
    with pytest.raises(MachineError, match="3 workers were lost while they loaded"):
        annotate(videos, tmp_path / "out", model, load=toy_loaders.load_that_dies)
    assert not (tmp_path / "out").exists()


def test_a_killed_worker_costs_nothing(tmp_path, model):
    videos = toy_archive(tmp_path / "videos")
    add_poison(videos)
    calm = annotate(videos, tmp_path / "calm", model)
    killed = annotate(
        videos, tmp_path / "killed", model, toy_loaders.load_that_dies_once, workers=2
    )
    assert (model.path / "died").exists()
    assert statuses(killed) == statuses(calm)
    assert set(statuses(killed).values()) == {"done"}
    assert tree(tmp_path / "killed") == tree(tmp_path / "calm")


@pytest.mark.parametrize(
    "load, reason",
    [
        (toy_loaders.load_that_dies_on_poison, "lost its worker 3 times"),
        (toy_loaders.load_that_breaks_on_poison, "RuntimeError: CUDA out of memory"),
    ],
)
def test_a_video_that_ends_its_worker_three_times_is_put_aside(load, reason, tmp_path, model):
    videos = toy_archive(tmp_path / "videos")
    add_poison(videos)
    summary = annotate(videos, tmp_path / "out", model, load=load)
    assert statuses(summary) == {
        "clip0.mp4": "done",
        "clip1.mp4": "done",
        "clip2.mp4": "done",
        "poison.mp4": "quarantined",
    }
    assert reason in summary.having("quarantined")[0].reason
    redone = annotate(videos, tmp_path / "out", model, redo="failed")
    assert set(statuses(redone).values()) == {"done"}


def test_a_killed_worker_of_segments_costs_nothing_and_a_killer_is_put_aside(tmp_path, model):
    videos = toy_archive(tmp_path / "videos", count=1, frames=17)
    add_poison(videos)
    options = {"segments": 3, "save_every": 4, "workers": 2}
    died = annotate(videos, tmp_path / "out", model, toy_loaders.load_that_dies_once, **options)
    assert statuses(died) == {"clip0.mp4": "done", "poison.mp4": "done"}
    annotate(videos, tmp_path / "whole", model, segments=1)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    killer = toy_loaders.load_that_dies_on_poison
    summary = annotate(videos, tmp_path / "killed", model, killer, **options)
    assert statuses(summary) == {"clip0.mp4": "done", "poison.mp4": "quarantined"}
    assert not any(key.startswith("unfinished/") for key in tree(tmp_path / "killed"))


def test_of_videos_at_once_only_the_one_that_ends_its_worker_is_put_aside(tmp_path, model):
    videos = toy_archive(tmp_path / "videos", count=4)
    add_poison(videos)
    config = InferenceConfig(videos_at_once=5)
    killer = toy_loaders.load_that_dies_on_poison
    summary = annotate(videos, tmp_path / "out", model, killer, config=config)
    done = {f"clip{number}.mp4": "done" for number in range(4)}
    assert statuses(summary) == {**done, "poison.mp4": "quarantined"}


SCRIPT = """
import signal
import sys
from dataclasses import replace
from pathlib import Path
from pipelines.annotation.job import annotate_archive
from pipelines.annotation.options import AnnotateOptions
from tests.helpers import toy_loaders
from tests.helpers.toy_archive import toy_model
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    root = Path(sys.argv[1])
    summary = annotate_archive(
        root / "videos", root / "out", toy_model(root / "model"),
        options=AnnotateOptions(workers=2), load=getattr(toy_loaders, sys.argv[2]),
    )
    print("interrupted", summary.interrupted, len(summary.rows), summary.num_pending, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_job_goes_on_where_it_stopped(ending, tmp_path, model):
    videos = toy_archive(tmp_path / "videos", 6, frames=8)
    annotate(videos, tmp_path / "calm", model)
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), "load_slow"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    results = tmp_path / "out" / "results"
    waited = time.monotonic()
    while not (results.is_dir() and any(results.iterdir())):
        assert time.monotonic() - waited < 300
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, ending)
    output, _ = process.communicate(timeout=60)
    if ending == signal.SIGINT:
        assert "interrupted True" in output
    finished = {path.name: path.read_bytes() for path in results.iterdir()}
    assert 0 < len(finished) < 6
    summary = annotate(videos, tmp_path / "out", model)
    assert summary.num_skipped == len(finished)
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")
