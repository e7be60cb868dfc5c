"""Scores of labelled videos whose class table differs from the model's, matched by name."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.cli import main
from pipelines.data.synthetic import CATEGORIES, write_clips_as_videos
from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.results import score
from pipelines.results.score import LabelledVideos, score_model
from pipelines.tuning.instance_cache import _cache_video
from pipelines.tuning.sweep import SweepJob, score_cached
from tests.helpers.class_tables import Document, equal_tables, renamed, with_table, without
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.inference import InferenceConfig
from vis_core.formats.youtube_vis import read_results, read_youtube_vis
from vis_core.models.systems.build import read_categories, read_system_config
from vis_core.structures import VideoResult

Scores = Callable[[Document], dict[str, float]]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideos:
    """Writes videos of scenes that the shipped weights know."""
    folder = tmp_path_factory.mktemp("classes")
    scene = SceneSettings(height=64, width=96)
    clips = [render_scene(scene, 4, seed) for seed in (901, 902, 903)]
    write_clips_as_videos(folder, "val", clips, CATEGORIES)
    return LabelledVideos(folder / "val.json", folder / "JPEGImages")


@pytest.fixture(scope="module")
def truth(videos: LabelledVideos) -> Document:
    return dict(json.loads(videos.annotations.read_text()))


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[None]:
    """Runs the model in this process, and once per video."""
    known: dict[bytes, VideoResult] = {}
    annotate_views = score.annotate_views

    def remembered(system: Any, frames: Any, inference: Any) -> VideoResult:
        frames = list(frames)
        key = np.stack([frame.image for frame in frames]).tobytes()
        if key not in known:
            known[key] = annotate_views(system, iter(frames), inference)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "annotate_views", remembered)
        patch.setattr(score, "run_tasks", lambda task, rows, _: [task(*row) for row in rows])
        yield


@pytest.fixture
def network(videos: LabelledVideos, tmp_path: Path) -> Scores:
    """Scores a ground truth with the shipped weights; checks the results by the verb."""

    def scored(document: Document) -> dict[str, float]:
        path, out = tmp_path / "val.json", tmp_path / "out"
        path.write_text(json.dumps(document))
        labelled = replace(videos, annotations=path)
        stats = score_model(TINY_WEIGHTS, labelled, out, InferenceConfig(), "score")
        read_results(out / "results.json", *read_youtube_vis(path))
        argv = ["evaluate", "--gt", str(path), "--results", str(out / "results.json")]
        assert main([*argv, "--out", str(out / "verb.json")]) == 0
        by_verb = json.loads((out / "verb.json").read_text())["stats"]
        assert stats == {name.lower(): value for name, value in by_verb.items()}
        return stats

    return scored


@pytest.fixture
def sweep(videos: LabelledVideos, tmp_path: Path) -> Scores:
    """Scores a ground truth as a trial of the sweep does."""
    system = read_system_config(TINY_WEIGHTS)
    for record in read_youtube_vis(videos.annotations)[0]:
        _cache_video(TINY_WEIGHTS, record, videos.frames, tmp_path, 0.01)

    def scored(document: Document) -> dict[str, float]:
        path = tmp_path / "val.json"
        path.write_text(json.dumps(document))
        classes, labelled = read_categories(TINY_WEIGHTS), replace(videos, annotations=path)
        job = SweepJob(system, classes, InferenceConfig(), labelled, tmp_path)
        return {"ap": score_cached(job, system, tmp_path / "r.json")}

    return scored


@pytest.mark.parametrize("way", ["network", "sweep"])
def test_scores_do_not_depend_on_rows_ids_and_unused_classes(
    way: str, truth: Document, request: pytest.FixtureRequest
) -> None:
    scored: Scores = request.getfixturevalue(way)
    wanted = scored(truth)
    assert wanted["ap"] > 0.05
    for name, document in equal_tables(truth):
        assert scored(document) == pytest.approx(wanted, abs=1e-12), name


@pytest.mark.parametrize("way", ["network", "sweep"])
def test_a_class_that_only_the_videos_have_counts_as_missed(
    way: str, truth: Document, request: pytest.FixtureRequest
) -> None:
    scored: Scores = request.getfixturevalue(way)
    names = {row["id"]: row["name"] for row in truth["categories"]}
    used = sorted({names[row["category_id"]] for row in truth["annotations"]})
    assert len(used) > 1
    for name in used:
        rest = scored(without(truth, name))["ap"]
        missed = scored(renamed(truth, {name: "zeppelin"}))["ap"]
        assert missed == pytest.approx(rest * (len(used) - 1) / len(used), abs=1e-12)
        first = with_table(without(truth, name), [*(n for n in names.values() if n != name), name])
        assert scored(first)["ap"] == pytest.approx(rest, abs=1e-12)


def test_an_annotation_id_0_costs_nothing_while_training(truth: Document, tmp_path: Path) -> None:
    fields = ("video_id", "category_id", "segmentations")
    perfect = [
        {**{name: row[name] for name in fields}, "score": 0.9} for row in truth["annotations"]
    ]
    results, found = tmp_path / "results.json", []
    results.write_text(json.dumps(perfect))
    for first in (0, 1):
        path = tmp_path / f"{first}.json"
        rows = [{**row, "id": number} for number, row in enumerate(truth["annotations"], first)]
        path.write_text(json.dumps(truth | {"annotations": rows}))
        found.append(score.evaluate_file(path, results))
    assert found[0] == found[1]
    assert found[0]["ap"] == pytest.approx(1)
