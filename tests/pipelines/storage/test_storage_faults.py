"""A storage behind a faulty proxy: nothing lost, nothing twice, nothing changed."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.storage.base import Storage
from pipelines.storage.open import open_storage
from pipelines.storage.s3_client import connect
from tests.helpers.fault_proxy import EVERY_KIND, Fault, FaultProxy, faulty
from tests.helpers.s3 import S3Server
from vis_core.errors import StorageError, VideoDecodeError

# The long form: LONGTAKE_FAULTS=all
LONG = os.environ.get("LONGTAKE_FAULTS") == "all"
SEEDS = (1, 2, 3, 4, 5) if LONG else (1,)
NUM_OBJECTS = 300 if LONG else 60


@pytest.fixture
def server(s3_server: str) -> S3Server:
    """Starts the server in this process, which is fast and accepts any key."""
    return S3Server(s3_server, "test", "test")


def open_through(proxy: FaultProxy, server: S3Server, monkeypatch, bucket: str) -> Storage:
    for name, value in server.behind(proxy.endpoint).environment().items():
        monkeypatch.setenv(name, value)
    connect.cache_clear()  # the port may have been another proxy's
    return open_storage(f"s3://{bucket}/out")


def stored(server: S3Server, bucket: str) -> dict[str, bytes]:
    """Reads the stored objects without the proxy."""
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in sorted(keys)}


def contents(seed: int) -> dict[str, bytes]:
    draw = random.Random(seed)
    return {f"{n:03d}": draw.randbytes(draw.randrange(1, 40_000)) for n in range(NUM_OBJECTS)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [len(EVERY_KIND) * 0.05, 0.3])
def test_storage_under_faults_is_the_storage_without_them(server, share, seed, monkeypatch):
    bucket, wanted = server.new_bucket(), contents(seed)
    with faulty(server.endpoint, share, seed) as proxy:
        storage = open_through(proxy, server, monkeypatch, bucket)
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(storage.write_once, wanted, wanted.values()))
            assert list(threads.map(storage.read, wanted)) == list(wanted.values())
        assert [entry.key for entry in storage.list()] == list(wanted)
        assert not any(storage.write_once(key, b"another") for key in list(wanted)[:10])
        assert all(proxy.faults[fault] for fault in EVERY_KIND)
        assert proxy.num_requests < 2 * (2 * NUM_OBJECTS + 2 * 10 + 1)
    assert stored(server, bucket) == {f"out/{key}": body for key, body in wanted.items()}


@pytest.mark.parametrize("fault", [*EVERY_KIND, "flip sent", "hang"])
def test_each_fault_passes(fault: Fault, real_s3: S3Server, monkeypatch, tmp_path):
    bucket, body = real_s3.new_bucket(), random.Random(0).randbytes(3_000_000)
    (tmp_path / "large").write_bytes(body)
    rate = 0.2 if fault == "hang" else 0.4  # each costs a full timeout
    with FaultProxy(real_s3.endpoint, {fault: rate}, seed=2) as proxy:
        storage = open_through(proxy, real_s3, monkeypatch, bucket)
        assert storage.write_once_file("large", tmp_path / "large")
        for number in range(4):
            assert storage.write_once(str(number), b"small")
            with storage.as_file("large") as path:
                assert path.read_bytes() == body
        assert proxy.faults[fault] >= 1
    assert stored(real_s3, bucket)["out/large"] == body


def test_a_foreign_object_is_compared_with_its_md5(server, monkeypatch):
    bucket = server.new_bucket()
    server.client().put_object(Bucket=bucket, Key="out/a.mp4", Body=b"frames" * 1000)
    with FaultProxy(server.endpoint, {"flip": 0.6}, seed=1) as proxy:
        storage = open_through(proxy, server, monkeypatch, bucket)
        for _ in range(5):
            assert storage.read("a.mp4") == b"frames" * 1000
        assert proxy.faults["flip"] >= 3


def test_a_cut_download_goes_on_where_it_was_cut(server, monkeypatch):
    bucket = server.new_bucket()
    body = random.Random(0).randbytes(8_000_000)
    server.client().put_object(Bucket=bucket, Key="out/a.mp4", Body=body)
    with FaultProxy(server.endpoint, {"cut": 1.0}, seed=1) as proxy:
        storage = open_through(proxy, server, monkeypatch, bucket)
        ranges = []
        storage._client.meta.events.register(
            "before-sign.s3.GetObject", lambda request, **_: note(request.headers.get("Range"))
        )

        def note(asked):
            ranges.append(asked)
            proxy.rates = {} if len(ranges) == 3 else proxy.rates

        with storage.as_file("a.mp4") as path:
            assert path.read_bytes() == body
    assert ranges == [None, "bytes=4000000-", "bytes=6000000-"]


def test_an_object_replaced_between_two_parts_is_never_mixed(server, monkeypatch):
    bucket, client = server.new_bucket(), server.client()
    old, new = b"old" * 1_000_000, b"new" * 1_000_000
    client.put_object(Bucket=bucket, Key="out/a.mp4", Body=old)
    with FaultProxy(server.endpoint, {"cut": 1.0}, seed=1) as proxy:
        storage = open_through(proxy, server, monkeypatch, bucket)
        etag = storage.stat("a.mp4").etag

        def replace_it(_):
            client.put_object(Bucket=bucket, Key="out/a.mp4", Body=new)
            proxy.rates = {}

        monkeypatch.setattr("pipelines.storage.s3_client.time.sleep", replace_it)
        with (
            pytest.raises(VideoDecodeError, match="changed while it was read"),
            storage.as_file("a.mp4", etag),
        ):
            pass
        client.put_object(Bucket=bucket, Key="out/a.mp4", Body=old)
        proxy.rates = {"cut": 1.0}
        with storage.as_file("a.mp4") as path:  # either body is correct, but only one of them
            assert path.read_bytes() == new


def test_a_server_that_stays_away_is_named_with_the_attempts(server, monkeypatch):
    bucket = server.new_bucket()
    with FaultProxy(server.endpoint, {"503": 1.0}, seed=1) as proxy:
        storage = open_through(proxy, server, monkeypatch, bucket)
        with pytest.raises(StorageError, match=rf"write s3://{bucket}/out/a: .*503.*12 attempts"):
            storage.write_once("a", b"x")
        assert proxy.num_requests == 12


@pytest.mark.parametrize("status, code", [(403, "AccessDenied"), (400, "ExpiredToken")])
def test_credentials_that_end_are_said_at_once(status, code, server, monkeypatch):
    bucket = server.new_bucket()
    with FaultProxy(server.endpoint, {}, 1, refuse_after=1, refusal=(status, code)) as proxy:
        storage = open_through(proxy, server, monkeypatch, bucket)
        storage.write_once("a", b"x")
        with pytest.raises(StorageError, match=f"out/b: {code}.*renew or correct the cred"):
            storage.write_once("b", b"x")
        assert proxy.num_requests == 2
