import logging
import math
import socket
import sqlite3
import time
from pathlib import Path

import pytest

from pipelines.mlflow_runs.client import connect, tracking_uri
from pipelines.mlflow_runs.runs import LONG_VALUE, MlflowStore
from tests.helpers.mlflow import migrated_store
from tests.helpers.waiting import wait_until
from vis_core.errors import ConfigError, RegistryError


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run with space"
    (folder / "mlflow").mkdir(parents=True)
    (folder / "mlflow" / "mlflow.db").write_bytes(migrated_store())
    return folder


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def stored(tracking, run_id):
    return tracking.client.get_run(run_id)


def test_a_run_holds_params_metrics_tags_and_artifacts(run_folder, tmp_path):
    tracking = MlflowStore(None, "vis", run_folder, clock=lambda: 12.5)
    file = tmp_path / "a table.json"
    file.write_text("{}")
    with tracking.start_run("train-1", "stage 1") as run:
        run.log_params({"system.name": "ctvis", "steps": 100})
        run.log_metrics({"train/loss/embed": 2.5, "val/ap": 0.25}, step=3)
        run.log_artifact(file, "tables")
        run.set_tags({"stage": "image"})
    kept = stored(tracking, run.run_id)
    assert kept.info.status == "FINISHED" and kept.info.run_name == "stage 1"
    assert kept.data.params == {"system.name": "ctvis", "steps": "100"}
    assert kept.data.metrics == {"train/loss/embed": 2.5, "val/ap": 0.25}
    assert kept.data.tags["stage"] == "image"
    history = tracking.client.get_metric_history(run.run_id, "val/ap")
    assert [(m.step, m.timestamp) for m in history] == [(3, 12500)]
    artifacts = run_folder / "mlflow" / "artifacts"
    assert [path.name for path in artifacts.rglob("tables/*")] == ["a table.json"]
    assert not run.spool.path.exists()


def test_the_same_key_resumes_the_same_run_and_another_key_starts_one(run_folder):
    tracking = MlflowStore(None, "vis", run_folder)
    with tracking.start_run("train-1") as first:
        first.log_metrics({"loss": 2.0}, 1)
    with MlflowStore(None, "vis", run_folder).start_run("train-1") as again:
        again.log_metrics({"loss": 1.0}, 2)
    with tracking.start_run("train-2") as other:
        pass
    assert again.run_id == first.run_id != other.run_id
    steps = [m.step for m in tracking.client.get_metric_history(first.run_id, "loss")]
    assert steps == [1, 2]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_run_that_breaks_does_not_stay_running(run_folder, error, status):
    tracking = MlflowStore(None, "vis", run_folder)
    with pytest.raises(error), tracking.start_run("k") as run:
        raise error
    assert stored(tracking, run.run_id).info.status == status


def test_a_long_value_becomes_an_artifact(run_folder):
    tracking = MlflowStore(None, "vis", run_folder)
    text = "x" * (LONG_VALUE + 1)
    with tracking.start_run("k") as run:
        run.log_params({"data/classes": text})
    assert stored(tracking, run.run_id).data.params["data/classes"].startswith("xxxx")
    (path,) = (run_folder / "mlflow" / "artifacts").rglob("long_params/*.txt")
    assert path.read_text() == text


def test_more_params_and_metrics_than_one_request_takes_are_all_kept(run_folder):
    tracking = MlflowStore(None, "vis", run_folder)
    with tracking.start_run("k") as run:
        run.log_params({f"p{i}": i for i in range(250)})
        for step in range(30):
            run.log_metrics({f"m{i}": step for i in range(50)}, step)
    assert len(stored(tracking, run.run_id).data.params) == 250
    assert len(tracking.client.get_metric_history(run.run_id, "m49")) == 30


def test_a_param_that_changed_on_resume_keeps_its_first_value_with_a_warning(run_folder, caplog):
    tracking = MlflowStore(None, "vis", run_folder)
    with tracking.start_run("k") as run:
        run.log_params({"a": 1})
    with tracking.start_run("k") as run:
        run.log_params({"a": 2, "b": 3})
    assert stored(tracking, run.run_id).data.params == {"a": "1", "b": "3"}
    assert "other values of a" in caplog.text


def test_secrets_do_not_reach_the_store(run_folder):
    tracking = MlflowStore(None, "vis", run_folder)
    with tracking.start_run("k") as run:
        run.log_params({"s3.secret_key": "CANARY1", "uri": "https://me:CANARY2@host/x"})
        run.set_tags({"note": "password=CANARY3"})
    for path in run_folder.rglob("*"):
        assert not path.is_file() or b"CANARY" not in path.read_bytes(), path


def test_nan_metrics_do_not_stop_anything(run_folder):
    tracking = MlflowStore(None, "vis", run_folder)
    with tracking.start_run("k") as run:
        run.log_metrics({"loss": math.nan}, 1)
        run.log_metrics({"loss": math.inf}, 2)
    assert len(tracking.client.get_metric_history(run.run_id, "loss")) == 2


def test_a_store_that_goes_away_costs_nothing_and_gets_everything_later(run_folder, caplog):
    tracking = MlflowStore(None, "vis", run_folder)
    run = tracking.start_run("k")
    run.log_metrics({"loss": 1.0}, 1)
    run_id = run.open()
    database = run_folder / "mlflow" / "mlflow.db"
    assert wait_until(lambda: tracking.client.get_metric_history(run_id, "loss"))
    tracking.client.get_run = tracking.client.log_batch = tracking.client.set_terminated = refuse
    started = time.perf_counter()
    for step in range(2, 52):
        run.log_metrics({"loss": 1.0 / step}, step)
    assert time.perf_counter() - started < 1.0
    assert not run.finish(wait_s=5.0)
    assert run.spool.path.is_file()
    assert caplog.text.count("training continues") == 1

    with MlflowStore(None, "vis", run_folder).start_run("k") as again:
        pass
    assert again.run_id == run_id and not again.spool.path.exists()
    with sqlite3.connect(database) as store:
        rows = store.execute("select step from metrics where run_uuid = ?", [run_id]).fetchall()
    assert sorted(step for (step,) in rows) == list(range(1, 52))


def refuse(*_args, **_kwargs):
    raise ConnectionError("server is gone")


def test_lines_that_were_sent_before_a_kill_are_not_doubled(run_folder):
    tracking = MlflowStore(None, "vis", run_folder, clock=lambda: 1.0)
    with tracking.start_run("k") as run:
        run.log_metrics({"loss": 1.0}, 1)
        kept = run.spool.path.read_text()
    run.spool.path.write_text(kept + '{"kind": "metrics", "val')
    with tracking.start_run("k") as again:
        again.log_metrics({"loss": 0.5}, 2)
    steps = [m.step for m in tracking.client.get_metric_history(run.run_id, "loss")]
    assert steps == [1, 2]


def test_a_server_that_is_down_at_the_start_is_one_clear_error(tmp_path, closed_port):
    uri = f"http://me:CANARY@127.0.0.1:{closed_port}"
    started = time.perf_counter()
    with pytest.raises(RegistryError) as caught:
        MlflowStore(uri, "vis", tmp_path).start_run("k")
    assert time.perf_counter() - started < 20
    assert "CANARY" not in str(caught.value) and str(closed_port) in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 4


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "http://", "ftp://me:pw@host/x"])
def test_an_address_that_cannot_work_is_refused_by_name(uri, tmp_path):
    with pytest.raises(ConfigError, match=r"tracking\.uri") as caught:
        tracking_uri(uri, tmp_path)
    assert "pw" not in str(caught.value)


def test_a_run_key_that_is_no_file_name_is_refused(run_folder):
    with pytest.raises(ConfigError, match="run key"):
        MlflowStore(None, "vis", run_folder).start_run("../up")


def test_a_store_that_cannot_be_opened_is_one_clear_error(tmp_path):
    (tmp_path / "x").write_text("a file, not a folder")
    with pytest.raises(RegistryError, match="cannot open"):
        connect(f"sqlite:///{tmp_path / 'x' / 'mlflow.db'}")


def test_tracking_is_quiet(run_folder, tmp_path, capfd):
    with MlflowStore(None, "vis", run_folder).start_run("k") as run:
        run.log_metrics({"loss": 1.0}, 1)
    with MlflowStore(None, "new", tmp_path / "fresh").start_run("k") as run:
        run.log_params({"a": 1})
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert logging.getLogger("mlflow").level == logging.ERROR


def test_the_default_store_lies_under_the_run_folder(tmp_path):
    assert tracking_uri(None, tmp_path) == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert Path(tmp_path / "mlflow").exists() is False
