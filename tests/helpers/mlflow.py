"""An empty MLflow store for tests: creating one takes seconds, copying it no time."""

import functools
import tempfile
from pathlib import Path

from pipelines.mlflow_runs.runs import MlflowStore


@functools.cache
def migrated_store() -> bytes:
    """Returns the sqlite file of an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        MlflowStore(None, "vis", Path(folder)).client.search_experiments()
        return (Path(folder) / "mlflow" / "mlflow.db").read_bytes()
