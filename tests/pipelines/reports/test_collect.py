import json

import pytest

from jobs.cli import main
from pipelines.reports.collect import collect_report
from vis_core.errors import ConfigError

START = {"system.association.match_threshold": 0.5}


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "my run"
    (folder / "annotations").mkdir(parents=True)
    (folder / "overlays").mkdir()
    (folder / "config.yaml").write_text("seed: 7\nmodel_name: demo\nsystem: {name: ctvis}\n")
    stages = [
        {"name": "image", "steps": 20, "seconds": 10.0, "metrics": {"ap": 0.2}},
        {"name": "video", "steps": 10, "seconds": 5.0, "metrics": {"ap": 0.3}},
    ]
    (folder / "stages.json").write_text(json.dumps(stages))
    (folder / "evaluation.json").write_text(json.dumps({"ap": 0.35, "ap50": 0.5, "note": "x"}))
    rows = [
        {"stage": stage, "step": step, "train/loss/total": 9.0, "train/loss/mask": 1.0,
         "train/loss/rate": 1e-4, "time/step_s": 0.1}
        for stage, count in (("image", 20), ("video", 10))
        for step in range(5, count + 1, 5)
    ]  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "losses.jsonl").write_text(lines + '{"stage": "video", "st')
    trials = [{"values": START, "ap": 0.3}, {"values": {k: 0.7 for k in START}, "ap": 0.35}]
    (folder / "sweep.json").write_text(json.dumps({"start": START, "trials": trials}))
    videos = [
        {"name": "a.mp4", "status": "done", "frames": 12, "tracks": 1, "seconds": 2.0},
        {"name": "b.mp4", "status": "failed", "reason": "no video stream; token=CANARY"},
    ]
    (folder / "annotations" / "summary.json").write_text(json.dumps({"videos": videos}))
    (folder / "overlays" / "a.mp4").write_bytes(b"x")
    return folder


def test_a_whole_run_folder_is_read(run_dir):
    report = collect_report(run_dir)
    assert report.title == "demo: my run" and report.absent == ()
    assert [stage.name for stage in report.stages] == ["image", "video"]
    assert report.final == {"ap": 0.35, "ap50": 0.5}
    facts = {fact.name: fact.value for fact in report.facts}
    assert (facts["system"], facts["seed"], facts["training steps"]) == ("ctvis", "7", "30")
    headlines = {fact.name: fact.value for fact in report.headlines}
    assert headlines["video AP"] == "0.350" and headlines["training time"] == "15s"
    (card,) = report.videos
    assert card.media == run_dir / "overlays" / "a.mp4"
    assert [f"{f.value} {f.name}".strip() for f in card.facts] == ["12 frames", "1 track", "2s"]
    (failure,) = report.failures
    assert failure.name == "b.mp4" and "CANARY" not in failure.reason


@pytest.mark.parametrize(
    "inference, shown", [('{views: ["96", "128+flip"]}', "96, 128+flip"), ("{views: []}", None)]
)
def test_views_of_the_run_are_named(run_dir, inference, shown):
    (run_dir / "config.yaml").write_text(f"seed: 7\ninference: {inference}\n")
    facts = {fact.name: fact.value for fact in collect_report(run_dir).facts}
    assert facts.get("views") == shown


def test_losses_of_stages_follow_each_other_and_a_cut_line_is_dropped(run_dir):
    report = collect_report(run_dir)
    assert [(mark.x, mark.name) for mark in report.marks] == [(0, "image"), (20, "video")]
    (total,), (mask,) = (series for _, series in report.curves)
    assert total.x == mask.x == (5, 10, 15, 20, 25, 30)
    assert (total.name, mask.name) == ("total", "mask")


def test_trials_are_sorted_and_the_setting_before_the_sweep_is_named(run_dir):
    trials = collect_report(run_dir).sweep
    assert [(trial.score, trial.note) for trial in trials] == [
        (0.35, ""),
        (0.3, "before the sweep"),
    ]


@pytest.mark.parametrize(
    "name",
    ["stages.json", "losses.jsonl", "sweep.json", "evaluation.json", "annotations/summary.json",
     "config.yaml"],
)  # fmt: skip
def test_a_part_that_is_not_there_is_named_and_the_rest_is_shown(run_dir, name):
    (run_dir / name).unlink()
    (absent,) = [part for part in collect_report(run_dir).absent if name.split("/")[-1] in part]
    assert absent


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[1, 2]", '{"videos": 3}', '"x"', "[null, {}]", '[{"steps": "x"}]',
     '{"trials": [{"values": [3]}]}', '{"notes": 3}'],
)  # fmt: skip
@pytest.mark.parametrize(
    "name",
    ["stages.json", "sweep.json", "evaluation.json", "annotations/summary.json", "losses.jsonl",
     "data/data.json"],
)  # fmt: skip
def test_files_of_another_shape_do_not_stop_the_page(run_dir, name, text):
    (run_dir / name).parent.mkdir(exist_ok=True)
    (run_dir / name).write_text(text)
    collect_report(run_dir)


def test_a_missing_or_foreign_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected a run folder"):
        collect_report(tmp_path / "none")
    with pytest.raises(ConfigError, match="contains no file of a run"):
        collect_report(tmp_path)


def test_overlays_alone_make_a_page(tmp_path):
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "v.mp4").write_bytes(b"x")
    assert [card.name for card in collect_report(tmp_path).videos] == ["v"]


def test_the_command_writes_the_page_and_says_where(run_dir, capsys):
    assert main(["report", str(run_dir)]) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "report.html")
    assert "no video stream" in (run_dir / "report.html").read_text()


def test_the_command_refuses_a_folder_without_a_run_in_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(tmp_path) in error
    assert list(tmp_path.iterdir()) == []
