"""Storage on a server that checks signatures, accepts any key and has its own page size."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.cli import main
from pipelines.annotation.archive.listing import list_archive
from pipelines.results.index import choose_results
from pipelines.storage.base import Storage
from pipelines.storage.open import open_storage
from pipelines.storage.s3_client import connect
from tests.helpers.annotating_child import Job
from tests.helpers.many_commands import VIDEOS, Command, by_glob, by_list, run_all
from tests.helpers.s3 import S3Server
from tests.helpers.toy_archive import toy_archive, toy_model, write_clip
from tests.helpers.toy_system import square_frames
from vis_core.errors import ConfigError, StorageError, VideoDecodeError


@pytest.fixture
def bucket(real_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Creates a bucket on the server from the environment."""
    lead_to(real_s3, monkeypatch)
    return real_s3.new_bucket()


@pytest.fixture
def storage(bucket: str) -> Storage:
    return open_storage(f"s3://{bucket}/some/prefix")


def lead_to(server: S3Server, monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    for name, value in (server.environment() | others).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    connect.cache_clear()


@pytest.mark.parametrize("way", [by_glob, by_list])
def test_all_results_of_several_commands_are_exported(
    way: Callable[[str, Path], list[Command]], bucket: str, real_s3: S3Server, tmp_path: Path
) -> None:
    for number, name in enumerate(VIDEOS):
        write_clip(tmp_path / name, [frame.image for frame in square_frames(3 + number)])
        body = (tmp_path / name).read_bytes()
        real_s3.client().put_object(Bucket=bucket, Key=f"in/{name}", Body=body)
    out = f"s3://{bucket}/out"
    commands = way(f"s3://{bucket}/in", tmp_path)
    run_all(commands, out, toy_model(tmp_path / "model"), at_once=True)
    assert main(["export", out, "--out", str(tmp_path / "files")]) == 0
    assert len(list((tmp_path / "files").iterdir())) == len(VIDEOS)
    assert main(["ensemble", "--inputs", out, out, "--out", f"s3://{bucket}/fused"]) == 0
    (fused,) = choose_results([open_storage(f"s3://{bucket}/fused")])
    assert len(fused.group.keys) == len(VIDEOS)


@pytest.mark.parametrize("name", ["one.mp4", "day 1/-ü é.mp4", "a+b%20c#d?e=f&g.mp4", "名前.mkv"])
def test_a_single_object_is_an_archive_of_one(bucket: str, real_s3: S3Server, name: str) -> None:
    for key in (name, f"{name}.bak", "in/x.mp4"):
        real_s3.client().put_object(Bucket=bucket, Key=key, Body=key.encode())
    archive = list_archive(f"s3://{bucket}/{name}")
    (video,) = archive.videos
    with archive.storage.as_file(video.key, video.etag) as file:
        assert file.read_bytes() == name.encode()
    with pytest.raises(ConfigError, match="no object has this name or prefix"):
        list_archive(f"s3://{bucket}/{name}x.mp4")


def test_a_race_of_many_writers_has_one_winner_for_each_key(storage: Storage) -> None:
    start = threading.Barrier(16)

    def write(writer: int) -> list[bool]:
        start.wait()
        return [storage.write_once(f"results/{n}", f"{writer}".encode()) for n in range(10)]

    with ThreadPoolExecutor(16) as threads:
        won = list(threads.map(write, range(16)))
    for number in range(10):
        winners = [writer for writer in range(16) if won[writer][number]]
        assert len(winners) == 1
        assert storage.read(f"results/{number}") == f"{winners[0]}".encode()


def test_the_server_is_found_to_enforce_conditions(storage: Storage) -> None:
    storage.check_conditional_writes()
    assert list(storage.list()) == []


def test_content_comes_back_as_it_was_written(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 40_000)
    assert storage.write_once_file("large", tmp_path / "large")
    assert storage.write_once_file("large", tmp_path / "large")
    assert not storage.write_once("large", b"other")
    storage.replace_file("copy", tmp_path / "large")
    storage.write_once("empty", b"")
    for key in ("large", "copy"):
        with storage.as_file(key, storage.stat(key).etag) as path:
            assert path.read_bytes() == (tmp_path / "large").read_bytes()
    assert storage.read("empty") == b""
    storage.delete("large")
    assert storage.stat("large") is None
    with pytest.raises(StorageError, match="some/prefix/large: NoSuchKey"):
        storage.read("large")


def test_an_object_that_was_replaced_is_not_taken_for_the_listed_one(storage: Storage) -> None:
    storage.replace("a.mp4", b"one")
    etag = storage.stat("a.mp4").etag
    storage.replace("a.mp4", b"two")
    with (
        pytest.raises(VideoDecodeError, match="changed while it was read"),
        storage.as_file("a.mp4", etag),
    ):
        pass


@pytest.mark.slow
def test_a_listing_of_many_pages_is_whole_and_sorted(storage: Storage) -> None:
    keys = [f"{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(storage.replace, keys, [b""] * len(keys)))
    assert [entry.key for entry in storage.list()] == keys


@pytest.mark.data
def test_any_key_is_one_object_inside_the_prefix(
    storage: Storage, bucket: str, real_s3: S3Server, data_dir: Path
) -> None:
    keys = json.loads((data_dir / "hostile/names/object_keys.json").read_text())
    # S3 accepts 1024 bytes with the prefix, and a name that ends with "/" means a folder
    keys = [key for key in keys if len(f"some/prefix/{key}".encode()) <= 1024 and key[-1] != "/"]
    assert len(keys) >= 30
    for key in keys:
        assert storage.write_once(key, key.encode()), key
        assert not storage.write_once(key, b"another"), key
    assert sorted(entry.key for entry in storage.list()) == sorted(keys)
    assert [storage.read(key) for key in keys] == [key.encode() for key in keys]
    stored = real_s3.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert {entry["Key"] for entry in stored} == {f"some/prefix/{key}" for key in keys}


@pytest.mark.slow
@pytest.mark.data
def test_a_job_goes_from_s3_to_s3_whatever_the_videos_are_called(
    bucket: str, real_s3: S3Server, tmp_path: Path, data_dir: Path
) -> None:
    keys = json.loads((data_dir / "hostile/names/object_keys.json").read_text())
    body = next(iter(sorted(toy_archive(tmp_path / "videos", 1, 1).iterdir()))).read_bytes()
    for key in keys:
        if len(f"in/{key}".encode()) <= 1024:
            real_s3.client().put_object(Bucket=bucket, Key=f"in/{key}", Body=body)
    environment = real_s3.environment()
    job = Job(tmp_path / "job", f"s3://{bucket}/in", f"s3://{bucket}/out", environment)
    assert job.run() == 0
    videos = [video.key for video in list_archive(job.videos).videos]
    assert len(videos) >= 28
    manifest = json.loads(job.results.read("manifest.json"))["videos"]
    assert sorted(row["video"] for row in manifest) == sorted(videos)
    assert {row["status"] for row in manifest} == {"done"}
    kinds = Counter(key.partition("/")[0] for key in job.contents())
    assert kinds == {"manifest.json": 1, "results": len(videos), "masks": len(videos)}
    assert {row["result"] for row in manifest} < job.contents().keys()
    before = job.contents()
    assert job.run() == 0
    assert job.contents() == before
    # one name contains a line feed
    assert sorted(job.annotated()) == sorted(line for key in videos for line in key.split("\n"))


@pytest.mark.parametrize(
    "variables, code",
    [
        ({"AWS_SECRET_ACCESS_KEY": "Wr0ngSecretCanary"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_end_a_job_at_once_in_one_line(
    variables: dict[str, str], code: str, bucket: str, real_s3: S3Server, monkeypatch, capsys,
    tmp_path: Path,
) -> None:  # fmt: skip
    lead_to(real_s3, monkeypatch, LONGTAKE_S3_FIRST_PAUSE_S="60", **variables)
    start_s = time.monotonic()
    options = ["--out", str(tmp_path / "out"), "--model", "vis_core/weights/tiny"]
    assert main(["annotate", f"s3://{bucket}/in", *options]) == 4
    assert time.monotonic() - start_s < 30  # one retry alone would wait that long
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert f"s3://{bucket}/in" in said[0]
    assert code in said[0]
    assert "correct the credentials" in said[0]
    assert "Canary" not in said[0]


def test_a_permission_that_is_taken_away_is_said_at_once(
    storage: Storage, bucket: str, real_s3: S3Server
) -> None:
    storage.write_once("results/a", b"a")
    denied = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{bucket}/some/prefix/results/*",
            }
        ],
    }
    real_s3.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(denied))
    with pytest.raises(StorageError, match=r"results/b: AccessDenied.*permission"):
        storage.write_once("results/b", b"b")
    assert storage.read("results/a") == b"a"
