"""MLflow clients: environment, addresses and errors. No other module imports MLflow's client.

With the timeouts set here, a call blocks for 2.4 s if the server refuses connections and for 17.4 s
if it hangs, instead of 264 s with MLflow's defaults (measured with MLflow 3.17.2).
"""

import fcntl
import logging
import os
import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config.libraries import configure_libraries
from pipelines.redaction import mask_secrets
from vis_core.errors import ConfigError, RegistryError, first_line, last_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
_TRANSFER_TIMEOUT_S = "300"  # a server may take minutes to forward large weights to its store
_transfers: list[str] = []  # the usual timeout, followed by one entry per active transfer
_transfer_lock = threading.Lock()
_REFUSED = {
    "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS",
}  # fmt: skip
_MEND_LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_MEND_ARTIFACTS = "correct the AWS_... credentials for the bucket of the server's artifacts"
_MEND_ADDRESS = "correct the address of the MLflow server (its path, and https:// or http://)"
# (pattern in the error, mend) for what the user must change; the first that matches counts
_MENDS = (
    (r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|locate credentials", _MEND_ARTIFACTS),
    (r"NoSuchBucket", "create the bucket of the server's artifacts"),
    (r"Host header", "start the server with this host in --allowed-hosts"),
    (r"(error code|failed:) 407", "write the proxy's password into HTTPS_PROXY, or use NO_PROXY"),
    (r"CERTIFICATE_VERIFY_FAILED", "name its authority in REQUESTS_CA_BUNDLE"),
    (r"WRONG_VERSION_NUMBER|record layer failure", _MEND_ADDRESS),
    (r"error code (401|403)|UNAUTH|PERMISSION_DENIED|40[13] Client Error", _MEND_LOGIN),
    (r"error code 413|413 Client Error", "raise the limit of uploads in the server's proxy"),
    (r"error code 40[045]|valid JSON format|40[45] Client Error|ERROR: Response:", _MEND_ADDRESS),
    (r"out-of-date database schema", "make a copy of the file and run mlflow db upgrade"),
    (r"Can't locate revision", "a later MLflow wrote it: install that version"),
    (r"file is not a database", "give the file of an MLflow store"),
)


class RefusedError(RegistryError):
    """A request that a store refuses until the user corrects it."""

    exit_code = 2


def tracking_uri(uri: str | None, run_folder: Path) -> str:
    """Checks a tracking store's address; None means a sqlite file in the run folder.

    Raises ConfigError if this kind of address is not supported.
    """
    if uri is None:
        return f"sqlite:///{run_folder.absolute() / 'mlflow' / 'mlflow.db'}"
    scheme, _, rest = uri.partition("://")
    if scheme not in ("sqlite", "http", "https") or not rest.strip("/"):
        raise ConfigError(
            f"tracking.uri: expected sqlite:///FILE.db, http://… or https://…, but got "
            f"{mask_secrets(uri)!r}; MLflow no longer keeps plain folders"
        )
    return uri


def artifact_location(uri: str) -> str | None:
    """Returns the artifact folder beside a sqlite store; None for a server with its own folder."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "artifacts").as_uri()


def follow_move(uri: str, experiment: "Experiment") -> None:
    """Points an experiment to the folder beside its sqlite store if the store was moved.

    MLflow stores absolute addresses, so that new artifacts would go to the old place.
    """
    from mlflow.utils.file_utils import local_file_uri_to_path

    old, new = str(experiment.artifact_location), artifact_location(uri)
    if new is None or old == new or not old.startswith("file:"):
        return
    was, now = (Path(local_file_uri_to_path(address)) for address in (old, new))
    if was.exists() or not now.is_dir():
        return
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=30)) as store, store:
        number = int(experiment.experiment_id)
        store.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", [new, number]
        )
        store.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE experiment_id = ? "
            "AND substr(artifact_uri, 1, ?) = ?",
            [new, len(old) + 1, number, len(old) + 1, f"{old}/"],
        )


def connect(uri: str, *, must_exist: bool = False) -> "MlflowClient":
    """Creates a client with timeouts and few log lines; does not contact the server yet.

    Raises RegistryError if a sqlite store cannot be opened, or is missing but ``must_exist``.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    configure_libraries()
    from mlflow import MlflowClient  # imported late, since this takes 1.2 s and reads variables

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with service_errors("cannot open", uri):
        if uri.startswith("sqlite:///"):
            file = Path(uri.removeprefix("sqlite:///"))
            if must_exist and not file.is_file():
                raise RegistryError(f"{file}: there is no tracking store; check the tracking uri")
            file.parent.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(file.parent):
                return MlflowClient(tracking_uri=uri, registry_uri=uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Locks a folder, since two processes that create the tables of one sqlite file both fail."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def transport_errors() -> tuple[type[Exception], ...]:
    """Returns the errors that MLflow raises when a store or server fails or refuses a request."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # requests' errors are OSErrors
    known: tuple[Any, ...] = (MlflowException, SQLAlchemyError, OSError)
    if boto3 := sys.modules.get("boto3"):  # MLflow loads it if artifacts go straight to S3
        boto = boto3.exceptions.botocore.exceptions
        known += (boto3.exceptions.Boto3Error, boto.BotoCoreError, boto.ClientError)
    return known


def is_missing(error: Exception) -> bool:
    """Returns whether the store answered that the requested object does not exist."""
    code = str(getattr(error, "error_code", ""))
    return code == "RESOURCE_DOES_NOT_EXIST" or (
        code == "INVALID_PARAMETER_VALUE" and "not found" in str(error)
    )


def is_refused(error: Exception) -> bool:
    """Returns whether the store refused a request for good, so that a retry cannot help."""
    return str(getattr(error, "error_code", "")) in _REFUSED


def reason(error: Exception) -> str:
    """Returns an error in one line, without secrets, object addresses or web pages."""
    text = re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "", str(error))
    text = re.sub(r"(?is)\W*response body: '\s*<.*", " and a web page", text)
    text = re.sub(r"HTTPS?ConnectionPool.*?Caused by ", "", text)
    line = first_line(text) or type(error).__name__
    if line.endswith(":"):  # MLflow's list of failed files follows
        line += f" {last_line(text)}"
    return mask_secrets(line)[:240]


@contextmanager
def service_errors(action: str, uri: str) -> Iterator[None]:
    """Turns MLflow errors into a RegistryError that names the action and the store."""
    try:
        yield
    except transport_errors() as error:
        kind, mend = _kind_and_mend(error, uri)
        raise kind(
            f"{action} {mask_secrets(uri)}: {reason(error)}; {mend}, then run again"
        ) from error


def _kind_and_mend(error: Exception, uri: str) -> tuple[type[RegistryError], str]:
    """Returns whether the store refuses or fails, and the mend."""
    text = str(error)
    for pattern, mend in _MENDS:
        if re.search(pattern, text):
            return RefusedError, mend
    if is_refused(error):
        return RefusedError, "correct the request"
    if uri.startswith("sqlite"):
        return RegistryError, "check the file, its folder and the free space"
    return RegistryError, "check the address and that the server runs"


@contextmanager
def retried_transfers() -> Iterator[None]:
    """Extends the timeout while files are transferred, until the last transfer ends."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    with _transfer_lock:
        if not _transfers:
            _transfers.append(os.environ[name])
        _transfers.append(os.environ[name])
        os.environ[name] = _TRANSFER_TIMEOUT_S
    try:
        yield
    finally:
        with _transfer_lock:
            _transfers.pop()
            if len(_transfers) == 1:
                os.environ[name] = _transfers.pop()
