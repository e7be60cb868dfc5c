"""An empty MLflow store for tests: making one takes seconds, copying it none."""

import functools
import tempfile
from pathlib import Path

from pipelines.mlflow_runs.runs import MlflowStore


@functools.cache
def migrated_store() -> bytes:
    """The sqlite file of a store that holds nothing yet."""
    with tempfile.TemporaryDirectory() as folder:
        MlflowStore(None, "vis", Path(folder)).client.search_experiments()
        return (Path(folder) / "mlflow" / "mlflow.db").read_bytes()
