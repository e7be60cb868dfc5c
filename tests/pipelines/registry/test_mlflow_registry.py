import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from pipelines.mlflow_runs.runs import MlflowStore
from pipelines.registry.mlflow_registry import register_model, resolve_model
from pipelines.registry.model_folder import read_model_folder
from tests.helpers.mlflow import migrated_store
from tests.helpers.models import make_model
from tests.helpers.presets import tiny_config
from vis_core.errors import CheckpointError, ConfigError, RegistryError
from vis_core.formats.categories import numbered
from vis_core.models.systems.build import build_system, load_system, save_system

TOY_CHECK = """
import json, pathlib, sys
from safetensors.numpy import load_file
folder = pathlib.Path(sys.argv[1])
weight = load_file(folder / "weights.safetensors")["weight"]
json.loads((folder / "config.json").read_text())
if not (weight == weight).all():
    raise SystemExit("weight holds NaN, token=CANARY")
"""


@pytest.fixture
def tracking(tmp_path):
    (tmp_path / "run" / "mlflow").mkdir(parents=True)
    (tmp_path / "run" / "mlflow" / "mlflow.db").write_bytes(migrated_store())
    return MlflowStore(None, "vis", tmp_path / "run")


@pytest.fixture
def check(tmp_path):
    (tmp_path / "check.py").write_text(TOY_CHECK)
    return [sys.executable, str(tmp_path / "check.py")]


def register(tracking, folder, check, **options):
    return register_model(tracking, folder, "toy", {"val/ap": 0.31}, check=check, **options)


def test_a_registered_model_comes_back_bit_for_bit(tracking, check, tmp_path):
    model = make_model(tmp_path / "model")
    done = register(tracking, model, check)
    assert (done.version, done.alias, done.previous) == (1, "champion", None)
    found = resolve_model("models:/toy@champion", tracking.uri, tmp_path / "cache")
    assert (found.name, found.version, found.digest) == ("toy", 1, done.digest)
    for name in ("weights.safetensors", "config.json", "categories.json"):
        assert (found.path / name).read_bytes() == (model / name).read_bytes()
    version = tracking.client.get_model_version("toy", "1")
    sha = hashlib.sha256((model / "config.json").read_bytes()).hexdigest()
    assert version.tags["sha256.config.json"] == sha
    assert version.tags["val/ap"] == "0.31" and version.tags["longtake.check"] == "passed"


def test_registering_the_same_files_again_makes_no_second_version(tracking, check, tmp_path):
    model = make_model(tmp_path / "model")
    first, again = register(tracking, model, check), register(tracking, model, check)
    assert again.version == first.version == 1
    assert len(tracking.client.search_model_versions("name = 'toy'")) == 1


def test_the_alias_moves_and_says_from_where(tracking, check, tmp_path):
    register(tracking, make_model(tmp_path / "a", 1.0), check)
    second = register(tracking, make_model(tmp_path / "b", 2.0), check)
    assert (second.version, second.previous) == (2, 1)
    cache = tmp_path / "cache"
    assert resolve_model("models:/toy@champion", tracking.uri, cache).version == 2
    assert resolve_model("models:/toy/1", tracking.uri, cache).version == 1


def test_a_model_that_fails_its_check_gets_no_alias(tracking, check, tmp_path):
    register(tracking, make_model(tmp_path / "good"), check)
    with pytest.raises(CheckpointError, match="holds NaN") as caught:
        register(tracking, make_model(tmp_path / "bad", float("nan")), check)
    assert "CANARY" not in str(caught.value) and "\n" not in str(caught.value)
    assert resolve_model("models:/toy@champion", tracking.uri, tmp_path / "cache").version == 1
    assert tracking.client.get_model_version("toy", "2").tags["longtake.check"] == "failed"


def test_a_check_killed_by_a_signal_is_a_failed_check(tracking, tmp_path):
    kill = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    with pytest.raises(CheckpointError, match="died without a message"):
        register(tracking, make_model(tmp_path / "model"), kill)


def test_changed_files_in_the_store_are_refused(tracking, check, tmp_path):
    register(tracking, make_model(tmp_path / "model"), check)
    (weights,) = (tmp_path / "run" / "mlflow" / "artifacts").rglob("weights.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: expected sha256"):
        resolve_model("models:/toy@champion", tracking.uri, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_cache_is_replaced(tracking, check, tmp_path):
    register(tracking, make_model(tmp_path / "model"), check)
    cache = tmp_path / "cache"
    first = resolve_model("models:/toy@champion", tracking.uri, cache)
    (first.path / "config.json").write_text("{}")
    again = resolve_model("models:/toy@champion", tracking.uri, cache)
    assert json.loads((again.path / "config.json").read_text()) == {"name": "toy"}


def test_a_file_added_in_the_store_is_refused(tracking, check, tmp_path):
    register(tracking, make_model(tmp_path / "model"), check)
    (config,) = (tmp_path / "run" / "mlflow" / "artifacts").rglob("config.json")
    (config.parent / "loader.py").write_text("import os")
    with pytest.raises(CheckpointError, match=r"loader\.py"):
        resolve_model("models:/toy/1", tracking.uri, tmp_path / "cache")


@pytest.mark.parametrize("name", ["code.py", "model.pkl", "weights.pt", "MLmodel", "run.sh"])
def test_a_folder_with_anything_but_tensors_and_text_is_refused(tmp_path, name):
    model = make_model(tmp_path / "model")
    (model / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="tensors and text only"):
        read_model_folder(model)


def test_a_link_or_a_folder_in_a_model_is_refused(tmp_path):
    model = make_model(tmp_path / "linked")
    (model / "notes.txt").symlink_to("/etc/hostname")
    with pytest.raises(CheckpointError, match=r"notes\.txt"):
        read_model_folder(model)
    (make_model(tmp_path / "nested") / "code.json").mkdir()
    with pytest.raises(CheckpointError, match=r"code\.json"):
        read_model_folder(tmp_path / "nested")


def test_a_pickle_with_the_name_of_weights_is_refused(tmp_path):
    model = make_model(tmp_path / "model")
    (model / "weights.safetensors").write_bytes(b"\x80\x04cposix\nsystem\n" + b"x" * 64)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_model_folder(model)


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "categories.json"])
def test_a_missing_file_is_named(tmp_path, name):
    model = make_model(tmp_path / "model")
    (model / name).unlink()
    with pytest.raises(CheckpointError, match=f"but {name} is missing") as caught:
        read_model_folder(model)
    assert "\n" not in str(caught.value)


def test_the_files_that_a_model_folder_must_hold_are_those_that_a_system_writes(tmp_path):
    model = tmp_path / "model"
    save_system(model, build_system(tiny_config("minvis"), 1), numbered(["dog"]))
    assert sorted(read_model_folder(model).sha256) == sorted(p.name for p in model.iterdir())
    load_system(model)
    (model / "config.json").rename(model / "system.json")
    with pytest.raises(CheckpointError, match=r"but config\.json is missing"):
        read_model_folder(model)


def test_a_plain_folder_needs_no_store(tmp_path):
    model = make_model(tmp_path / "mine")
    found = resolve_model(str(model), None, tmp_path / "cache")
    assert (found.name, found.version, found.path) == ("mine", None, model)
    assert str(found).startswith("mine (")


def test_unknown_names_aliases_and_versions_say_what_there_is(tracking, check, tmp_path):
    register(tracking, make_model(tmp_path / "model"), check)
    cache = tmp_path / "cache"
    with pytest.raises(RegistryError, match="no alias 'best'.* aliases: champion"):
        resolve_model("models:/toy@best", tracking.uri, cache)
    with pytest.raises(RegistryError, match="no version 9.* versions 1 to 1"):
        resolve_model("models:/toy/9", tracking.uri, cache)
    with pytest.raises(RegistryError, match="no model is registered as 'dog'"):
        resolve_model("models:/dog@champion", tracking.uri, cache)


def test_a_missing_store_is_not_made_by_asking(tmp_path):
    uri = f"sqlite:///{tmp_path / 'typo.db'}"
    with pytest.raises(RegistryError, match="no tracking store"):
        resolve_model("models:/toy@champion", uri, tmp_path / "cache")
    assert not (tmp_path / "typo.db").exists()


@pytest.mark.parametrize("uri", ["models:/toy", "models:/toy/latest", "models:/a@b@c", "models:/"])
def test_a_uri_of_another_form_is_refused(uri, tracking, tmp_path):
    with pytest.raises(ConfigError, match="models:/name@alias"):
        resolve_model(uri, tracking.uri, tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "../x"])
def test_a_name_that_the_registry_cannot_hold_is_refused(name, tracking, tmp_path):
    with pytest.raises(ConfigError, match="register"):
        register_model(tracking, make_model(tmp_path / "model"), name, {})


def test_a_version_without_digests_is_not_trusted(tracking, tmp_path):
    run = tracking.start_run("foreign")
    run_id = run.open()
    tracking.client.log_artifacts(run_id, str(make_model(tmp_path / "model")), "model")
    run.finish()
    tracking.client.create_registered_model("foreign")
    source = f"{tracking.client.get_run(run_id).info.artifact_uri}/model"
    tracking.client.create_model_version("foreign", source, run_id=run_id)
    with pytest.raises(CheckpointError, match="no sha256 tags"):
        resolve_model("models:/foreign/1", tracking.uri, tmp_path / "cache")


def test_four_threads_move_an_alias_without_a_torn_state(tracking, check, tmp_path):
    done = [register(tracking, make_model(tmp_path / f"m{i}", i), check).version for i in range(3)]
    wrong = []

    def move(version):
        for _ in range(10):
            tracking.client.set_registered_model_alias("toy", "champion", str(version))
            found = resolve_model("models:/toy@champion", tracking.uri, tmp_path / "cache")
            value = read_model_folder(found.path).digest
            if value != found.digest:
                wrong.append(found)

    threads = [threading.Thread(target=move, args=[version]) for version in done]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_registering_is_quiet(tracking, check, tmp_path, capfd):
    register(tracking, make_model(tmp_path / "model"), check)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "alias", ["v1", "V12", "latest", "Latest", "best one", "prod.2", "", "a/b", "a@b"]
)
def test_an_alias_that_mlflow_forbids_is_refused_before_the_upload(
    alias, tracking, check, tmp_path
):
    with pytest.raises(ConfigError, match="--alias") as caught:
        register(tracking, make_model(tmp_path / "model"), check, alias=alias)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert tracking.client.get_experiment_by_name("vis") is None


@pytest.mark.parametrize(
    "name", ["_toy", "modèle", "模型", "a.b c", "it's", 'a"b', "v1", "x" * 200]
)
def test_a_name_that_mlflow_takes_is_taken_and_found(name, tracking, check, tmp_path):
    model = make_model(tmp_path / "model")
    done = register_model(tracking, model, name, {}, alias="_best-1", check=check)
    again = register_model(tracking, model, name, {}, alias=None, check=check)
    assert done.version == again.version == 1
    for uri in (f"models:/{name}@_best-1", f"models:/{name}/1"):
        assert resolve_model(uri, tracking.uri, tmp_path / "cache").name == name


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "a@b", "..", "line\nend", "'both\""])
def test_a_name_that_mlflow_forbids_is_refused_before_the_upload(name, tracking, check, tmp_path):
    with pytest.raises(ConfigError, match="--name") as caught:
        register_model(tracking, make_model(tmp_path / "model"), name, {}, check=check)
    assert "\n" not in str(caught.value)
    assert tracking.client.get_experiment_by_name("vis") is None


def test_a_store_that_was_moved_is_read_where_it_lies_now(tracking, check, tmp_path):
    register(tracking, make_model(tmp_path / "model"), check)
    (tmp_path / "run").rename(tmp_path / "moved to")
    uri = f"sqlite:///{tmp_path / 'moved to' / 'mlflow' / 'mlflow.db'}"
    assert resolve_model("models:/toy@champion", uri, tmp_path / "cache").version == 1
    (tmp_path / "moved to" / "mlflow" / "artifacts").rename(tmp_path / "lost")
    said = rf"was moved from {tmp_path}/run/mlflow to {tmp_path}/moved to/mlflow, its artifacts"
    with pytest.raises(RegistryError, match=said) as caught:
        resolve_model("models:/toy@champion", uri, tmp_path / "another cache")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_a_copy_of_a_store_reads_its_own_files(tracking, check, tmp_path):
    register(tracking, make_model(tmp_path / "model"), check)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (weights,) = (tmp_path / "run").rglob("weights.safetensors")
    weights.write_bytes(b"changed")
    uri = f"sqlite:///{tmp_path / 'copy' / 'mlflow' / 'mlflow.db'}"
    assert resolve_model("models:/toy/1", uri, tmp_path / "cache").version == 1


@pytest.mark.slow
def test_tracking_and_registry_work_over_a_real_server(tmp_path, check, capfd):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start_server(port, tmp_path)
    try:
        tracking = MlflowStore(f"http://127.0.0.1:{port}", "vis", tmp_path / "run")
        with tracking.start_run("train-1") as run:
            run.log_params({"a": 1})
            for step in range(200):
                run.log_metrics({"loss": 1.0 / (step + 1)}, step)
        assert len(tracking.client.get_metric_history(run.run_id, "loss")) == 200
        done = register(tracking, make_model(tmp_path / "model"), check)
        cache = tmp_path / "cache"
        found = resolve_model("models:/toy@champion", tracking.uri, cache)
        assert found.digest == done.digest
        with pytest.raises(RegistryError, match="no alias 'best'"):
            resolve_model("models:/toy@best", tracking.uri, cache)

        late = tracking.start_run("train-2")
        stop_server(server)
        for step in range(20):
            late.log_metrics({"loss": float(step)}, step)
        assert not late.finish(wait_s=15)
        server = start_server(port, tmp_path)
        with tracking.start_run("train-2") as again:
            pass
        assert len(tracking.client.get_metric_history(again.run_id, "loss")) == 20
        assert capfd.readouterr() == ("", "")
    finally:
        stop_server(server)


def start_server(port, folder):
    """Starts one worker on loopback with proxied artifacts; returns when it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "server-artifacts")]
    environment = dict(os.environ, MLFLOW_DISABLE_TELEMETRY="true")
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=environment
        )
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return server
        except OSError:
            time.sleep(0.2)
    stop_server(server)
    raise AssertionError((folder / "server.log").read_text()[-2000:])


def stop_server(server):
    """Ends the server and its worker, which share the session opened by the test."""
    if server.poll() is None:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


def test_a_registered_model_without_a_store_names_the_missing_store(tmp_path):
    with pytest.raises(ConfigError, match=r"models:/mine@champion needs .*MLFLOW_TRACKING_URI"):
        resolve_model("models:/mine@champion", None, tmp_path)
