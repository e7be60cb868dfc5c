"""Steps of a run, with their actual work replaced."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from jobs.options import CONFIGS
from pipelines.annotation.ledger import VideoRow
from pipelines.annotation.summary import AnnotateSummary
from pipelines.config.loading import load_run_config
from pipelines.config.run import SyntheticConfig
from pipelines.data.given_data import GivenData
from pipelines.data.run_data import RunData, prepare_data
from pipelines.reports.collect import collect_report
from pipelines.run import steps
from pipelines.run.folder import Run, open_run
from vis_core.errors import ConfigError
from vis_core.formats.class_maps import CLASS_LISTS
from vis_core.formats.coco import read_coco

FEW = SyntheticConfig(
    images=4, train_videos=1, val_videos=1, test_videos=1, archive_videos=1, video_frames=3
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = load_run_config(CONFIGS / "tiny.yaml").model_copy(update={"synthetic": FEW})
    run = Run(tmp_path / "run", config, GivenData())
    open_run(run)
    return run


@pytest.fixture
def data(run: Run) -> RunData:
    return prepare_data(run.given, run.config, run.folder / "data", lambda count: None)  # noqa: ARG005


def test_the_table_of_annotated_videos_is_what_the_report_reads(
    run: Run, data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run.folder / "annotations" / "results"
    results.mkdir(parents=True)
    (results / "1.json").write_text(json.dumps({"videos": [{"length": 3}], "tracks": [1, 2]}))
    rows = [
        VideoRow("b.mp4", "done", result="results/1.json"),
        VideoRow("a.mp4", "failed", reason="no video stream", result="failed/2.json"),
    ]
    summary = AnnotateSummary(str(results.parent), rows)
    monkeypatch.setattr(steps, "resolve_model", lambda *_: None)
    monkeypatch.setattr(steps, "annotate_archive", lambda *_, **__: summary)
    assert steps.annotate(run, data, "models:/m@champion") is summary
    report = collect_report(run.folder)
    (card,), (failure,) = report.videos, report.failures
    assert card.name == "b.mp4" and (failure.name, failure.reason) == ("a.mp4", "no video stream")
    assert [f"{fact.value} {fact.name}" for fact in card.facts] == ["3 frames", "2 tracks"]


def test_pseudo_videos_are_generated_once_with_the_seed_of_the_run(
    run: Run, data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    class Generated:
        failed = (("clip", "a reason"),)

    def generate(*inputs: Any) -> Generated:
        calls.append(inputs)
        return Generated()

    monkeypatch.setattr(steps, "find_pseudo_videos", lambda *_: bool(calls))
    monkeypatch.setattr(steps, "generate_pseudo_videos", generate)
    assert steps.make_pseudo_videos(run, data) == steps.make_pseudo_videos(run, data)
    ((records, categories, config, out, seed, clips_per_image, on_progress),) = calls
    assert len(records) == 4 and categories == data.categories and callable(on_progress)
    assert (config, out) == (run.config.pseudo, run.folder / "pseudo")
    assert (seed, clips_per_image) == (run.config.seed, run.config.clips_per_image)


@pytest.mark.parametrize("epochs", [1.0, 2.5])
def test_training_counts_epochs_in_steps_and_leaves_the_run_as_it_is(
    epochs: float, run: Run, data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[Any] = []
    monkeypatch.setattr(steps, "mlflow_run", lambda _: MagicMock())
    monkeypatch.setattr(
        steps, "run_stages", lambda config, _, listener, *__: configs.append((config, listener))
    )
    first, *others = run.config.stages
    length = {"steps": None, "epochs": epochs, "batch_size": 1, "clips": "images"}
    config = run.config.model_copy(update={"stages": (first.model_copy(update=length), *others)})
    steps.train(replace(run, config=config), data, run.folder / "pseudo")
    ((counted, listener),) = configs
    images = sum(bool(r.labels) for r in read_coco(data.images.annotations, None)[0])
    expected = math.ceil(epochs * images)
    assert counted.stages[0].steps == expected > 1
    assert list(listener._stage_starts.values())[:2] == [0, expected]
    assert config.stages[0].epochs == epochs


def test_a_run_of_a_release_without_a_setting_resumes_with_its_default(run: Run) -> None:
    path = run.folder / "run.json"
    stored = json.loads(path.read_text())
    del stored["config"]["inference"]["stitching"]
    path.write_text(json.dumps(stored))
    open_run(run)
    stored["config"]["inference"]["chunk_frames"] += 1
    path.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=r"other settings \(.*chunk_frames"):
        open_run(run)


def test_thresholds_are_not_swept_on_classes_of_the_images(run: Run, data: RunData) -> None:
    trained = run.folder / "models" / "pairs"
    trained.mkdir(parents=True)
    (trained / "categories.json").write_text(json.dumps(CLASS_LISTS["coco"].to_json()))
    with pytest.raises(ConfigError, match="end the run with a stage that has classes: videos"):
        steps.sweep(run, data, trained)
    assert not (run.folder / "sweep").exists()
