"""A run folder belongs to one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.run.lock import LOCK, hold_folder
from vis_core.errors import ConfigError

HOLD = """
import sys
from pathlib import Path
from pipelines.run.lock import hold_folder
hold_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Starts another process that locks the folder until its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def test_a_folder_that_another_process_holds_is_refused_until_it_ends(tmp_path: Path) -> None:
    child = holder(tmp_path)
    with pytest.raises(ConfigError, match=rf"another longtake \(process {child.pid}\) works in it"):
        hold_folder(tmp_path)
    child.kill()
    child.wait()
    hold_folder(tmp_path)
    hold_folder(tmp_path)
    assert (tmp_path / LOCK).is_file()


def test_folders_are_held_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    child = holder(tmp_path / "a")
    hold_folder(tmp_path / "b")
    child.communicate("")
    assert child.returncode == 0
