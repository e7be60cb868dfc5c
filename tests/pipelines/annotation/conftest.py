"""Fixtures of the annotation tests."""

from pathlib import Path

import pytest

from pipelines.registry.mlflow_registry import ModelReference
from tests.helpers.toy_archive import toy_model


@pytest.fixture
def model(tmp_path: Path) -> ModelReference:
    """Writes a model folder that the toy loaders read."""
    return toy_model(tmp_path / "model")
