"""``longtake annotate --dry-run``: the output for people and for programs."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from jobs.cli import main
from pipelines.annotation.plan import measure
from pipelines.annotation.plan.plan import plan_lines
from pipelines.registry.start_weights import TINY_WEIGHTS
from tests.helpers.plans import gpu_plan
from tests.helpers.toy_archive import toy_archive


@pytest.mark.slow
def test_a_plan_with_real_weights_reads_well_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "BATCHES_S", 3.0)
    folder = toy_archive(tmp_path / "videos", 3)
    (folder / "broken\n.mp4").write_bytes(b"no video")
    words = ["annotate", str(folder), "--model", str(TINY_WEIGHTS), "--out", str(tmp_path / "out")]
    options = ["--plan", "--plan-samples", "8", "--workers", "1", "--gpu-hour-cost", "2"]
    assert main([*words, *options]) == 0
    text = capsys.readouterr().out
    for part in (
        "0 done, 0 failed, 4 to do",
        "opened    4 of 4 videos, 100% of the bytes; 1 cannot be read",
        "broken\\n.mp4: not a video",
        "network    1 at once on the cpu: ",
        "--set inference.chunk_frames=",
        "extrapolated to all videos to do\n",
        "frames    21\n",
        "video     2s\n",
        "cost      not known without --gpus-per-worker",
        "nothing was started or written\n",
    ):
        assert part in text
    assert not (tmp_path / "out").exists()
    assert main([*words, "--plan", "--json", "--max-frames", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["videos"]["to_do"] == 4
    assert document["extrapolated"]["frames"] == 6
    assert document["measured"]["chunk_frames"] > 0
    assert document["measured"]["batches"]["runs"][0]["frames"] == 1
    assert len([row for row in document["measured"]["videos"] if row["problem"]]) == 1


@pytest.mark.parametrize(
    "options, word",
    [
        (["--gpu-hour-cost", "2"], "only work with --dry-run"),
        (["--plan-samples", "2"], "only work with --dry-run"),
        (["--plan", "--plan-samples", "0"], "num_samples: expected at least 1"),
        (["--plan", "--gpu-hour-cost", "-1"], "gpu_hour_cost: expected 0 or more"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(
    options: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    words = ["annotate", str(tmp_path), "--model", str(TINY_WEIGHTS), "--out", str(tmp_path / "o")]
    assert main([*words, *options]) == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1


def test_an_archive_that_is_done_says_so() -> None:
    plan = gpu_plan()
    counts = {**plan.videos, "done": 3}
    done = asdict(replace(plan, videos=counts, measured=None, extrapolated=None))
    assert "3 done, 0 failed, 0 to do" in plan_lines(done)[2]
    assert plan_lines(done)[-1] == "nothing to do; nothing was started or written"
    assert done["extrapolated"] is None


def test_hours_and_cost_are_numbers_for_programs_and_lines_for_people() -> None:
    document = asdict(gpu_plan())
    assert json.loads(json.dumps(document)) == document
    assert (document["gpu_hours"], document["cost"]) == (2.0, 5.0)
    lines = plan_lines(document)
    assert "  GPU       2.00 GPU hours, 0.5 each" in lines
    assert "  cost      5.00" in lines
