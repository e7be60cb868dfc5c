"""Consecutive stages: which are trained, skipped or refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from pipelines.config.loading import load_run_config
from pipelines.data.find_data import AnnotatedFiles, VideoFiles
from pipelines.data.run_data import RunData
from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.results.score import LabelledVideos
from pipelines.storage.open import absolute_uri
from pipelines.training import stages, validation
from pipelines.training.batches import BatchPlan
from pipelines.training.listener import StageResult
from pipelines.training.stages import TrainingPlace, run_stages
from pipelines.training.worker.job import StageJob, candidate_folder
from pipelines.training.worker.loop import stage_loss_weights
from vis_core.errors import ClusterError, ConfigError
from vis_core.files import write_text
from vis_core.formats.categories import numbered
from vis_core.formats.class_maps import ClassMap
from vis_core.models.systems.build import CATEGORIES_FILE, build_system

STC = Path(__file__).resolve().parents[3] / "jobs" / "configs" / "stc_tiny.yaml"


DATA = RunData(
    AnnotatedFiles(Path("images.json"), Path("images")),
    VideoFiles(Path("train.json"), Path("val.json"), Path("test.json"), Path("frames")),
    Path("archive"),
    numbered(("a", "b")),
    (),
    image_categories=numbered(("b", "c", "d")),
    class_map=ClassMap(numbered(("a", "b")), {"b": "b"}),
)


class FakeTrainer:
    """A replacement for Ray: takes no step, writes a training's files, and logs the calls.

    A model is one file with the number of its step, which is also its AP over 100.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.starts: dict[str, Path | None] = {}
        self.jobs: list[StageJob] = []

    @property
    def trained(self) -> list[str]:
        """Returns the names of the trained stages, in order."""
        return [call.removeprefix("train ") for call in self.calls if call.startswith("train")]

    def run_stage(
        self, job: StageJob, plan: BatchPlan, model: Path, on_losses: Callable[[Any], object]
    ) -> None:
        assert job.start is None or job.start.is_dir()
        assert (plan.key, plan.num_steps) == (job.key, job.stage.steps)
        self.calls.append(f"train {job.stage.name}")
        self.starts[job.stage.name] = job.start
        self.jobs.append(job)
        for step in (10, 30, 20) if job.stage.evaluate_every else ():
            self.save(candidate_folder(job.candidates, step), step)
        self.save(job.work / "checkpoints" / "step-00000001", 1)
        self.save(model, 0)
        on_losses({"stage": job.stage.name, "step": job.stage.steps})

    @staticmethod
    def save(folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CATEGORIES_FILE, str(step))

    def score(
        self, model: Path, videos: LabelledVideos, out: Path, *_: Any, **__: Any
    ) -> dict[str, float]:
        out.mkdir(parents=True, exist_ok=True)
        step = int((model / CATEGORIES_FILE).read_text())
        self.calls.append(f"score step {step} on {videos.annotations.stem}")
        return {"ap": -abs(step - 20) / 100}


class Listener:
    """A listener that logs its calls in the same list as the trainer."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def losses(self, row: dict[str, Any]) -> None:
        self.calls.append(f"losses of {row['stage']}")

    def scored(self, stage: str, step: int, scores: dict[str, float]) -> None:
        self.calls.append(f"scores of {stage} step {step}: {scores['ap']}")

    def finished(self, result: StageResult) -> None:
        self.calls.append(f"finished {result.name}")


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> FakeTrainer:
    fake = FakeTrainer()
    monkeypatch.setattr(stages, "run_stage", fake.run_stage)
    monkeypatch.setattr(stages, "score_model", fake.score)
    monkeypatch.setattr(validation, "score_model", fake.score)
    return fake


def train(
    trainer: FakeTrainer,
    folder: Path,
    *changes: str,
    only: str | None = None,
    data: RunData = DATA,
) -> list[StageResult]:
    config = load_run_config(STC, ["start_from=null", *changes])
    place = TrainingPlace(folder, data, folder / "pseudo")
    return run_stages(config, place, Listener(trainer.calls), only)


def test_a_stage_is_trained_then_scored_then_marked_then_cleaned(
    trainer: FakeTrainer, tmp_path: Path
) -> None:
    settings = ["stages.0.evaluate_every=10", "stages.0.keep=best"]
    (result,) = train(trainer, tmp_path, *settings, only="images")
    on_the_way = [
        f"{kind} step {step}{rest}"
        for step, ap in ((10, -0.1), (20, 0.0), (30, -0.1))
        for kind, rest in (("score", " on val"), ("scores of images", f": {ap}"))
    ]
    assert sorted(trainer.calls[1:8]) == sorted(["losses of images", *on_the_way])
    assert [trainer.calls[0], *trainer.calls[8:]] == [
        "train images",
        "score step 20 on test",  # the best model was copied before
        "finished images",
    ]
    evaluation = tmp_path / "evaluation" / "images"
    assert json.loads((evaluation / "on_the_way.json").read_text()).keys() == {"10", "20", "30"}
    assert json.loads((evaluation / "finished.json").read_text())["metrics"] == result.metrics
    assert not trainer.jobs[0].work.exists()
    assert json.loads((tmp_path / "stages.json").read_text())[0]["name"] == "images"


def test_the_last_model_stays_where_the_best_is_not_wanted(
    trainer: FakeTrainer, tmp_path: Path
) -> None:
    train(trainer, tmp_path, "stages.0.evaluate_every=10", "stages.0.keep=last", only="images")
    assert "score step 0 on test" in trainer.calls
    assert (tmp_path / "evaluation" / "images" / "on_the_way.json").is_file()


def test_a_stage_whose_scores_fail_is_not_finished(
    trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ClusterError("no more workers")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "score_model", fail)
        with pytest.raises(ClusterError):
            train(trainer, tmp_path, only="images")
    assert trainer.jobs[0].work.is_dir(), "the checkpoints stay"
    train(trainer, tmp_path, only="images")
    assert trainer.trained == ["images", "images"]


def test_one_stage_is_trained_after_the_ones_before_it(
    trainer: FakeTrainer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="stage images before it is not finished"):
        train(trainer, tmp_path, only="videos")
    with pytest.raises(ConfigError, match="no such stage; the run has images, videos"):
        train(trainer, tmp_path, only="pairs")
    assert trainer.trained == []
    assert [r.name for r in train(trainer, tmp_path, only="images")] == ["images"]
    assert [r.name for r in train(trainer, tmp_path, only="images")] == ["images"]
    assert trainer.trained == ["images"]
    results = train(trainer, tmp_path, only="videos")
    assert [result.name for result in results] == trainer.trained == ["images", "videos"]
    train(trainer, tmp_path)
    assert trainer.trained == ["images", "videos"]
    assert trainer.starts == {"images": None, "videos": tmp_path / "models" / "images"}


def test_other_settings_train_a_stage_and_all_after_it_again(
    trainer: FakeTrainer, tmp_path: Path
) -> None:
    train(trainer, tmp_path)
    train(trainer, tmp_path, "stages.1.steps=7")
    assert trainer.trained == ["images", "videos", "videos"]


def test_only_a_run_can_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "--out", str(tmp_path / "none")]) == 2
    assert "not a run folder (no run.json)" in capsys.readouterr().err


def test_a_stage_may_start_elsewhere_and_weigh_losses_otherwise(
    trainer: FakeTrainer, tmp_path: Path
) -> None:
    changes = ["stages.1.start_from=tiny", "stages.1.loss_weights={box: 2.5}"]
    train(trainer, tmp_path, *changes)
    assert trainer.starts == {"images": None, "videos": TINY_WEIGHTS}
    config = load_run_config(STC, changes)
    system = build_system(config.system, 2)
    weights = stage_loss_weights(system, config.stages[1].loss_weights)
    assert weights == system.loss_weights | {"box": 2.5}
    with pytest.raises(ConfigError, match=r"stages.1.loss_weights.boxes: stc has no such loss"):
        train(trainer, tmp_path / "other", "stages.1.loss_weights={boxes: 1.0}")


def test_a_folder_of_checkpoints_means_the_same_in_every_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("kept/here") == str(tmp_path / "kept" / "here")
    assert absolute_uri("s3://bucket/prefix") == "s3://bucket/prefix"
    assert absolute_uri(None) is None


def test_other_pseudo_videos_train_anew(trainer: FakeTrainer, tmp_path: Path) -> None:
    for change in ("clips_per_image=1", "clips_per_image=2", "stream_pseudo=true"):
        train(trainer, tmp_path, change)
    assert trainer.trained == ["images", "videos"] * 3


def test_a_stage_may_have_the_classes_of_the_images_and_is_then_not_scored(
    trainer: FakeTrainer, tmp_path: Path
) -> None:
    images, videos = train(trainer, tmp_path, "stages.0.classes=images")
    assert [job.categories.names for job in trainer.jobs] == [("b", "c", "d"), ("a", "b")]
    assert [job.fresh_classes for job in trainer.jobs] == [False, True]
    assert (images.metrics, videos.metrics) == ({}, {"ap": -0.2})
    assert "not scored on videos" in images.score and videos.score == "AP -0.200"
    assert [call for call in trainer.calls if call.startswith("score")] == ["score step 0 on test"]
    again = train(trainer, tmp_path, "stages.0.classes=images")
    assert trainer.trained == ["images", "videos"] and again[0].metrics == {}
    train(trainer, tmp_path)
    assert [job.fresh_classes for job in trainer.jobs[2:]] == [False, False]


def test_images_with_the_classes_of_the_videos_are_scored_and_a_start_elsewhere_goes_by_name(
    trainer: FakeTrainer, tmp_path: Path
) -> None:
    same = replace(DATA, image_categories=None, class_map=None)
    results = train(trainer, tmp_path / "same", "stages.0.classes=images", data=same)
    assert all(result.metrics for result in results)
    assert [job.fresh_classes for job in trainer.jobs] == [False, False]
    train(trainer, tmp_path / "tiny", "stages.0.classes=images", "stages.1.start_from=tiny")
    assert not trainer.jobs[-1].fresh_classes


def test_another_map_of_classes_trains_anew(trainer: FakeTrainer, tmp_path: Path) -> None:
    other = replace(DATA, class_map=ClassMap(DATA.categories, {"b": "b", "c": "a"}))
    train(trainer, tmp_path)
    train(trainer, tmp_path, data=other)
    assert trainer.trained == ["images", "videos"] * 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["stages.1.classes=images"], "have the classes of the videos"),
        (["stages.0.classes=images", "stages.0.evaluate_every=5"], "evaluate_every scores videos"),
        (
            ["stages.0.classes=images", "stages.0.clips=pseudo", "stream_pseudo=false"],
            "use stream_pseudo: true",
        ),
    ],
)
def test_classes_of_images_need_clips_of_images(changes: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_run_config(STC, changes)
