import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.conftest import reference_cases
from tests.helpers.scored_videos import (
    CATEGORIES,
    as_results,
    random_masks,
    random_set,
    track,
)
from vis_core.errors import AnnotationError
from vis_core.evaluation.loading import ground_truth_of, load_ground_truth, load_results
from vis_core.evaluation.matching import group_tracks
from vis_core.evaluation.video_ap import ApSettings, evaluate, match_videos
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord

TOLERANCE = 1e-9


def _cases() -> list[tuple[Path, str]]:
    return [
        (path, name)
        for path in reference_cases("ytvis_eval/cases.json")
        for name in json.loads(path.read_text())
    ]


def _settings(params: dict) -> ApSettings:
    chosen = {}
    if "useCats" in params:
        chosen["use_categories"] = bool(params["useCats"])
    for name, ours in (("vidIds", "video_ids"), ("catIds", "category_ids")):
        if name in params:
            chosen[ours] = params[name]
    if "maxDets" in params:
        chosen["max_detections"] = tuple(params["maxDets"])
    for name, ours in (
        ("iouThrs", "iou_thresholds"), ("recThrs", "recall_points"), ("areaRng", "area_ranges"),
    ):  # fmt: skip
        if name in params:
            chosen[ours] = np.array(params[name], np.float64)
    return ApSettings(**chosen)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("path", "name"), _cases(), ids=lambda value: getattr(value, "name", value)
)
def test_the_metric_equals_the_reference_evaluator(path: Path, name: str) -> None:
    case = json.loads(path.read_text())[name]
    truth = load_ground_truth(path.parent / case["gt"])
    results = load_results(path.parent / case["results"], truth)
    asked = _settings(case["params"])
    ours = evaluate(truth, results, asked)
    with np.load(path.parent / case["arrays"]) as arrays:
        theirs = {key: arrays[key] for key in arrays.files}
    assert list(ours.category_ids) == case["categories"]
    np.testing.assert_allclose(list(ours.stats.values()), theirs["stats"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(list(ours.stats.values()), case["stats"], rtol=0, atol=TOLERANCE)
    for key in ("precision", "recall", "scores"):
        np.testing.assert_allclose(getattr(ours, key), theirs[key], rtol=0, atol=TOLERANCE)
    _compare_ious(truth, results, asked, case, theirs)


def _compare_ious(truth, results, asked, case, theirs) -> None:
    videos = case["videos"]
    categories = sorted(set(asked.category_ids or truth.categories.ids))
    groups = group_tracks(
        truth, results, videos, categories, asked.max_detections[-1],
        use_categories=asked.use_categories,
    )  # fmt: skip
    names = {
        f"iou_v{videos[g.video]}_c{case['categories'][g.category]}": g for g in groups if g.iou.size
    }
    stored = {key for key in theirs if key.startswith("iou_")}
    assert stored == set(names)
    for key in stored:
        np.testing.assert_allclose(names[key].iou, theirs[key], rtol=0, atol=TOLERANCE)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("path", "name"), _cases(), ids=lambda value: getattr(value, "name", value)
)
def test_matches_equal_those_of_the_reference_evaluator(path: Path, name: str) -> None:
    case = json.loads(path.read_text())[name]
    truth = load_ground_truth(path.parent / case["gt"])
    results = load_results(path.parent / case["results"], truth)
    asked = _settings(case["params"])
    matches, _ = match_videos(truth, results, asked)
    with np.load(path.parent / case["arrays"]) as arrays:
        for key in arrays.files:
            if not key.endswith(("dtMatches", "dtIgnore")):
                continue
            _, video, category, area, kind = key.split("_")
            rows = np.flatnonzero(
                (matches.video == case["videos"].index(int(video[1:])))
                & (matches.category == case["categories"].index(int(category[1:])))
            )
            lane = ("all", "small", "medium", "large").index(area)
            ours = matches.matched if kind == "dtMatches" else matches.ignored
            np.testing.assert_array_equal(ours[rows, lane].T, arrays[key] != 0, err_msg=key)


@pytest.mark.data
def test_the_scored_sets_give_their_reference_scores(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "formats" / "results_with_reference_scores"
    listed = json.loads((folder / "reference_scores.json").read_text())["reference"]
    scored = 0
    for name, entry in listed.items():
        if not name.startswith("vis "):
            continue
        annotations = data_dir / entry["annotations"]
        file = folder / entry["results_file"]
        if not file.is_file():
            file = tmp_path / "perfect.json"
            file.write_text(json.dumps(_perfect(json.loads(annotations.read_text()))))
        truth = load_ground_truth(annotations)
        stats = evaluate(truth, load_results(file, truth)).stats
        assert {key: round(value, 6) for key, value in stats.items()} == entry["scores"], name
        scored += 1
    assert scored


def _perfect(document: dict) -> list[dict]:
    return [
        {
            "video_id": annotation["video_id"],
            "category_id": annotation["category_id"],
            "score": 1.0,
            "segmentations": annotation["segmentations"],
        }
        for annotation in document["annotations"]
    ]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_permuting_predictions_with_different_scores_changes_nothing(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, entries = random_set(generator)
    for place, entry in enumerate(entries):
        entry["score"] += place * 1e-6
    before = evaluate(truth, as_results(entries, truth))
    shuffled = [entries[index] for index in generator.permutation(len(entries))]
    after = evaluate(truth, as_results(shuffled, truth))
    np.testing.assert_array_equal(before.precision, after.precision)
    assert before.stats == after.stats


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_perfect_results_give_ap_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    tracks = []
    for place in range(int(generator.integers(1, 6))):
        masks = random_masks(generator, 3, 9, 8)
        masks[0, 0] = False
        masks[0, 0, place] = True  # so that no two are alike and none is empty
        tracks.append(
            TrackRecord(place + 1, int(generator.integers(2)), tuple(track(masks)), False)
        )
    video = VideoRecord(1, 9, 8, ("a.jpg", "b.jpg", "c.jpg"), tuple(tracks))
    truth = ground_truth_of([video], CATEGORIES)
    entries = [
        {
            "video_id": 1,
            "score": float(generator.random()),
            "category_id": CATEGORIES.id_of_index(own.label),
            "segmentations": list(own.segmentations),
        }
        for own in tracks
    ]
    assert evaluate(truth, as_results(entries, truth)).stats["AP"] == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), score=st.floats(0, 1), empty=st.booleans())
def test_a_false_positive_never_raises_ap(seed: int, score: float, empty: bool) -> None:
    generator = np.random.default_rng(seed)
    truth, entries = random_set(generator)
    wrong = {
        "video_id": int(generator.integers(1, 4)),
        "score": score,
        "category_id": CATEGORIES.id_of_index(int(generator.integers(2))),
        "segmentations": [None] * 3 if empty else track(random_masks(generator, 3, 9, 8)),
    }
    assume(evaluate(truth, as_results([wrong], truth)).stats["AP50"] <= 0)  # it finds nothing
    before = evaluate(truth, as_results(entries, truth)).stats["AP"]
    after = evaluate(truth, as_results([*entries, wrong], truth)).stats["AP"]
    assert after <= before + 1e-12


def test_no_predictions_give_zero_and_no_ground_truth_gives_minus_one() -> None:
    truth, _ = random_set(np.random.default_rng(1))
    assert evaluate(truth, {}).stats["AP"] == 0.0
    nothing = evaluate(truth, {}, ApSettings(video_ids=[]))
    assert set(nothing.stats.values()) == {-1.0}


def test_every_class_has_its_own_numbers() -> None:
    truth, entries = random_set(np.random.default_rng(4), videos=8)
    result = evaluate(truth, as_results(entries, truth))
    classes = result.per_class()
    assert list(classes) == ["cat", "dog"]
    known = [stats["AP"] for stats in classes.values() if stats["AP"] > -1]
    assert result.stats["AP"] == pytest.approx(np.mean(known))


def test_faulty_masks_are_named_though_all_are_read_at_once(tmp_path: Path) -> None:
    video = {"id": 1, "height": 4, "width": 4, "length": 1, "file_names": ["a.jpg"]}
    annotation = {
        "id": 7, "video_id": 1, "category_id": 1, "iscrowd": 0,
        "segmentations": [{"size": [4, 4], "counts": "11"}],
    }  # fmt: skip
    file = tmp_path / "gt.json"
    categories = [{"id": 1, "name": "cat"}]
    file.write_text(
        json.dumps({"videos": [video], "categories": categories, "annotations": [annotation]})
    )
    with pytest.raises(AnnotationError, match=r"id 7.*segmentations.*add up to 2"):
        load_ground_truth(file)


def test_results_that_cannot_be_streamed_or_lie_scattered_score_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, entries = random_set(np.random.default_rng(8), videos=5)
    expected = evaluate(truth, as_results(entries, truth)).stats
    marked = tmp_path / "marked.json"
    marked.write_text("\ufeff" + json.dumps(entries), encoding="utf-8")
    assert evaluate(truth, load_results(marked, truth)).stats == expected
    monkeypatch.setattr("vis_core.evaluation.loading._AT_ONCE", 2)
    scattered = tmp_path / "scattered.json"
    scattered.write_text(json.dumps(entries[::2] + entries[1::2]))
    reordered = evaluate(truth, as_results(entries[::2] + entries[1::2], truth)).stats
    assert evaluate(truth, load_results(scattered, truth)).stats == reordered
