"""Fixtures shared by the pipelines' tests: one local Ray, one S3 server."""

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import IN_CI, ROOT
from tests.helpers.s3 import S3Server


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Starts a local cluster with more logical CPUs than real ones, so that no task starves."""
    import ray

    from pipelines.cluster import quiet_ray

    # Workers start now and keep this environment; the tests' S3 server accepts any key.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "test")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=150_000_000,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    quiet_ray()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Starts an S3 server in this process and returns its endpoint."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Creates an empty bucket and returns its URI; the environment points to its server."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}"


@pytest.fixture(scope="session")
def real_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Returns a server that checks signatures: the one at LONGTAKE_S3_ENDPOINT, or our own.

    Our own, Ceph in memory, needs its Debian packages; without them the test is skipped, except in
    CI.
    """
    endpoint = os.environ.get("LONGTAKE_S3_ENDPOINT")
    key = os.environ.get("LONGTAKE_S3_KEY", "longtake")
    secret = os.environ.get("LONGTAKE_S3_SECRET", "longtake-secret")
    if endpoint:
        yield S3Server(endpoint, key, secret)
        return
    if not (shutil.which("ceph-mon") and shutil.which("radosgw")):
        message = "no S3 server: install what infra/s3/start_s3.sh needs"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("s3")
    command = [str(ROOT / "infra/s3/start_s3.sh"), str(folder), str(_free_port())]
    log = folder / "start.log"
    with log.open("w") as file:
        started = subprocess.run(command, stdout=file, stderr=file, check=False)
    try:
        assert started.returncode == 0, log.read_text()
        yield S3Server(log.read_text().split()[-1], key, secret)
    finally:
        subprocess.run([str(ROOT / "infra/s3/stop_s3.sh"), str(folder)], check=True)
        assert not list(Path(folder, "run").glob("*.pid"))


def _free_port() -> int:
    """Returns the first of three consecutive free ports."""
    while True:
        with socket.socket() as first, socket.socket() as second, socket.socket() as third:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                third.bind(("127.0.0.1", port + 2))
            except (OSError, OverflowError):
                continue
            return port
