"""Connection to Ray, either to a local cluster started here or to a running one at an address."""

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pipelines.config.libraries import configure_libraries
from pipelines.config.run import RayConfig
from pipelines.progress import Progress
from vis_core.errors import ClusterError, ConfigError, VisError, last_line, shown_name

# With Ray's poll interval of 2 s, each report() waits 1.7 s; polling every 0.2 s costs nothing.
_LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    # The raylet warns at four times this number (by default 2 on a laptop); a run exceeds 8.
    "RAY_worker_maximum_startup_concurrency": "4",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

Result = TypeVar("Result")
_STARTS = 4
# the longest name of a folder of sessions; a socket's name has at most 107 bytes on Linux
_LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_TOO_SLOW = "timed out during startup"
_log = logging.getLogger(__name__)
_TOKEN_LOGGER = "ray._private.authentication.authentication_token_setup"


@contextmanager
def ray_session(config: RayConfig, address: str | None = None) -> Iterator[None]:
    """Connects to Ray for a ``with`` block; reuses a session that the caller has open.

    Without the ``address`` of a running cluster, starts a cluster on this machine.
    """
    configure_libraries()
    if address:
        _present_token()
    import ray

    if ray.is_initialized():
        yield
        return
    for name, value in _LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    handler = signal.getsignal(signal.SIGTERM)
    with ExitStack() as stack:
        if address:
            _connect(address)
        else:
            # Ray creates a token for a new local cluster and warns about it; no action is needed.
            logging.getLogger(_TOKEN_LOGGER).setLevel(logging.ERROR)
            _start_local(config, stack.enter_context(_session_folder()))
        stack.callback(ray.shutdown)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray installs one that exits with 15
        quiet_ray()
        yield


@contextmanager
def _session_folder() -> Iterator[Path]:
    """Chooses the folder of Ray's sessions: Ray's own choice, or a short link to it.

    Schedulers make temporary folders whose names are too long for sockets.
    """
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    folder = Path(temporary, "ray").absolute()
    if len(os.fsencode(folder)) <= _LONGEST_FOLDER:
        yield folder
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        short = Path(tempfile.mkdtemp(prefix="longtake-", dir="/tmp"))
    except OSError as error:
        raise ConfigError(
            f"RAY_TMPDIR or TMPDIR: expected at most {_LONGEST_FOLDER - 4} bytes, since Ray's "
            f"sockets lie there, found {shown_name(temporary)} ({error.strerror}); set RAY_TMPDIR "
            "to a short folder"
        ) from error
    try:
        (short / "ray").symlink_to(folder)
        yield short / "ray"
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _start_local(config: RayConfig, folder: Path) -> None:
    """Starts a cluster on this machine; tries several times, each for 30 s (Ray's limit)."""
    import ray
    from ray._private import ray_constants

    # Under `uv run`, Ray would pack the working directory for workers on other machines.
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(
                address="local",
                # Logical CPUs: at least two more than workers, so that data tasks never wait for
                # training.
                num_cpus=max(os.cpu_count() or 1, config.num_workers) + 2,
                object_store_memory=config.object_store_mb * 1_000_000,
                include_dashboard=False,
                logging_level=logging.WARNING,
                log_to_driver=False,
                _temp_dir=str(folder),
            )
            return
        except Exception as error:
            ray.shutdown()
            if _TOO_SLOW not in str(error):  # Ray raises a bare Exception
                raise _start_failure(error, folder) from error
            if attempt == _STARTS:
                raise ClusterError(
                    f"Ray did not start on this machine in {_STARTS} attempts of 30 s; if it is "
                    "very busy, end other work and run the same command again; if not, the reason "
                    f"is in {folder}/session_latest/logs (dashboard.log, gcs_server.out)"
                ) from error
            _log.warning("Ray did not start in 30 s on a busy machine; trying again")


def _start_failure(error: Exception, folder: Path) -> VisError:
    """Explains any other error of Ray's start on this machine in one line."""
    line = f"Ray cannot start on this machine: {' '.join(str(error).split()):.240}"
    if "object store memory" in line.lower():
        return ConfigError(f"{line}; correct ray.object_store_mb, then run again")
    if isinstance(error, OSError):
        return ClusterError(
            f"{line}; make room in {folder}, where Ray keeps its files, or set RAY_TMPDIR to "
            "another short folder, then run again"
        )
    return ClusterError(
        f"{line}; correct the RAY_ variables of the environment or use --address, then run again"
    )


def _present_token() -> None:
    """Turns on token authentication if there is a token; Ray reads this setting on import."""
    token_file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if "RAY_AUTH_TOKEN" in os.environ or token_file.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _connect(address: str) -> None:
    import ray

    _check_host(address)
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    except Exception as error:  # Ray has no class for all of its own
        reason = last_line(error.__cause__ or error)
        mend = "is it running, and is its token in RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token?"
        if "working_dir" in str(error) or "uv run" in str(error):
            mend = "under `uv run`, set RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 or start elsewhere"
        raise ClusterError(
            f"--address {address}: the Ray cluster does not answer ({reason:.200}); {mend}"
        ) from error


def _check_host(address: str) -> None:
    """Raises a ClusterError at once if no server listens; Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():  # such as "auto"
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"--address {address}: nothing answers there ({error}); start the cluster or correct "
            "the address"
        ) from error


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Raises KeyboardInterrupt after Ctrl-C in a block, whatever handlers Ray installs meanwhile.

    After Ctrl-C, Ray Train and Ray Tune end their run normally and return as usual, or exit with 0;
    Ray Train ignores a Ctrl-C near the end of its run. So this context records the signal and
    raises KeyboardInterrupt at the end of the block, unless the block raised an error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    handler = signal.getsignal(signal.SIGINT)
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    former = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    interrupted = False
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        signal.set_wakeup_fd(former)
        signal.signal(signal.SIGINT, handler)
        with suppress(BlockingIOError):
            interrupted = signal.SIGINT in os.read(read_end, 1024)
        os.close(read_end)
        os.close(write_end)
    if interrupted:
        raise KeyboardInterrupt


def quiet_ray() -> None:
    """Turns off Ray Data's progress bars, and all messages of Ray's libraries except errors."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


def require_resources(num_workers: int, *, gpus: bool = False) -> None:
    """Raises if training would wait forever for GPUs, or for a CPU for data tasks.

    Raises ConfigError if the cluster has too few CPUs or GPUs.
    """
    import ray

    resources = ray.cluster_resources()
    num_gpus = int(resources.get("GPU", 0))
    if gpus and num_workers > num_gpus:
        raise ConfigError(
            f"ray.num_workers is {num_workers} with a GPU each, but the cluster has {num_gpus} "
            "GPUs; use as many workers as there are, or --set ray.use_gpu=false"
        )
    available = int(resources.get("CPU", 0))
    if num_workers > available - 1:
        raise ConfigError(
            f"ray.num_workers is {num_workers}, but the cluster has {available} CPUs and one must "
            f"stay free for data; use at most {max(1, available - 1)}"
        )


def run_tasks(
    function: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], label: str
) -> list[Result]:
    """Calls a function once per video, in Ray tasks with one CPU each, and shows progress.

    Results are in the order of ``arguments``; an error in any call is raised here.
    """
    import ray

    remote = ray.remote(num_cpus=1)(function)
    pending = tasks = [remote.remote(*each) for each in arguments]
    results: dict[ray.ObjectRef, Result] = {}
    with Progress(len(tasks), "videos", label) as progress:
        while pending:
            (done,), pending = ray.wait(pending, num_returns=1)
            results[done] = ray.get(done)
            progress.update(1)
    return [results[task] for task in tasks]
