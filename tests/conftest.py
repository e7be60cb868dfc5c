"""What every test may ask for: the reference vectors and the data folder."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IN_CI = os.environ.get("CI", "").lower() == "true"


def reference_dir() -> Path:
    """The folder of reference vectors: LONGTAKE_REFERENCE_DIR, else the copy in tests/golden."""
    named = os.environ.get("LONGTAKE_REFERENCE_DIR")
    return Path(named).resolve() if named else ROOT / "tests" / "golden"


def reference_cases(pattern: str, always: bool = True) -> list[Path]:
    """Every reference file that matches, for pytest.mark.parametrize; never silently none in CI.

    Args:
        pattern: Below the folder of references.
        always: False for tables of names and sizes, which not every folder of references has.
    """
    found = sorted(reference_dir().glob(pattern))
    if IN_CI and always and not found:
        raise FileNotFoundError(f"no reference vectors {pattern} in {reference_dir()}")
    return found


def data_dir_or_none() -> Path | None:
    """The data folder if it is there."""
    folder = Path(os.environ.get("LONGTAKE_DATA_DIR") or ROOT.parent / "shared" / "data")
    return folder.resolve() if folder.is_dir() else None


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data folder; absent outside CI it skips the test, in CI it fails it."""
    folder = data_dir_or_none()
    if folder is None:
        message = "no data folder: set LONGTAKE_DATA_DIR"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return folder
