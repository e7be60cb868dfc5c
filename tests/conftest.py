"""Fixtures for every test: the reference vectors and the data folder."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IN_CI = os.environ.get("CI", "").lower() == "true"


def reference_dir() -> Path:
    """Returns the folder of reference vectors: LONGTAKE_REFERENCE_DIR, else tests/golden."""
    named = os.environ.get("LONGTAKE_REFERENCE_DIR")
    return Path(named).resolve() if named else ROOT / "tests" / "golden"


def reference_cases(pattern: str, always: bool = True) -> list[Path]:
    """Lists the matching reference files for pytest.mark.parametrize; in CI an empty list fails.

    Args:
        pattern: Below the folder of references.
        always: False for tables of names and sizes, which some folders of references lack.
    """
    found = sorted(reference_dir().glob(pattern))
    if IN_CI and always and not found:
        raise FileNotFoundError(f"no reference vectors {pattern} in {reference_dir()}")
    return found


def data_dir_or_none() -> Path | None:
    """Returns the data folder if it exists."""
    folder = Path(os.environ.get("LONGTAKE_DATA_DIR") or ROOT.parent / "shared" / "data")
    return folder.resolve() if folder.is_dir() else None


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Returns the data folder; without it the test is skipped, or fails in CI."""
    folder = data_dir_or_none()
    if folder is None:
        message = "no data folder: set LONGTAKE_DATA_DIR"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return folder
