"""``longtake annotate`` at its edges: refusals, exit codes and lazy imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import main
from pipelines.annotation.ledger import VideoRow
from pipelines.annotation.summary import AnnotateSummary

ROOT = Path(__file__).resolve().parents[3]
PROBE = """
import sys
from jobs.cli import main
code = main(sys.argv[1:])
heavy = sorted({"ray", "torch", "mlflow", "transformers"} & set(sys.modules))
print("code", code, "heavy", heavy)
"""


def probe(*arguments):
    """Runs the command in a fresh process; returns exit code, heavy modules and messages."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "annotate", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip(), done.stderr.strip()


def test_a_wrong_folder_is_one_line_before_anything_heavy_starts(tmp_path):
    output, message = probe(tmp_path / "absent", "--model", "m", "--out", tmp_path / "out")
    assert output == "code 2 heavy []"
    assert message.count("\n") == 0
    assert "absent: does not exist" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, content, word",
    [("", None, "no video file"), ("notes.txt", b"x", "1 other file")],
)
def test_a_folder_without_a_video_is_refused(name, content, word, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    if content is not None:
        (tmp_path / "in" / name).write_bytes(content)
    code = main(["annotate", str(tmp_path / "in"), "--model", "m", "--out", str(tmp_path / "out")])
    assert code == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_refused_before_anything_heavy_starts(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    output, message = probe(tmp_path, "--model", tmp_path / "model", "--out", tmp_path / "out")
    assert output == "code 2 heavy []"
    assert "model" in message


@pytest.mark.parametrize(
    "override, word",
    [
        ("system.name=idol", "expected a key of inference"),
        ("inference.chunk_framez=3", "chunk_framez"),
        ("inference.chunk_frames=0", "chunk_frames"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(override, word, tmp_path, capsys):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    arguments = [str(tmp_path), "--model", "m", "--out", str(tmp_path / "out"), "--set", override]
    assert main(["annotate", *arguments]) == 2
    assert word in capsys.readouterr().err


def summary_with(**changes):
    rows = [
        VideoRow("a.mp4", "done"),
        VideoRow("b\n.mp4", "failed", "file is empty (0 bytes)", kind="empty"),
    ]
    return AnnotateSummary(out="out", rows=rows, **changes)


@pytest.mark.parametrize(
    "options, changes, code",
    [
        ([], {}, 0),
        (["--max-failed", "1"], {}, 0),
        (["--max-failed", "0"], {}, 3),
        ([], {"interrupted": True, "num_pending": 4}, 130),
    ],
)
def test_the_exit_code_says_how_it_ended(options, changes, code, tmp_path, monkeypatch, capsys):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    received = {}

    def annotate_archive(*arguments):
        received.update(vars(arguments[-1]))
        return summary_with(**changes)

    monkeypatch.setattr("pipelines.registry.mlflow_registry.resolve_model", lambda *_: "model")
    monkeypatch.setattr("pipelines.annotation.job.annotate_archive", annotate_archive)
    arguments = [str(tmp_path), "--model", "m", "--out", "o", "--workers", "3", *options]
    assert main(["annotate", *arguments]) == code
    assert received["workers"] == 3
    output = capsys.readouterr().out.splitlines()
    assert output[0] == "failed: b\\n.mp4: file is empty (0 bytes)"
    assert [line.split() for line in output[1:3]] == [["done", "1"], ["failed:", "empty", "1"]]
    assert output[3].startswith("2 videos: 1 done, 1 failed, 0 quarantined")
    assert main(["annotate", *arguments, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in document["rows"]] == ["done", "failed"]
