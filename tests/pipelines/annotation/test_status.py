"""The state of a running job: written now and then and at the end, without delaying the job."""

import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from pipelines.annotation.status import (
    STATUS,
    JobCounts,
    JobStatus,
    WorkerStatus,
    describe,
    read_status,
)
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import open_storage
from tests.helpers.waiting import Clock
from vis_core.errors import ConfigError, StorageError

START_S = 1_795_600_000.0  # 2026-11-25T09:46:40 UTC


class Refusing(LocalStorage):
    """A folder that refuses every write and counts the attempts."""

    def replace(self, key: str, body: bytes) -> None:  # noqa: ARG002
        asked.append(key)
        raise StorageError("cannot write: no space left")


asked: list[str] = []


@pytest.fixture
def clock() -> Clock:
    return Clock(START_S)


@pytest.fixture
def status(tmp_path: Path, clock: Clock) -> JobStatus:
    return JobStatus(LocalStorage(tmp_path), {"model": "tiny"}, clock=clock, every_s=5)


def written(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / STATUS).read_text())
    return document


HALF = JobCounts(
    done=6, failed=1, quarantined=1, pending=4, num_frames=300, num_videos=3,
    video_s=30.0, bytes_done=500, bytes_left=1000,
)  # fmt: skip


def test_a_state_says_how_far_how_fast_and_how_long(
    status: JobStatus, clock: Clock, tmp_path: Path
) -> None:
    clock.now += 20
    status.update(HALF, [WorkerStatus("a/b\n.mp4", 17), WorkerStatus()])
    document = written(tmp_path)
    expected = {
        "model": "tiny",
        "state": "running",
        "started": "2026-11-25T09:46:40+00:00",
        "updated": "2026-11-25T09:47:00+00:00",
        "host": socket.gethostname(),
        "process_id": os.getpid(),
        "done": 6,
        "failed": 1,
        "quarantined": 1,
        "pending": 4,
        "num_frames": 300,
        "frames_per_s": 15.0,
        "videos_per_s": 0.15,
        "times_real_time": 1.5,
        "left_s": 40,
        "workers": [{"video": "a/b\\n.mp4", "frame": 17}, {"video": "", "frame": 0}],
    }
    assert {name: document[name] for name in expected} == expected


def test_states_are_written_at_most_every_few_seconds(
    status: JobStatus, clock: Clock, tmp_path: Path
) -> None:
    counts = []
    for frames in range(12):
        status.update(JobCounts(pending=1, num_frames=frames))
        counts.append(written(tmp_path)["num_frames"])
        clock.now += 1
    assert counts == [0] * 5 + [5] * 5 + [10] * 2


def test_a_clock_that_is_set_back_does_not_silence_it(
    status: JobStatus, clock: Clock, tmp_path: Path
) -> None:
    status.update(JobCounts(pending=1))
    clock.now -= 3600
    status.update(JobCounts(pending=1, num_frames=9))
    document = written(tmp_path)
    assert (document["num_frames"], document["elapsed_s"], document["frames_per_s"]) == (9, 0, 0)


@pytest.mark.parametrize(
    "error, state, reason",
    [
        (None, "finished", ""),
        (KeyboardInterrupt(), "stopped", ""),
        (StorageError("disk\nfull"), "failed", "StorageError: disk"),
    ],
)
def test_the_last_state_is_written_at_once_and_says_how_it_ended(
    error: BaseException | None, state: str, reason: str, status: JobStatus, tmp_path: Path
) -> None:
    def job() -> None:
        with status:
            status.update(HALF, [WorkerStatus("a.mp4", 3)])
            status.update(JobCounts(done=12))
            if error is not None:
                raise error

    if error is None:
        job()
    else:
        with pytest.raises(type(error)):
            job()
    document = written(tmp_path)
    assert (document["state"], document["reason"]) == (state, reason)
    assert (document["done"], document["workers"], document["left_s"]) == (12, [], None)


def test_an_end_that_was_stated_stays(status: JobStatus, tmp_path: Path) -> None:
    with status:
        status.end("stopped")
    assert written(tmp_path)["state"] == "stopped"


def test_a_storage_that_refuses_does_not_stop_the_job_and_is_named_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    asked.clear()
    with (
        caplog.at_level(logging.WARNING),
        JobStatus(Refusing(tmp_path), clock=clock, every_s=5) as status,
    ):
        for _ in range(40):
            status.update(HALF)
            clock.now += 1
    # at 0, then 10 s and 20 s later, and at the end
    assert len(asked) == 4
    assert [record.message for record in caplog.records] == [
        "status.json cannot be written; the job continues: cannot write: no space left"
    ]


def test_no_secret_is_written(status: JobStatus, tmp_path: Path) -> None:
    status.update(HALF, [WorkerStatus("s3://me:hunter2@host/a.mp4", 1)])
    assert "hunter2" not in (tmp_path / STATUS).read_text()
    status.end("failed", "cannot reach https://me:hunter2@host")
    assert "hunter2" not in (tmp_path / STATUS).read_text()
    assert str(tmp_path) not in (tmp_path / STATUS).read_text()


@pytest.mark.parametrize(
    "counts, left_s",
    [
        (JobCounts(pending=0), 0.0),
        (JobCounts(pending=2, bytes_left=100), None),  # no video has ended yet
        (JobCounts(pending=2, bytes_left=100, bytes_done=50), 20.0),
        (JobCounts(pending=2, bytes_left=100, bytes_done=50, num_frames=5, frames_left=20), 40.0),
        (JobCounts(pending=2, frames_left=20), None),
    ],
)
def test_what_is_left_takes_as_long_as_what_is_done(
    counts: JobCounts, left_s: float | None
) -> None:
    assert counts.left_s(elapsed_s=10) == left_s


def test_a_status_is_read_and_described(status: JobStatus, clock: Clock, tmp_path: Path) -> None:
    clock.now += 20
    status.update(HALF, [WorkerStatus("a/b\n.mp4", 17), WorkerStatus()])
    lines = [
        "running: 8 of 12 videos (6 done, 1 failed, 1 quarantined), 4 pending",
        "300 frames in 20s (15.00 frames/s, 1.50 x real time)",
        "time left: 40s",
        "worker 1: a/b\\n.mp4, frame 17",
        "worker 2: loading the model",
    ]
    document = read_status(tmp_path)
    assert describe(document, clock.now) == lines
    *same, warning = describe(document, clock.now + 600)
    assert same == lines
    assert warning == (
        "warning: not updated for 10m00s, expected every 5s; check whether process "
        f"{os.getpid()} on {socket.gethostname()} still runs"
    )
    status.update(JobCounts(done=12, num_frames=300))
    status.end("failed", "disk full")
    assert describe(read_status(str(tmp_path)), clock.now + 600) == [
        "failed: 12 of 12 videos (12 done, 0 failed, 0 quarantined), 0 pending",
        "300 frames in 20s (15.00 frames/s)",
        "reason: disk full",
    ]


def test_a_status_is_read_from_a_bucket(s3_bucket: str, clock: Clock) -> None:
    JobStatus(open_storage(f"{s3_bucket}/out"), clock=clock).update(HALF)
    assert read_status(f"{s3_bucket}/out")["done"] == 6


def test_a_folder_without_a_status_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected status.json, found none; give the --out of"):
        read_status(tmp_path / "absent")


@pytest.mark.parametrize(
    "body", ["", "[1, 2]", '{"state": "running"}', '{"done": "x\\u001b[2J"}', "null"]
)
def test_another_file_of_that_name_is_refused(body: str, tmp_path: Path) -> None:
    (tmp_path / STATUS).write_text(body)
    with pytest.raises(ConfigError, match="status.json: not the status of a job"):
        read_status(tmp_path)


def test_a_status_of_strangers_cannot_write_to_the_terminal(
    status: JobStatus, tmp_path: Path
) -> None:
    status.update(HALF)
    document = read_status(tmp_path)
    document["state"] = "running\x1b[2J"
    assert describe(document, START_S)[0].startswith("running\\x1b[2J: ")


def test_a_status_is_no_outcome_of_a_video(status: JobStatus, tmp_path: Path) -> None:
    from pipelines.annotation.archive.listing import ArchivedVideo
    from pipelines.annotation.ledger import Ledger

    status.update(HALF)
    survey = Ledger(LocalStorage(tmp_path), "run").survey([ArchivedVideo("a", 1, "v")])
    assert [video.key for video in survey.pending] == ["a"]
