"""Workers of an archive job die, and jobs are stopped: the whole archive is still annotated."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.exceptions import RayError

from pipelines.annotation.actor_pool import AnnotatorPool, _Worker
from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.work_queue import WorkQueue
from pipelines.annotation.worker import MAX_DEATHS, AnnotateJob
from pipelines.storage.local import LocalStorage
from tests.helpers import toy_loaders
from tests.helpers.toy_archive import add_poison, annotate, statuses, toy_archive, tree
from vis_core.config.inference import InferenceConfig
from vis_core.errors import CheckpointError, MachineError, VisError

ROOT = Path(__file__).resolve().parents[4]
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


def test_a_video_that_ends_its_worker_three_times_is_put_aside(tmp_path, model):
    videos = toy_archive(tmp_path / "videos")
    add_poison(videos)
    summary = annotate(videos, tmp_path / "out", model, load=toy_loaders.load_that_dies_on_poison)
    assert statuses(summary) == {
        "clip0.mp4": "done",
        "clip1.mp4": "done",
        "clip2.mp4": "done",
        "poison.mp4": "quarantined",
    }
    assert "lost its worker 3 times" in summary.having("quarantined")[0].reason
    kept = annotate(videos, tmp_path / "out", model, redo="machine-errors")
    assert len(kept.having("quarantined")) == 1, "its process died, so the video may be the cause"
    redone = annotate(videos, tmp_path / "out", model, redo="failed")
    assert set(statuses(redone).values()) == {"done"}


@pytest.mark.parametrize("config", [None, InferenceConfig(videos_at_once=4)])
def test_an_unexplained_error_leaves_its_video_to_the_next_run(config, tmp_path, model):
    videos = toy_archive(tmp_path / "videos")
    add_poison(videos)
    broken = toy_loaders.load_that_breaks_on_poison
    with pytest.raises(MachineError, match="1 videos are not .* poison.mp4 .ValueError: no such"):
        annotate(videos, tmp_path / "out", model, broken, config)
    assert not any(key.startswith("failed/") for key in tree(tmp_path / "out"))
    summary = annotate(videos, tmp_path / "out", model, config=config)
    assert set(statuses(summary).values()) == {"done"}
    assert summary.num_skipped == 3


def test_unexplained_errors_of_many_videos_end_the_job(tmp_path, model):
    videos = tmp_path / "videos"
    for number in range(9):
        add_poison(videos, f"poison{number}.mp4")
    with pytest.raises(MachineError, match="3 videos are not annotated"):
        annotate(videos, tmp_path / "out", model, toy_loaders.load_that_breaks_on_poison)


def test_a_gpu_error_ends_the_job_at_once(tmp_path, model):
    videos = toy_archive(tmp_path / "videos")
    add_poison(videos)
    with pytest.raises(MachineError, match=r"CUDA error.* \(while it processed poison.mp4\)"):
        annotate(videos, tmp_path / "out", model, toy_loaders.load_with_gpu_error_on_poison)
    assert not any(key.startswith("failed/") for key in tree(tmp_path / "out"))


@pytest.fixture
def tiny_disk(tmp_path):
    """Mounts a disk of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    "trouble, options",
    [
        ("full", {}),
        pytest.param("read-only", {}, marks=pytest.mark.slow),
        pytest.param("full", {"segments": 2}, marks=pytest.mark.slow),
        pytest.param("full", {"segments": 2, "join": "stitched"}, marks=pytest.mark.slow),
    ],
)
def test_a_tiny_disk_ends_the_job_and_room_resumes_it(trouble, options, tiny_disk, tmp_path, model):
    if trouble == "full":
        (tiny_disk / "filling").write_bytes(b"f" * 15 * 4096)
    else:
        subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    check_small_machine(tmp_path, model, {"tempdir": str(tiny_disk)}, r"tiny", **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "limits, mend",
    [
        ({"tempdir": "/removed/folder"}, "restore /removed/folder, or set TMPDIR"),
        ({"RLIMIT_FSIZE": 100}, "make room in .*, or set TMPDIR"),
        ({"RLIMIT_NOFILE": 8}, "raise the limit on open files"),
    ],
    ids=["removed", "file size", "open files"],
)
def test_a_small_machine_ends_the_job_and_the_same_command_resumes_it(
    limits, mend, tmp_path, model
):
    check_small_machine(tmp_path, model, limits, mend)


def check_small_machine(tmp_path, model, limits, mend, **options):
    """Annotates on a machine with limits, which is refused, and then without them."""
    options = {"save_every": 4, "workers": 2, **options}
    load = toy_loaders.load_that_remembers_on_a_small_machine
    videos, out = toy_archive(tmp_path / "videos"), tmp_path / "out"
    (model.path / "limits.json").write_text(json.dumps(limits))
    with pytest.raises(VisError, match=mend) as caught:
        annotate(videos, out, model, load, **options)
    assert caught.value.exit_code == 4
    assert len(str(caught.value)) <= 400
    assert not any(key.startswith("failed/") for key in tree(out))
    (model.path / "limits.json").write_text("{}")
    assert set(statuses(annotate(videos, out, model, load, **options)).values()) == {"done"}


def test_a_video_whose_nodes_are_lost_is_not_put_aside(model, tmp_path):
    (video,) = list_archive(toy_archive(tmp_path / "videos", 1)).videos
    ledger = Ledger(LocalStorage(tmp_path / "out"), "settings")
    job = AnnotateJob(LocalStorage(tmp_path / "videos"), ledger, model, InferenceConfig())
    pool, queue = AnnotatorPool(job, 1), WorkQueue([video], {video.key: 1})
    lost = RayError("The actor died because its node has died. Node Id: 1")
    for _ in range(MAX_DEATHS):
        assert pool._after_loss(_Worker(None, {}), queue.take(), lost, queue) is None
    assert queue.is_closed(video)
    assert not tree(tmp_path / "out")
    with pytest.raises(MachineError, match="its node was lost"):
        pool._raise_unexplained()


TWO_NODES = """
import json
import sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from tests.helpers import toy_loaders
from tests.helpers.toy_archive import annotate, statuses, toy_model
from vis_core.errors import MachineError
if __name__ == "__main__":
    root = Path(sys.argv[1])
    model = toy_model(root / "model")
    small = {"object_store_memory": 80_000_000, "num_cpus": 1}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    cluster.add_node(**small)
    cluster.wait_for_nodes()
    nodes = [node["NodeID"] for node in ray.nodes()]
    load = toy_loaders.load_with_full_nodes
    for name, bad in {"one": nodes[1:], "all": nodes}.items():
        (model.path / "nodes.json").write_text(json.dumps(bad))
        try:
            summary = annotate(root / "videos", root / name, model, load, workers=2)
            print(name, sorted(set(statuses(summary).values())), len(summary.rows), flush=True)
        except MachineError as error:
            print(name, "ended:", error, flush=True)
"""


@pytest.mark.slow
def test_the_other_nodes_do_the_work_of_a_full_node(tmp_path):
    toy_archive(tmp_path / "videos", 6)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-c", TWO_NODES, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    one, all_nodes = [line for line in done.stdout.splitlines() if line[:3] in ("one", "all")]
    assert one == "one ['done'] 6"
    assert "No such file or directory" in all_nodes
    assert not (tmp_path / "all" / "failed").exists()


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
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
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
