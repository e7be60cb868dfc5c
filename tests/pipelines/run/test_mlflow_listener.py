"""A run in the tracking store: each training value once, a picture, the run's tags."""

import subprocess
from pathlib import Path
from typing import Any

import cv2
import pytest

from pipelines.config.loading import load_run_config
from pipelines.config.run import RunConfig, SyntheticConfig
from pipelines.data.given_data import GivenData
from pipelines.data.run_data import RunData, prepare_data
from pipelines.results.score import LabelledVideos
from pipelines.run.facts import data_fingerprint, git_commit, run_facts
from pipelines.run.mlflow_listener import MlflowListener
from pipelines.run.pictures import write_samples
from pipelines.training.listener import StageResult
from pipelines.training.stages import TrainingPlace
from vis_core.formats.youtube_vis import read_youtube_vis, write_results

STC = Path(__file__).resolve().parents[3] / "jobs" / "configs" / "stc_tiny.yaml"
FEW = SyntheticConfig(
    images=4, train_videos=1, val_videos=1, test_videos=2, archive_videos=1, video_frames=4
)


class Record:
    """A record of everything sent to a run in the store."""

    def __init__(self) -> None:
        self.metrics: list[tuple[str, int, float | None]] = []
        self.artifacts: list[str] = []

    def log_metrics(self, numbers: dict[str, float], step: int, time_s: float | None) -> None:
        self.metrics += [(name, step, time_s) for name in numbers]

    def log_artifact(self, path: Path, folder: str) -> None:
        assert path.is_file()
        self.artifacts.append(f"{folder}/{path.name}")


def row(stage: str, step: int) -> dict[str, Any]:
    return {"stage": stage, "step": step, "train/loss/total": 3.0 / step, "time": 100.0 + step}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    config = load_run_config(STC).model_copy(update={"synthetic": FEW})
    return prepare_data(GivenData(), config, tmp_path_factory.mktemp("data"), lambda count: None)  # noqa: ARG005


@pytest.fixture
def config() -> RunConfig:
    return load_run_config(STC)


def test_each_line_is_sent_once_whatever_is_told_again(
    config: RunConfig, data: RunData, tmp_path: Path
) -> None:
    place = TrainingPlace(tmp_path, data, tmp_path / "pseudo")
    first = Record()
    listener = MlflowListener(first, config, place)  # type: ignore[arg-type]
    listener.losses(row("images", 10))
    listener.losses(row("images", 20))
    listener.losses(row("images", 10))
    listener.scored("images", 20, {"ap": 0.1})
    again = Record()  # of the process that continues after a kill
    listener = MlflowListener(again, config, place)  # type: ignore[arg-type]
    for step in (10, 20, 30):
        listener.losses(row("images", step))
    listener.scored("images", 20, {"ap": 0.1})
    listener.losses(row("videos", 10))
    steps = config.stages[0].steps
    name = "train/loss/total"
    assert first.metrics == [(name, 10, 110.0), (name, 20, 120.0), ("val/ap", 20, None)]
    assert again.metrics == [(name, 30, 130.0), (name, steps + 10, 110.0)]


def test_a_finished_stage_leaves_its_scores_and_pictures(
    config: RunConfig, data: RunData, tmp_path: Path
) -> None:
    place = TrainingPlace(tmp_path, data, tmp_path / "pseudo")
    (tmp_path / "losses.jsonl").write_text(
        '{"stage": "images", "step": 10, "train/loss/total": 2}\n'
    )
    (tmp_path / "evaluation" / "images").mkdir(parents=True)
    write_results(tmp_path / "evaluation" / "images" / "results.json", [])
    record = Record()
    listener = MlflowListener(record, config, place)  # type: ignore[arg-type]
    result = StageResult("images", 600, 12.0, {"ap": 0.3}, tmp_path / "models" / "images")
    listener.finished(result)
    listener.finished(result)
    assert record.metrics == [("test/ap", 600, None), ("time/stage_s", 600, None)]
    assert record.artifacts == ["pictures/predictions_images.jpg"]


def test_a_stage_without_scores_has_no_picture(
    config: RunConfig, data: RunData, tmp_path: Path
) -> None:
    record, place = Record(), TrainingPlace(tmp_path, data, tmp_path / "pseudo")
    listener = MlflowListener(record, config, place)  # type: ignore[arg-type]
    listener.finished(StageResult("images", 600, 12.0, {}, tmp_path / "models" / "images"))
    assert record.metrics == [("time/stage_s", 600, None)] and record.artifacts == []


def test_samples_show_the_tracks_that_are_found(data: RunData, tmp_path: Path) -> None:
    records, categories = read_youtube_vis(data.videos.test)
    track = records[0].tracks[0]
    entry = {
        "video_id": records[0].video_id,
        "category_id": categories.id_of_index(track.label),
        "score": 0.9,
        "segmentations": list(track.segmentations),
    }
    pictures = []
    for name, entries in (("none", []), ("weak", [entry | {"score": 0.1}]), ("one", [entry])):
        write_results(tmp_path / f"{name}.json", entries)
        videos = LabelledVideos(data.videos.test, data.videos.frames)
        write_samples(tmp_path / f"{name}.png", videos, tmp_path / f"{name}.json")
        pictures.append(cv2.imread(str(tmp_path / f"{name}.png")))
    none, weak, one = pictures
    assert (none == weak).all() and (one != none).any()


def test_the_fingerprint_is_of_what_the_annotations_say(data: RunData, tmp_path: Path) -> None:
    assert data_fingerprint(data) == data_fingerprint(data)
    changed = tmp_path / "val.json"
    changed.write_bytes(data.videos.val.read_bytes() + b" ")
    from dataclasses import replace

    other = replace(data, videos=replace(data.videos, val=changed))
    assert data_fingerprint(other) != data_fingerprint(data)
    assert run_facts(data)["longtake.data"] == data_fingerprint(data)


def test_the_commit_is_that_of_the_checkout_alone(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert git_commit(tmp_path) == ""
    git("init", "--quiet")
    (tmp_path / "inside").mkdir()
    (tmp_path / "file").write_text("a")
    git("add", ".")
    git("commit", "--quiet", "-m", "a")
    commit = git("rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    assert git_commit(tmp_path / "inside") == ""
    (tmp_path / "file").write_text("b")
    assert git_commit(tmp_path) == f"{commit}-dirty"
