"""Models in the MLflow registry, checked in a fresh process before use and verified when fetched.

MLflow runs a model's own code when loading it (models-from-code, loader modules, pickles), so its
loaders are never used. Files are downloaded, compared with the SHA-256 in the version tags, and
read by ``vis_core``.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.mlflow_runs.client import (
    RefusedError,
    artifact_location,
    connect,
    is_missing,
    reason,
    retried_transfers,
    service_errors,
    transport_errors,
)
from pipelines.mlflow_runs.runs import MlflowStore
from pipelines.redaction import mask_secrets
from pipelines.registry.foreign_models import as_model_folder, is_foreign
from pipelines.registry.model_folder import ModelFolder, read_model_folder, verify_model_folder
from vis_core.errors import CheckpointError, ConfigError, RegistryError, StorageError, last_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_CHECK = (sys.executable, "-m", "pipelines.registry.self_check")
_CHECK_TIMEOUT_S = 600.0
_SHA_TAG = "sha256."
_DIGEST_TAG = "longtake.digest"
_CHECK_TAG = "longtake.check"
_URI = re.compile(r"models:/+(?P<name>[^/:@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegisteredModel:
    """The outcome of ``register_model``; ``previous`` is the version that had the alias before."""

    name: str
    version: int  # from 1
    digest: str  # SHA-256 of the whole model
    alias: str | None
    previous: int | None


@dataclass(frozen=True)
class ModelReference:
    """A verified model in a local folder; unlike an alias, it always means the same version."""

    path: Path
    name: str  # registered name, or the folder's name
    version: int | None  # None for a plain folder
    digest: str  # SHA-256 of the whole model

    def __str__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        return f"{self.name}{version} ({self.digest[:12]})"


def register_model(
    tracking: MlflowStore,
    model_folder: Path,
    name: str,
    metrics: Mapping[str, float],
    alias: str | None = "champion",
    check: Sequence[str] | None = None,
) -> RegisteredModel:
    """Registers a model folder and moves the alias to it once it has passed its check.

    Args:
        name: Registering the same files twice under the same name is safe and creates one version.
        metrics: The model's scores, stored as tags of the version and metrics of its run.
        alias: Alias to move to the new version; None moves no alias.
        check: A command that runs in a fresh process with the downloaded model folder as its last
            argument; an exit code other than 0 rejects the model. None means
            ``pipelines.registry.self_check``.

    Raises:
        ConfigError: If the name or the alias has characters that MLflow does not allow.
        CheckpointError: If the folder is not a model or fails its check; the alias is not moved.
        RegistryError: If the store does not answer.
    """
    _check_names(name, alias)
    folder = read_model_folder(model_folder)
    client = tracking.client
    with service_errors(f"cannot register {name!r} in", tracking.uri):
        version = _version_of_digest(client, name, folder.digest)
        if version is None:
            version = _create_version(tracking, folder, name, metrics)
        with tempfile.TemporaryDirectory(prefix="longtake-check-") as scratch:
            downloaded = _download(client, tracking.uri, name, version, Path(scratch) / "model")
            _run_check(client, name, version, downloaded, check or MODEL_CHECK)
        previous = _move_alias(client, name, alias, version) if alias else None
    return RegisteredModel(name, version, folder.digest, alias, previous)


def resolve_model(uri: str, tracking_uri: str | None, cache: Path) -> ModelReference:
    """Finds a model by its uri and returns verified local files.

    Args:
        uri: ``models:/name@alias``, ``models:/name/3``, a model folder, or a model that
            ``pipelines/registry/foreign_models.py`` converts: ``hf:<id>``, or a checkpoint from
            the authors.
        cache: Folder for downloaded models, with one subfolder per digest.

    Raises:
        ConfigError: If the form of the uri is unknown, or no store is given.
        RegistryError: If the model, version or alias does not exist, or the store does not answer.
        CheckpointError: If the files differ from the registered ones.
    """
    if not uri.startswith("models:"):
        path = as_model_folder(uri, cache) if is_foreign(uri) else Path(uri)
        folder = read_model_folder(path)
        return ModelReference(folder.path, folder.path.resolve().name, None, folder.digest)
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ConfigError(
            f"model: expected models:/name@alias, models:/name/3 or a model folder, "
            f"got {mask_secrets(uri)!r}"
        )
    if tracking_uri is None:
        raise ConfigError(
            f"model: {mask_secrets(uri)} needs the store of registered models, found none; set "
            "MLFLOW_TRACKING_URI or give --tracking-uri"
        )
    client = connect(tracking_uri, must_exist=True)
    with service_errors(f"cannot read {uri} from", tracking_uri):
        version = _resolve_version(client, parts["name"], parts["alias"], parts["version"])
        return _cached_version(client, tracking_uri, parts["name"], version, cache)


def _cached_version(
    client: "MlflowClient", tracking_uri: str, name: str, version: int, cache: Path
) -> ModelReference:
    """Finds a version in the cache; downloads it if the cached copy is missing or damaged."""
    expected = _expected_digests(client, name, version)
    digest = ModelFolder(cache, expected).digest
    target = cache / digest[:32]
    if not _is_intact(target, expected):
        shutil.rmtree(target, ignore_errors=True)
        scratch = cache / f".{uuid.uuid4().hex}"
        try:
            _download(client, tracking_uri, name, version, scratch)
            with suppress(OSError):  # another process may have written the same files first
                scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if not target.is_dir():
        raise StorageError(f"cannot write {target}: free or open the folder, then run again")
    return ModelReference(target, name, version, digest)


def _check_names(name: str, alias: str | None) -> None:
    """Applies MLflow's own rules before anything is uploaded; MLflow does so only afterwards."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils import validation

    found = f"register: --name {name!r}, --alias {alias!r}"
    try:
        validation._validate_model_name(name)
        if alias is not None:
            validation._validate_model_alias_name(alias)
            validation._validate_model_alias_name_reserved(alias)
    except MlflowException as error:
        raise ConfigError(
            f"{found}: {reason(error).rstrip('.')}; give an alias of "
            "letters, digits, '_' and '-', a name without '/' and ':'"
        ) from error
    if not f"{name}{alias}".isprintable() or "@" in name or ("'" in name and '"' in name):
        raise ConfigError(
            f"{found}: expected printable characters, no '@' and "
            "one kind of quotes; correct the name"
        )


def _filter(name: str) -> str:
    quote = '"' if "'" in name else "'"
    return f"name = {quote}{name}{quote}"


def _version_of_digest(client: "MlflowClient", name: str, digest: str) -> int | None:
    versions = client.search_model_versions(_filter(name))
    same = [int(v.version) for v in versions if v.tags.get(_DIGEST_TAG) == digest]
    return max(same, default=None)


def _create_version(
    tracking: MlflowStore, folder: ModelFolder, name: str, metrics: Mapping[str, float]
) -> int:
    """Uploads the files to a new run and creates a version from them."""
    client = tracking.client
    with tracking.start_run(f"register-{folder.digest[:16]}", f"register {name}") as run:
        run.log_metrics(metrics, step=0)
        run_id = run.open()
        with retried_transfers():
            client.log_artifacts(run_id, str(folder.path), "model")
    try:
        client.create_registered_model(name)
    except transport_errors() as error:
        if "RESOURCE_ALREADY_EXISTS" not in str(getattr(error, "error_code", "")):
            raise
    tags: dict[str, Any] = {_SHA_TAG + file: sha for file, sha in folder.sha256.items()}
    tags |= {key: f"{value:.6g}" for key, value in metrics.items()}
    tags |= {_DIGEST_TAG: folder.digest, _CHECK_TAG: "pending"}
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    created = client.create_model_version(name, source, run_id=run_id, tags=tags)
    return int(created.version)


def _run_check(
    client: "MlflowClient", name: str, version: int, folder: Path, check: Sequence[str]
) -> None:
    """Runs the check in a fresh process and stores the outcome as a version tag."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    try:
        done = subprocess.run(
            [*check, str(folder)],
            capture_output=True, text=True, errors="replace", check=False,
            stdin=subprocess.DEVNULL, timeout=_CHECK_TIMEOUT_S, env=environment,
        )  # fmt: skip
        passed = done.returncode == 0
        problem = "" if passed else mask_secrets(last_line(done.stderr or done.stdout))[:240]
    except subprocess.TimeoutExpired:
        passed, problem = False, f"no answer within {_CHECK_TIMEOUT_S:.0f} s"
    client.set_model_version_tag(name, str(version), _CHECK_TAG, "passed" if passed else "failed")
    if not passed:
        raise CheckpointError(
            f"model {name!r} version {version} did not pass its check in a fresh process, so no "
            f"alias points at it: {problem or 'the process died without a message'}"
        )


def _move_alias(client: "MlflowClient", name: str, alias: str, version: int) -> int | None:
    """Points an alias at a version and reads it back, since MLflow has no compare-and-set."""
    previous = client.get_registered_model(name).aliases.get(alias)
    client.set_registered_model_alias(name, alias, str(version))
    now = int(client.get_model_version_by_alias(name, alias).version)
    if now != version:
        raise RegistryError(
            f"model {name!r}: {alias} was set to version {version}, but another job moved it to "
            f"{now} at the same time; register again to move it to yours"
        )
    if previous is None or int(previous) != version:
        _log.info("model %s: %s: %s -> %d", name, alias, previous or "none", version)
    return int(previous) if previous else None


def _resolve_version(
    client: "MlflowClient", name: str, alias: str | None, version: str | None
) -> int:
    try:
        if alias is not None:
            return int(client.get_model_version_by_alias(name, alias).version)
        return int(client.get_model_version(name, str(version)).version)
    except transport_errors() as error:
        if not is_missing(error):
            raise
        wanted = f"alias {alias!r}" if alias else f"version {version}"
        known = sorted(int(v.version) for v in client.search_model_versions(_filter(name)))
        if not known:
            raise RefusedError(
                f"no model is registered as {name!r}; register one with `longtake register`"
            ) from error
        aliases = ", ".join(sorted(client.get_registered_model(name).aliases)) or "none"
        raise RefusedError(
            f"model {name!r} has no {wanted}; it has versions {known[0]} to {known[-1]} and the "
            f"aliases: {aliases}"
        ) from error


def _expected_digests(client: "MlflowClient", name: str, version: int) -> dict[str, str]:
    tags = client.get_model_version(name, str(version)).tags
    digests = {k.removeprefix(_SHA_TAG): v for k, v in tags.items() if k.startswith(_SHA_TAG)}
    if not digests:
        raise CheckpointError(
            f"model {name!r} version {version} has no sha256 tags, so its files cannot be "
            "trusted; register it with `longtake register`"
        )
    return digests


def _download(client: "MlflowClient", uri: str, name: str, version: int, target: Path) -> Path:
    """Downloads a version's files into ``target`` and verifies them."""
    from mlflow.artifacts import download_artifacts

    source = _present(client.get_model_version_download_uri(name, str(version)), uri)
    with tempfile.TemporaryDirectory(prefix="longtake-model-") as scratch, retried_transfers():
        files = Path(download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=uri))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(files, target, symlinks=True)
    expected = _expected_digests(client, name, version)
    verify_model_folder(target, expected, f"model {name!r} version {version}")
    return target


def _present(source: str, uri: str) -> str:
    """Finds artifacts beside a sqlite store that was moved; MLflow stores absolute addresses."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    folder, present = artifact_location(uri), Path(local_file_uri_to_path(source))
    if folder is None or not (source.startswith("file:") or present.is_absolute()):
        return source
    artifacts = Path(local_file_uri_to_path(folder))
    beside = artifacts.joinpath(*present.parts[-3:])  # RUN/artifacts/model
    if beside.is_dir():
        return beside.as_uri()
    if not present.is_dir():
        raise RefusedError(
            f"{uri}: the store was moved from {present.parents[2].parent} to {artifacts.parent}, "
            "its artifacts are in neither folder; move them beside the file, then run again"
        )
    return source


def _is_intact(target: Path, expected: dict[str, str]) -> bool:
    try:
        verify_model_folder(target, expected, str(target))
    except CheckpointError:
        return False
    return True
