"""MLflow servers that say no, and what answers in their place: one line, the right mend."""

import subprocess
import sys
import time

import pytest

from pipelines.mlflow_runs.runs import MlflowStore
from pipelines.registry.mlflow_registry import register_model, resolve_model
from tests.helpers.mlflow import migrated_store
from tests.helpers.models import make_model
from tests.helpers.refusing_server import Answer, mlflow_error, page, refusing_server, s3_error
from tests.helpers.s3 import S3Server
from vis_core.errors import VisError

LOGIN = ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"]
ADDRESS = ["correct the address of the MLflow server"]
TEXT = "You are not authenticated. Please see the documentation."
# mode -> (answer, exit code, words of the line)
MODES = {
    "401": (Answer(401, TEXT, "text/html"), 2, [TEXT[:24], *LOGIN]),
    "401 as JSON": (mlflow_error(401, "UNAUTHENTICATED", "who?"), 2, LOGIN),
    "401 of a proxy": (page(401), 2, LOGIN),
    "403": (Answer(403, "Permission denied", "text/html"), 2, LOGIN),
    "403 as JSON": (mlflow_error(403, "PERMISSION_DENIED", "no"), 2, LOGIN),
    "403 of a host": (Answer(403, "Invalid Host header", "text/plain"), 2, ["--allowed-hosts"]),
    "a page": (page(200), 2, ADDRESS),
    "no such page": (page(404), 2, ADDRESS),
    "not allowed": (page(405), 2, ADDRESS),
    "a tls port": (Answer(400, "HTTP request to an HTTPS server", "text/plain"), 2, ADDRESS),
    "another service": (Answer(404, '{"detail": "Not Found"}', "application/json"), 2, ADDRESS),
    "a proxy's password": (page(407), 2, ["NO_PROXY"]),
    "too large": (page(413), 2, ["limit of uploads"]),
    "bad gateway": (page(502), 4, ["502", "that the server runs"]),
    "in maintenance": (page(503), 4, ["503", "that the server runs"]),
    "broken": (mlflow_error(500, "INTERNAL_ERROR", "oops"), 4, ["500", "that the server runs"]),
}
VERBS = {
    "start": lambda uri, folder: MlflowStore(uri, "vis", folder).start_run("k"),
    "register": lambda uri, folder: register_model(
        MlflowStore(uri, "vis", folder), make_model(folder / "model"), "toy", {}
    ),
    "resolve": lambda uri, folder: resolve_model("models:/toy@champion", uri, folder / "cache"),
}


@pytest.fixture(scope="module")
def server():
    with refusing_server(page(200)) as started:
        yield started


def check_line(error, code, words):
    line = str(error)
    assert "\n" not in line and "CANARY" not in line and "<html" not in line.lower()
    assert error.exit_code == code, line
    for word in words:
        assert word in line, line


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("mode", MODES)
def test_a_refusal_is_one_line_with_its_mend(mode, verb, server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server.answer, code, words = MODES[mode]
    server.requests.clear()
    with pytest.raises(VisError) as caught:
        VERBS[verb](server.endpoint.replace("//", "//me:CANARY@"), tmp_path)
    check_line(caught.value, code, words)
    assert not any("artifacts" in request for request in server.requests), "nothing is uploaded"


def test_tls_on_a_plain_port_is_said(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(VisError) as caught:
        VERBS["start"](server.endpoint.replace("http:", "https:"), tmp_path)
    check_line(caught.value, 2, ADDRESS)


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "run" / "mlflow").mkdir(parents=True)
    (tmp_path / "run" / "mlflow" / "mlflow.db").write_bytes(migrated_store())
    return tmp_path / "run"


@pytest.mark.parametrize("verb", ["start", "register"])
def test_a_deleted_experiment_is_said_with_the_way_back(verb, run_folder):
    store = MlflowStore(None, "vis", run_folder)
    store.client.delete_experiment(store.experiment_id())
    with pytest.raises(VisError) as caught:
        VERBS[verb](None, run_folder)
    check_line(caught.value, 2, ["'vis'", "is deleted", "mlflow experiments restore -x 1"])
    store.client.restore_experiment("1")
    with VERBS["start"](None, run_folder):
        pass


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (s3_error(403, "AccessDenied"), ["AccessDenied", "bucket of the server's artifacts"]),
        (s3_error(404, "NoSuchBucket"), ["NoSuchBucket", "create the bucket"]),
    ],
)
def test_a_bucket_of_artifacts_that_says_no_is_said(
    answer, words, server, run_folder, tmp_path, monkeypatch
):
    for name, value in S3Server(server.endpoint, "AKCANARY", "CANARY").environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", server.endpoint)
    server.answer = answer
    store = MlflowStore(None, "vis", run_folder)
    store.client.create_experiment("vis", "s3://arch/artifacts")
    with pytest.raises(VisError) as caught:
        register_model(store, make_model(tmp_path / "model"), "toy", {})
    check_line(caught.value, 2, words)
    assert not store.client.search_model_versions("name = 'toy'")


def test_a_store_that_was_moved_keeps_new_files_where_it_lies_now(run_folder, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with MlflowStore(None, "vis", run_folder).start_run("old") as run:
        run.log_artifact(tmp_path / "a.json", "one")
    moved = run_folder.rename(tmp_path / "moved to")
    with MlflowStore(None, "vis", moved).start_run("new") as new:
        new.log_artifact(tmp_path / "a.json", "two")
    assert not run_folder.exists(), "the old folder does not come back"
    folders = {path.parent.name for path in (moved / "mlflow" / "artifacts").rglob("a.json")}
    assert folders == {"one", "two"}
    (found,) = MlflowStore(None, "vis", moved).client.search_runs(
        ["1"], f"attributes.run_id = '{run.run_id}'"
    )
    assert "moved%20to" in found.info.artifact_uri, "earlier runs find their files, too"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"this is text, not a database" * 100, ["not a database", "file of an MLflow store"])],
)
def test_a_file_that_is_no_store_is_said(content, words, tmp_path):
    (tmp_path / "m.db").write_bytes(content)
    with pytest.raises(VisError) as caught:
        VERBS["start"](f"sqlite:///{tmp_path / 'm.db'}", tmp_path)
    check_line(caught.value, 2, words)


USE = """
import sys, time
from pathlib import Path
from pipelines.mlflow_runs.runs import MlflowStore
import mlflow.store.tracking.sqlalchemy_store
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
with MlflowStore(sys.argv[1], "vis", Path(sys.argv[3])).start_run(sys.argv[3][-1]):
    pass
"""


def test_two_first_users_of_one_store_both_succeed(tmp_path):
    uri, start = f"sqlite:///{tmp_path / 'new' / 'm.db'}", str(time.time() + 4)
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USE, uri, start, str(tmp_path / name)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in "ab"
    ]  # fmt: skip
    outcomes = [(*user.communicate(timeout=120), user.returncode) for user in users]
    assert outcomes == [("", "", 0)] * 2
    client = MlflowStore(uri, "vis", tmp_path).client
    assert len(client.search_runs(["1"])) == 2
