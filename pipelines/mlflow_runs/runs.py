"""MLflow runs that never block training, since writes go to a file and a thread sends them.

The file (``tracking/<key>/metrics.jsonl`` in the run folder) contains the unsent writes. Sending a
line twice is harmless, because MLflow keeps one metric per (name, step, time, value), accepts
unchanged parameters again, and replaces artifacts. A killed or offline run therefore loses nothing,
since the next run with the same key sends the rest.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from pipelines.mlflow_runs.client import (
    RefusedError,
    artifact_location,
    connect,
    follow_move,
    is_refused,
    reason,
    retried_transfers,
    service_errors,
    tracking_uri,
    transport_errors,
)
from pipelines.mlflow_runs.spool import Entry, WriteSpool
from pipelines.redaction import mask_secrets, mask_value
from vis_core.errors import ConfigError, RegistryError

LONG_VALUE = 500  # characters; MLflow silently cuts values at 6000, and its pages show far less
_KEY_TAG = "longtake.run_key"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BATCH = 100  # params per request, MLflow's limit
_log = logging.getLogger(__name__)


class MlflowStore:
    """One experiment in a tracking store, created if absent.

    ``uri`` is ``sqlite:///FILE.db`` or ``http(s)://…``; None means a sqlite file in the run folder,
    where unsent writes are stored too. ``clock`` returns the time in seconds since 1970.
    """

    def __init__(
        self,
        uri: str | None,
        experiment: str,
        run_folder: Path,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.uri = tracking_uri(uri, run_folder)
        self.experiment = experiment
        self.run_folder = run_folder
        self.clock = clock
        self.client = connect(self.uri)

    def start_run(self, key: str, name: str | None = None) -> "MlflowRun":
        """Starts the run with ``key``, or resumes it if it exists in the experiment.

        Equal tasks have equal keys, such as ``train-3f2a91``; ``name`` is for MLflow's pages.

        Raises:
            ConfigError: If the key has characters that MLflow or a folder name does not allow.
            RegistryError: If the store does not answer.
        """
        if not _KEY.fullmatch(key):
            raise ConfigError(
                f"tracking: expected a run key of letters, digits, '.', '_' and '-', got {key!r}"
            )
        run = MlflowRun(self, key, name or key)
        with service_errors("cannot start a run in", self.uri):
            run.open()
        run.spool.start()
        return run

    def experiment_id(self) -> str:
        """Finds or creates the experiment and returns its id."""
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return self.client.create_experiment(self.experiment, artifact_location(self.uri))
            except transport_errors() as error:
                found = self.client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise error
        if found.lifecycle_stage != "active":
            raise RefusedError(
                f"experiment {self.experiment!r} in {mask_secrets(self.uri)} is deleted; restore "
                f"it (mlflow experiments restore -x {found.experiment_id}) or use another one "
                "(register --experiment)"
            )
        follow_move(self.uri, found)
        return str(found.experiment_id)


class MlflowRun:
    """One MLflow run, ended by ``finish`` or ``with``; only ``open`` and ``finish`` may block."""

    def __init__(self, tracking: MlflowStore, key: str, name: str) -> None:
        self.tracking = tracking
        self.key = key
        self.name = name
        self.run_id: str | None = None
        path = tracking.run_folder / "tracking" / key / "metrics.jsonl"
        self.spool = WriteSpool(path, self._send)

    def open(self) -> str:
        """Finds or creates the run with this key in the store and returns its id."""
        if self.run_id is None:
            client, experiment_id = self.tracking.client, self.tracking.experiment_id()
            found = client.search_runs(
                [experiment_id], f"tags.`{_KEY_TAG}` = '{self.key}'", max_results=1
            )
            if found:
                self.run_id = str(found[0].info.run_id)
                client.update_run(self.run_id, status="RUNNING")
            else:
                tags = {_KEY_TAG: self.key}
                created = client.create_run(experiment_id, tags=tags, run_name=self.name)
                self.run_id = str(created.info.run_id)
        return self.run_id

    def log_params(self, params: Mapping[str, object]) -> None:
        """Logs flat settings; masks secrets and moves long values to files in ``long_params/``.

        If a setting is already logged with another value, the first value stays and a warning is
        logged.
        """
        short: dict[str, str] = {}
        for name, value in params.items():
            text = mask_value(name, value)
            if len(text) > LONG_VALUE:
                file = f"long_params/{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.txt"
                self.spool.add({"kind": "text", "text": text, "file": file})
                text = f"{text[:40]}… ({len(text)} characters: artifact {file})"
            short[name] = text
        items = sorted(short.items())
        for start in range(0, len(items), _BATCH):
            self.spool.add({"kind": "params", "values": dict(items[start : start + _BATCH])})

    def log_metrics(
        self, metrics: Mapping[str, float], step: int, time_s: float | None = None
    ) -> None:
        """Logs metrics at a step without waiting; ``time_s`` counts from 1970, None means now."""
        values = {name: float(value) for name, value in metrics.items()}
        time_ms = int((self.tracking.clock() if time_s is None else time_s) * 1000)
        self.spool.add({"kind": "metrics", "values": values, "step": int(step), "time_ms": time_ms})

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Stores a file with the run; the file must exist until it is sent."""
        self.spool.add({"kind": "artifact", "path": str(path.absolute()), "folder": folder})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Sets tags, replacing earlier values."""
        texts = {name: mask_value(name, value) for name, value in tags.items()}
        self.spool.add({"kind": "tags", "values": texts})

    def finish(self, status: str = "FINISHED", wait_s: float = 30.0) -> bool:
        """Ends the run with ``FINISHED``, ``FAILED`` or ``KILLED``; returns whether all was sent.

        If writes are still unsent after ``wait_s``, a warning names the file that keeps them.
        """
        self.spool.add({"kind": "status", "status": status})
        num_unsent = self.spool.close(wait_s)
        if num_unsent:
            _log.warning(
                "tracking: %d writes of run %s wait in %s (%s did not take them); the next run "
                "with the same key sends them",
                num_unsent, self.key, self.spool.path, mask_secrets(self.tracking.uri),
            )  # fmt: skip
        return num_unsent == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED", wait_s=5.0)

    def _send(self, entries: list[Entry]) -> None:
        """Sends entries of one kind to the store; raises RegistryError if a retry may help."""
        try:
            run_id = self.open()
            if entries[0]["kind"] == "metrics":
                self._send_metrics(run_id, entries)
                return
            (entry,) = entries
            self._send_entry(run_id, entry)
        except transport_errors() as error:
            if not is_refused(error):
                raise RegistryError(reason(error)) from error
            _log.warning("tracking: %s refused: %s", entries[0]["kind"], reason(error))

    def _send_metrics(self, run_id: str, entries: list[Entry]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, entry["time_ms"], entry["step"])
            for entry in entries
            for name, value in entry["values"].items()
        ]
        self.tracking.client.log_batch(run_id, metrics=metrics)

    def _send_params(self, run_id: str, wanted: dict[str, str]) -> None:
        from mlflow.entities import Param

        known: dict[str, Any] = self.tracking.client.get_run(run_id).data.params
        changed = [n for n, value in wanted.items() if known.get(n, value) != value]
        if changed:
            _log.warning(
                "tracking: run %s was started with other values of %s; it keeps the first",
                self.key, ", ".join(changed),
            )  # fmt: skip
        new = [Param(n, value) for n, value in wanted.items() if n not in known]
        self.tracking.client.log_batch(run_id, params=new)

    def _send_entry(self, run_id: str, entry: Entry) -> None:
        """Sends an entry other than metrics."""
        client = self.tracking.client
        match entry["kind"]:
            case "params":
                self._send_params(run_id, entry["values"])
            case "tags":
                for name, value in entry["values"].items():
                    client.set_tag(run_id, name, value)
            case "text":
                with retried_transfers():
                    client.log_text(run_id, entry["text"], entry["file"])
            case "artifact" if not Path(entry["path"]).is_file():
                _log.warning("tracking: artifact %s no longer exists and is skipped", entry["path"])
            case "artifact":
                with retried_transfers():
                    client.log_artifact(run_id, entry["path"], entry["folder"])
            case _:
                client.set_terminated(run_id, status=entry["status"])
