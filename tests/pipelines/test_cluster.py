"""Connection to Ray: an unreachable cluster fails at once in one line; Ctrl-C keeps its handler."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cluster import _start_local, kept_interrupts, require_resources, run_tasks
from pipelines.config.run import RayConfig, RunConfig, StageConfig
from pipelines.training.ray_trainer import data_tasks
from tests.helpers.videos import grey_frames, write_video
from vis_core.errors import ClusterError, ConfigError

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    few = [f"synthetic.{part}_videos=1" for part in ("train", "val", "test", "archive")]
    changes = [word for change in ("synthetic.images=4", *few) for word in ("--set", change)]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "demo", "--address", address, *changes,
         "--out", str(tmp_path / "run")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"longtake demo: --address {address}: nothing answers there")
    assert "Traceback" not in done.stderr


def test_what_ctrl_c_does_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with kept_interrupts():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_that_another_handler_swallows_still_stops() -> None:
    reached = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), kept_interrupts():
        signal.signal(signal.SIGINT, lambda *_: reached.append("swallowed"))
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("the end of the block")
    assert reached == ["swallowed", "the end of the block"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_that_exits_is_ctrl_c_too() -> None:
    with pytest.raises(KeyboardInterrupt), kept_interrupts():
        raise SystemExit(0)


def test_an_error_comes_out_as_itself() -> None:
    with pytest.raises(ValueError, match="broken"), kept_interrupts():
        raise ValueError("broken")


class SlowRay:
    """A Ray that is up at the third attempt."""

    def __init__(
        self, needed: int, message: str = "The current node timed out during startup."
    ) -> None:
        self.attempts, self.ended = 0, 0
        self.needed, self.message = needed, message

    def init(self, **_: object) -> None:
        self.attempts += 1
        if self.attempts < self.needed:
            raise Exception(self.message)  # noqa: TRY002 (as Ray does)

    def shutdown(self) -> None:
        self.ended += 1


def started(ray: SlowRay, monkeypatch: pytest.MonkeyPatch) -> SlowRay:
    import ray as real

    monkeypatch.setattr(real, "init", ray.init)
    monkeypatch.setattr(real, "shutdown", ray.shutdown)
    _start_local(RayConfig(), Path("/tmp/ray"))
    return ray


def test_a_cluster_that_starts_slowly_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = started(SlowRay(needed=3), monkeypatch)
    assert (ray.attempts, ray.ended) == (3, 2)
    never = SlowRay(needed=9)
    said = r"did not start on this machine in 4 attempts.* is in .*logs \(dashboard\.log"
    with pytest.raises(ClusterError, match=said):
        started(never, monkeypatch)
    assert (never.attempts, never.ended) == (4, 4)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (Exception("out of /dev/shm"), ClusterError, "out of /dev/shm; correct the RAY_ variables"),
        (OSError(28, "No space left"), ClusterError, "No space left; make room in /tmp/ray"),
        (OSError("AF_UNIX path\n too long"), ClusterError, "path too long; .* set RAY_TMPDIR"),
        (ValueError("Object store memory too low"), ConfigError, "correct ray.object_store_mb"),
        (RuntimeError("Your pyproject.toml is\nnot there"), ClusterError, "pyproject.toml is not"),
        (ImportError("no module hook"), ClusterError, "no module hook; correct the RAY_ variables"),
    ],
)
def test_whatever_the_start_raises_is_one_line(error, kind, words, monkeypatch) -> None:
    import ray

    def init(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # other tests use the running cluster
    with pytest.raises(kind, match=words) as caught:
        _start_local(RayConfig(), Path("/tmp/ray"))
    assert "\n" not in str(caught.value)


def annotated(tmp_path: Path, command: list[str], where: Path, **environment: str):
    """Annotates one frame in a local cluster, with a command in front of Python."""
    archive = tmp_path / "archive"
    archive.mkdir()
    write_video(archive / "a.mp4", grey_frames(2))
    return subprocess.run(
        [*command, sys.executable, "-m", "jobs.cli", "annotate", str(archive),
         "--model", str(ROOT / "vis_core" / "weights" / "tiny"), "--out", str(tmp_path / "out"),
         "--workers", "1", "--max-frames", "1"],
        cwd=where, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def uv_run(project: Path) -> list[str]:
    """Imitates ``uv run`` in a large project: Ray knows it by the command line of a parent."""
    (project / "below").mkdir(parents=True)
    (project / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1"\n')
    with (project / "below" / "large").open("wb") as file:
        file.truncate(700_000_000)
    (project / "below" / "run").write_text('"$@"\nexit $?\n')
    return ["bash", "-c", 'exec -a uv bash run "$@"', "bash"]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "in_uv"),
    [
        ("TMPDIR", True),
        pytest.param("RAY_TMPDIR", False, marks=pytest.mark.slow),
        pytest.param("", True, marks=pytest.mark.slow),
    ],
)
def test_schedulers_long_folders_and_uv_run_are_no_obstacles(name, in_uv, tmp_path: Path) -> None:
    folder = tmp_path / "a_rather_long_folder_name_of_a_scheduler" / "job_1355700" / "tmp.t0016"
    command = uv_run(tmp_path / "project") if in_uv else []
    where = tmp_path / "project" / "below" if in_uv else tmp_path
    done = annotated(tmp_path, command, where, **({name: str(folder)} if name else {}))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert bool(list(folder.glob("ray/session_2*"))) == bool(name), "the files lie there"
    links = [link for link in Path("/tmp").glob("longtake-*/ray") if link.is_symlink()]
    assert not [link for link in links if link.readlink().is_relative_to(folder)], "it is removed"


def test_a_temporary_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    done = annotated(tmp_path, [], tmp_path, RAY_TMPDIR=f"/dev/null/{'x' * 100}")
    assert done.returncode == 2 and "set RAY_TMPDIR to a short folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_workers_that_could_never_start_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    require_resources(3)
    require_resources(1, gpus=True)
    with pytest.raises(ConfigError, match="num_workers is 4, but the cluster has 4 CPUs"):
        require_resources(4)
    with pytest.raises(ConfigError, match="2 with a GPU each, but the cluster has 1 GPUs"):
        require_resources(2, gpus=True)


def test_batches_are_made_on_the_cores_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    stage = StageConfig(name="images", clips="images", steps=1)

    def tasks(cores: int, nodes: int, **settings: int) -> int:
        alive = [{"Alive": True, "Resources": {"CPU": float(cores)}}] * nodes
        monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {}}])
        return data_tasks(RunConfig(stages=(stage,), ray=RayConfig(**settings)))

    assert tasks(4, 2, num_workers=2) == 3
    assert tasks(2, 2, num_workers=4) == 1, "one at least"
    assert tasks(64, 2, num_workers=2) == 8, "each takes memory"
    assert tasks(64, 2, num_workers=2, data_tasks=20) == 20, "unless somebody asks"


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.ray
def test_results_of_tasks_come_in_the_order_of_their_arguments() -> None:
    def divide(dividend: int, divisor: int) -> int:
        return dividend // divisor

    assert run_tasks(divide, [(7, 2), (9, 4), (1, 3)], "divide") == [3, 2, 0]
    assert run_tasks(divide, [], "divide") == []
    with pytest.raises(ZeroDivisionError):
        run_tasks(divide, [(1, 1), (1, 0)], "divide")
