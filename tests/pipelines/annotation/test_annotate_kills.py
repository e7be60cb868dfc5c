"""An archive job killed anywhere leaves exactly the files of an undisturbed one."""

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from tests.helpers.annotating_child import Job
from tests.helpers.killing import kill_places
from tests.helpers.toy_archive import toy_archive

AWS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
RACES = 3


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Annotates an archive of three videos and a broken one, undisturbed."""
    folder = tmp_path_factory.mktemp("calm")
    videos = toy_archive(folder / "videos")
    (videos / "broken.mp4").write_bytes(b"no video")
    job = Job(folder / "job", str(videos), str(folder / "out"))
    assert job.run() == 0
    names = Counter(key.partition("/")[0] for key in job.contents())
    assert names == {"failed": 1, "manifest.json": 1, "masks": 3, "results": 3}
    return job


def check_killed(job: Job, calm: Job, place: int) -> None:
    """Kills a job once, lets it finish, and compares."""
    assert job.run(place) == -signal.SIGKILL
    on_the_way = ("manifest.json", "unfinished/")
    there = {key: body for key, body in job.contents().items() if not key.startswith(on_the_way)}
    wanted = calm.contents()
    assert there.items() <= wanted.items(), f"killed at {place}: torn or foreign results"
    assert job.run() == 0
    assert job.contents() == wanted, f"killed at {place}"
    begun = job.annotated()
    assert len(begun) - len(set(begun)) <= 1, f"killed at {place}: {begun}"


def test_a_kill_at_any_place_costs_one_video_at_most(calm: Job, tmp_path: Path) -> None:
    for place in kill_places(calm.num_events(), share=1.5):
        folder = tmp_path / str(place)
        job = replace(calm, folder=folder / "job", out=str(folder / "out"))
        check_killed(job, calm, place)
        left = [path for path in (folder / "out").rglob("*") if ".partial" in path.parts]
        assert [path for path in left if path.is_file()] == [], f"killed at {place}"


def test_a_kill_at_any_place_costs_nothing_in_segments(calm: Job, tmp_path: Path) -> None:
    base = replace(calm, folder=tmp_path / "calm", out=str(tmp_path / "calm" / "out"), segments=3)
    assert base.run() == 0
    assert base.contents() == calm.contents()
    for place in kill_places(base.num_events()):
        job = replace(base, folder=tmp_path / str(place), out=str(tmp_path / str(place) / "out"))
        check_killed(job, calm, place)


def test_a_kill_at_any_place_costs_nothing_in_stitched_segments(calm: Job, tmp_path: Path) -> None:
    out = tmp_path / "calm" / "out"
    base = replace(calm, folder=tmp_path / "calm", out=str(out), segments=3, stitched=True)
    assert base.run() == 0
    assert any(b'"joins":[{' in body for body in base.contents().values())
    for place in kill_places(base.num_events()):
        job = replace(base, folder=tmp_path / str(place), out=str(tmp_path / str(place) / "out"))
        check_killed(job, base, place)


def test_a_kill_at_any_place_costs_nothing_on_s3(calm: Job, tmp_path: Path, s3_bucket: str) -> None:
    client, bucket = boto3.client("s3"), s3_bucket.removeprefix("s3://")
    for path in Path(calm.videos).iterdir():
        client.put_object(Bucket=bucket, Key=f"in/{path.name}", Body=path.read_bytes())
    environment = {name: os.environ[name] for name in AWS}
    base = Job(tmp_path / "calm", f"{s3_bucket}/in", f"{s3_bucket}/calm", environment)
    assert base.run() == 0
    assert len(base.contents()) == 8
    for place in kill_places(base.num_events(), share=0.6):
        job = replace(base, folder=tmp_path / str(place), out=f"{s3_bucket}/{place}")
        check_killed(job, base, place)


@pytest.mark.parametrize("segments, stitched", [(1, False), (2, False), (2, True)])
def test_two_jobs_at_once_give_each_result_once(
    segments: int, stitched: bool, calm: Job, tmp_path: Path
) -> None:
    wanted = calm
    if stitched:
        out = str(tmp_path / "alone" / "out")
        wanted = replace(calm, folder=tmp_path / "alone", out=out, segments=2, stitched=True)
        assert wanted.run() == 0
    for race in range(RACES):
        folder = tmp_path / str(race)
        job = replace(wanted, folder=folder / "job", out=str(folder / "out"), segments=segments)
        assert job.run_twice_at_once() == [0, 0]
        assert job.contents() == wanted.contents()


def test_a_rerun_decodes_and_writes_nothing(calm: Job) -> None:
    out = Path(calm.out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    begun = calm.annotated()
    assert calm.run() == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert calm.annotated() == begun
