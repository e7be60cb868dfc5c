"""Writers of a folder are killed at any step: its files stay whole."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.storage.local import PARTIAL_FOLDER, LocalStorage

WRITER = """
import hashlib, sys
from pathlib import Path
from pipelines.storage.open import LocalStorage
storage = LocalStorage(Path(sys.argv[1]))
storage.remove_stale_partials()
print("ready", flush=True)
for number in range(300):
    body = hashlib.sha256(str(number).encode()).digest() * 3000
    storage.write_once(f"results/{number:03d}", body)
"""

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from pipelines.storage.open import LocalStorage
left = int(sys.argv[2])
def counted(original):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
for name in ("mkdir", "fsync", "link", "unlink", "open"):
    setattr(os, name, counted(getattr(os, name)))
LocalStorage(Path(sys.argv[1])).write_once("results/a", b"whole content")
print("finished")
"""


def python(code, *args):
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_kill_at_any_step_leaves_the_whole_content_or_none(tmp_path):
    finished = False
    for step in range(1, 60):
        root = tmp_path / str(step)
        process = python(KILLED_AT, root, step)
        output, _ = process.communicate(timeout=60)
        storage = LocalStorage(root)
        assert [entry.key for entry in storage.list()] in ([], ["results/a"])
        if storage.exists("results/a"):
            assert storage.read("results/a") == b"whole content"
        storage.remove_stale_partials()
        assert storage.write_once("results/a", b"whole content")
        assert list((root / PARTIAL_FOLDER).iterdir()) == []
        if "finished" in output:
            finished = True
            break
        assert process.returncode == -signal.SIGKILL
    assert finished
    assert step > 6


@pytest.mark.slow
def test_random_kills_tear_and_lose_nothing(tmp_path):
    chance = random.Random(1)
    kills = 0
    returncode = None
    while returncode != 0:
        process = python(WRITER, tmp_path)
        process.stdout.readline()
        try:
            # longer after each kill: checking finished work takes 40 ms on a slow machine
            process.communicate(timeout=chance.uniform(0, 0.03 + 0.001 * kills))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        returncode = process.returncode
        for entry in LocalStorage(tmp_path).list("results/"):
            assert entry.size == 96_000
    assert kills >= 3
    assert len(list(LocalStorage(tmp_path).list("results/"))) == 300
    LocalStorage(tmp_path).remove_stale_partials()
    assert list((tmp_path / PARTIAL_FOLDER).iterdir()) == []
