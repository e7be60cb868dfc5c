import json
from pathlib import Path

from jobs.options import CONFIGS
from pipelines.config.loading import load_run_config
from pipelines.data.given_data import GivenData
from pipelines.experiments.comparison import write_learning_curves
from pipelines.run.folder import Run


def small_run(folder: Path, preset: str) -> Run:
    run = Run(folder / preset, load_run_config(CONFIGS / f"{preset}.yaml"), GivenData())
    (run.folder / "evaluation" / "images").mkdir(parents=True)
    rows = [
        {"stage": stage.name, "step": step, "train/loss/total": 9.0 / step}
        for stage in run.config.stages
        for step in (10, 20)
    ]
    (run.folder / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = {"100": {"ap": 0.25}, "20": {"ap": 0.125}}
    (run.folder / "evaluation" / "images" / "on_the_way.json").write_text(json.dumps(scores))
    return run


def test_learning_curves_are_one_page_with_a_line_for_each_run(tmp_path: Path) -> None:
    runs = [(name, small_run(tmp_path, name)) for name in ("stc_tiny", "minvis_tiny")]
    write_learning_curves(tmp_path / "curves.html", runs)
    text = (tmp_path / "curves.html").read_text()
    losses, scores = text.split("AP on validation videos</h3>")
    for name, _ in runs:
        assert f"</span>{name} <b>" in losses
        assert f"</span>{name} <b>0.25</b>" in scores, "validation AP is not smoothed"


def test_learning_curves_of_runs_without_a_line_are_a_page_too(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", load_run_config(CONFIGS / "stc_tiny.yaml"), GivenData())
    write_learning_curves(tmp_path / "curves.html", [("stc", run)])
    assert "<figure" not in (tmp_path / "curves.html").read_text()
