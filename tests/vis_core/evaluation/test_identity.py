import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers.scored_videos import CATEGORIES, as_results
from vis_core.evaluation.identity import SequenceFrames, evaluate_identity, score_sequences
from vis_core.evaluation.loading import GroundTruth, ground_truth_of
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord
from vis_core.rle.segmentation import encode_mask

GOLDEN: Path = ROOT / "tests" / "golden" / "identity" / "trackeval.json"


def _sequence(stored: dict) -> SequenceFrames:
    truth = [np.array(rows, np.int64) for rows in stored["truth"]]
    tracks = [np.array(rows, np.int64) for rows in stored["tracks"]]
    iou = [
        np.array(values, np.float64).reshape(len(rows), len(columns))
        for values, rows, columns in zip(stored["iou"], truth, tracks, strict=True)
    ]
    return SequenceFrames(tuple(stored["shape"]), truth, tracks, iou)


def test_each_sequence_scores_as_in_trackeval() -> None:
    for stored in json.loads(GOLDEN.read_text())["sequences"]:
        found = score_sequences([_sequence(stored)]).to_json()
        assert found == pytest.approx(stored["expected"], abs=1e-9)


def test_sequences_together_score_as_in_trackeval() -> None:
    golden = json.loads(GOLDEN.read_text())
    found = score_sequences([_sequence(stored) for stored in golden["sequences"]]).to_json()
    assert found == pytest.approx(golden["together"], abs=1e-9)


def _square(left: int) -> np.ndarray:
    mask = np.zeros((6, 20), bool)
    mask[1:5, left : left + 4] = True
    return mask


def _truth(frames: int) -> GroundTruth:
    rles = tuple(encode_mask(_square(place)) for place in range(frames))
    names = tuple(f"{place}.jpg" for place in range(frames))
    tracks = (TrackRecord(1, 0, rles, False),)
    return ground_truth_of([VideoRecord(1, 6, 20, names, tracks)], CATEGORIES)


def _entry(frames: int, first: int, last: int, score: float = 0.9) -> dict:
    masks = [
        encode_mask(_square(place)) if first <= place < last else None for place in range(frames)
    ]
    return {"video_id": 1, "score": score, "category_id": 1, "segmentations": masks}


def test_a_perfect_track_scores_one_everywhere() -> None:
    truth = _truth(6)
    found = evaluate_identity(truth, as_results([_entry(6, 0, 6)], truth))
    assert (found.hota, found.idf1, found.switches) == (pytest.approx(1), pytest.approx(1), 0)


def test_two_half_tracks_cost_association_and_not_detection() -> None:
    truth = _truth(6)
    found = evaluate_identity(truth, as_results([_entry(6, 0, 3), _entry(6, 3, 6)], truth))
    assert found.det_a == pytest.approx(1)
    assert found.ass_a == pytest.approx(0.5)
    assert found.idf1 == pytest.approx(0.5)
    assert found.switches == 1


def test_tracks_below_the_score_do_not_count() -> None:
    truth = _truth(4)
    sure, unsure = _entry(4, 0, 4), _entry(4, 0, 4, score=0.1)
    found = evaluate_identity(truth, as_results([sure, unsure], truth))
    assert found.det_a == pytest.approx(1)
    low = evaluate_identity(truth, as_results([sure, unsure], truth), min_score=0.05)
    assert low.det_a == pytest.approx(0.5)


def test_no_results_score_zero() -> None:
    found = evaluate_identity(_truth(3), {})
    assert (found.hota, found.idf1, found.switches) == (0, 0, 0)
