"""Connection to Ray, either to a local cluster started here or to a running one at an address."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pipelines.config.libraries import configure_libraries
from pipelines.config.run import RayConfig
from pipelines.progress import Progress
from vis_core.errors import ClusterError, ConfigError, last_line

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
    if address:
        _connect(address)
    else:
        # Ray creates a token for a new local cluster and warns about it; no action is needed.
        logging.getLogger(_TOKEN_LOGGER).setLevel(logging.ERROR)
        _start_local(config)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray installs one that exits with 15
    quiet_ray()
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(config: RayConfig) -> None:
    """Starts a cluster on this machine; tries several times, each for 30 s (Ray's limit)."""
    import ray

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
            )
            return
        except Exception as error:
            if _TOO_SLOW not in str(error):  # Ray raises a bare Exception
                raise
            ray.shutdown()
            if attempt == _STARTS:
                logs = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "session_latest", "logs")
                raise ClusterError(
                    f"Ray did not start on this machine in {_STARTS} attempts of 30 s; if it is "
                    "very busy, end other work and run the same command again; if not, the reason "
                    f"is in {logs} (dashboard.log, gcs_server.out)"
                ) from error
            _log.warning("Ray did not start in 30 s on a busy machine; trying again")


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
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = last_line(error.__cause__ or error)
        raise ClusterError(
            f"--address {address}: the Ray cluster does not answer ({reason:.200}); is it running, "
            "and is its token in RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token?"
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
