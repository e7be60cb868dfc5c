"""The video outputs of the authors' code: scores, labels, masks (reference ctvis/ 1, 3; idol/ 1).

The instances' ids are the recorded ones; tests/vis_core/association shows that ours are equal.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.recorded_results import (
    EVERYTHING,
    MOVED_PIXELS,
    NEAR_SCORE,
    assert_same_listings,
    build_result,
    track_masks,
    unpacked,
)
from vis_core.config.inference import ShortTrackFilter, TrackConfig
from vis_core.geometry.masks import InputSize, full_size_masks
from vis_core.structures import Instances

CTVIS = reference_cases("ctvis/tracker_*.npz")
MINVIS = reference_cases("ctvis/minvis_*.npz")
IDOL = reference_cases("idol/tracker_*.npz")


def with_inputs(path: Path, inputs_in: str) -> dict[str, np.ndarray]:
    """Returns a case's recorded values and its inputs, which may be in another case's file."""
    with np.load(path) as file:
        values = dict(file)
    with np.load(path.parent / inputs_in) as file:
        return values | {name: file[name] for name in file if name.startswith("in_")}


def softmax_instances(logits, masks, ids) -> tuple[Instances, torch.Tensor]:
    """Returns those of a frame's Q queries that have an id, and their ids."""
    logits, ids = torch.from_numpy(logits), torch.from_numpy(ids)
    scores = logits.softmax(dim=1)[:, :-1]
    everything = Instances(
        scores.amax(dim=1),
        scores,
        torch.from_numpy(masks),
        torch.zeros(len(scores), 1),
        class_logits=logits,
    )
    return everything[ids >= 0], ids[ids >= 0]


def video_mask_logits(values: dict[str, np.ndarray]) -> np.ndarray:
    """Returns (V, T, h, w) logits of every track, by its ids if the variant does not record them.

    Logits are 0 where a track is not in the output.
    """
    if "video_mask_logits" in values:
        return values["video_mask_logits"]
    found = np.zeros((*values["video_present"].shape, *values["in_pred_masks"].shape[2:]), "f4")
    for row, track_id in enumerate(values["video_ids"]):
        for t in np.flatnonzero(values["video_present"][row]):
            (query,) = np.flatnonzero(values["ids_per_query"][t] == track_id)
            found[row, t] = values["in_pred_masks"][t, query]
    return found


def ctvis_config(settings: dict, num_classes: int) -> TrackConfig:
    """Converts the authors' settings to ours."""
    short = ShortTrackFilter(
        after_frame=settings["noise_frame_num"],
        min_detections=settings["suppress_frame_num"],
        missed_frames=settings["none_frame_num"],
    )
    return TrackConfig.ctvis_released(num_classes).model_copy(
        update={"over_time": settings["temporal_score_type"], "short_tracks": short}
    )


@pytest.mark.parity
@pytest.mark.parametrize("path", CTVIS, ids=lambda path: path.stem)
def test_ctvis_lists_the_tracks_of_the_release(path: Path) -> None:
    case = json.loads((path.parent / "tracker_cases.json").read_text())[path.stem]
    values = with_inputs(path, case["inputs_in"])
    inputs = zip(
        values["in_pred_logits"], values["in_pred_masks"], values["ids_per_query"], strict=True
    )
    frames = [softmax_instances(*frame) for frame in inputs]
    input_size = InputSize(*case["image_hw"], *case["padded_hw"])
    size = tuple(case["out_hw"])
    config = ctvis_config(case["config"], case["K"]).model_copy(
        update={"max_tracks": case["num_topk"]}
    )

    everything = build_result(frames, input_size, size, config.model_copy(update=EVERYTHING))
    video_ids = values["video_ids"].tolist()
    table = torch.from_numpy(values["video_logits"]).softmax(dim=1)[:, :-1]
    assert len(everything.tracks) == table.numel()
    masks = [
        full_size_masks(torch.from_numpy(logits), input_size, size).numpy()
        for logits in video_mask_logits(values)
    ]
    for track in everything.tracks:
        row = video_ids.index(track.track_id)
        assert track.score == pytest.approx(float(table[row, track.label]), abs=NEAR_SCORE)
        moved = (track_masks(track, everything) != masks[row]).sum()
        assert moved <= MOVED_PIXELS * len(masks[row])
        shown = values["video_present"][row] & masks[row].any(axis=(1, 2))
        assert track.masks.frame_indices.tolist() == np.flatnonzero(shown).tolist()

    result = build_result(frames, input_size, size, config)
    assert_same_listings(
        result, values["out_scores"], values["out_labels"], unpacked(values, "out_masks")
    )
    listed = zip(values["out_row"].tolist(), values["out_labels"].tolist(), strict=True)
    rows = {(video_ids[row], label): place for place, (row, label) in enumerate(listed)}
    assert {(track.track_id, track.label) for track in result.tracks} == set(rows)
    before = build_result(
        frames, input_size, size, config.model_copy(update={"mask_quality": False})
    )
    for track in before.tracks:
        wanted = values["out_scores_before_mask_quality"][rows[track.track_id, track.label]]
        assert track.score == pytest.approx(float(wanted), abs=NEAR_SCORE)


@pytest.mark.parity
@pytest.mark.parametrize("path", MINVIS, ids=lambda path: path.stem)
def test_minvis_lists_the_queries_of_the_release(path: Path) -> None:
    case = json.loads((path.parent / "minvis_cases.json").read_text())[path.stem]
    with np.load(path) as file:
        values = dict(file)
    first = np.arange(case["Q"])
    # the query at place i of a frame continues query i of the first frame
    ids = [first, *(permutation.argsort() for permutation in values["permutations"])]
    masks = values["in_pred_masks"][0].transpose(1, 0, 2, 3)
    inputs = zip(values["in_pred_logits"][0], masks, ids, strict=True)
    frames = [softmax_instances(*frame) for frame in inputs]
    input_size = InputSize(*case["image_hw"], *case["first_resize_hw"])
    size = tuple(case["out_hw"])
    config = TrackConfig.minvis_released().model_copy(update={"max_tracks": case["topk"]})

    everything = build_result(frames, input_size, size, config.model_copy(update=EVERYTHING))
    table = torch.from_numpy(values["out_logits"]).reshape(case["Q"], -1).softmax(dim=1)[:, :-1]
    out_masks = torch.from_numpy(values["out_masks"]).reshape(
        case["Q"], *masks.shape[:1], *masks.shape[2:]
    )
    assert len(everything.tracks) == table.numel()
    for track in everything.tracks:
        assert track.score == pytest.approx(
            float(table[track.track_id, track.label]), abs=NEAR_SCORE
        )
        wanted = full_size_masks(out_masks[track.track_id], input_size, size).numpy()
        moved = (track_masks(track, everything) != wanted).sum()
        assert moved <= MOVED_PIXELS * len(wanted)

    result = build_result(frames, input_size, size, config)
    assert_same_listings(
        result, values["final_scores"], values["final_labels"], values["final_masks"]
    )


@pytest.mark.parity
@pytest.mark.parametrize("path", IDOL, ids=lambda path: path.stem)
def test_idol_lists_the_tracks_of_the_release(path: Path) -> None:
    cases = json.loads((path.parent / "tracker_cases.json").read_text())
    (case,) = [case for case in cases.values() if case["file"] == path.name]
    values = with_inputs(path, case["inputs_in"])
    settings = case["config"]
    config = TrackConfig.idol_released().model_copy(
        update={
            "over_time": settings["temporal_score_type"],
            "labels": "every" if settings["is_multi_cls"] else "best",
            "min_score": settings["apply_cls_thres"],
        }
    )
    frames = []
    for logits, masks, ids in zip(
        values["in_pred_logits"], values["in_pred_masks"], values["ids_per_query"], strict=True
    ):
        scores = torch.from_numpy(logits).sigmoid()
        everything = Instances(
            scores.amax(dim=1),
            scores,
            torch.from_numpy(masks).float(),
            torch.zeros(len(scores), 1),
        )
        associated = torch.from_numpy(ids >= 0)
        frames.append((everything[associated], torch.from_numpy(ids)[associated]))
    padded = [4 * side for side in values["in_pred_masks"].shape[2:]]
    input_size = InputSize(*case["resized_image_size"], *padded)
    result = build_result(frames, input_size, tuple(case["output_size"]), config)
    masks = unpacked(values, "out_masks")
    assert_same_listings(result, values["out_scores"], values["out_labels"], masks)
    # ours omits a track's empty masks
    assert not (masks.any(axis=(2, 3)) & ~values["out_present"]).any()
