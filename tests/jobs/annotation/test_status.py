"""``longtake status``: a job's progress, for people and for programs."""

import json

from jobs.cli import main
from pipelines.annotation.status import JobCounts, JobStatus
from pipelines.storage.local import LocalStorage


def test_a_running_job_is_shown(tmp_path, capsys):
    JobStatus(LocalStorage(tmp_path), {"model": "tiny"}).update(JobCounts(done=3, pending=1))
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("running: 3 of 4 videos (3 done,")
    assert main(["status", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 3


def test_a_folder_of_no_job_is_refused_in_one_line(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 2
    assert "expected status.json, found none" in capsys.readouterr().err
