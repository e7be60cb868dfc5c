"""Our identity metrics against TrackEval's own code, on random tracks."""

from collections.abc import Iterator

import numpy as np
import pytest
from trackeval.metrics import CLEAR, HOTA, Identity

from tests.helpers.scored_videos import CATEGORIES, as_results, track
from vis_core.evaluation.identity import SequenceFrames, evaluate_identity, score_sequences
from vis_core.evaluation.loading import ground_truth_of
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord

SIZES = {  # ground truths, tracks, frames
    "one track": (1, 1, 12),
    "few": (3, 4, 20),
    "many": (12, 15, 40),
    "more truth than tracks": (9, 3, 25),
    "more tracks than truth": (2, 11, 25),
}


def trackeval_scores(sequences: list[SequenceFrames]) -> dict[str, float]:
    """Computes HOTA, IDF1 and switches of all sequences together with TrackEval."""
    metrics = [HOTA(), Identity({"PRINT_CONFIG": False}), CLEAR({"PRINT_CONFIG": False})]
    scores = {}
    for metric in metrics:
        each = {
            str(index): metric.eval_sequence(trackeval_data(frames))
            for index, frames in enumerate(sequences)
        }
        scores.update(metric.combine_sequences(each))
    found = {name: float(np.mean(scores[name])) for name in ("HOTA", "DetA", "AssA")}
    return found | {"IDF1": float(scores["IDF1"]), "switches": int(scores["IDSW"])}


def trackeval_data(frames: SequenceFrames) -> dict:
    """Converts one sequence to the form that TrackEval's metrics take."""
    return {
        "num_gt_ids": frames.shape[0],
        "num_tracker_ids": frames.shape[1],
        "num_gt_dets": sum(map(len, frames.truth)),
        "num_tracker_dets": sum(map(len, frames.tracks)),
        "num_timesteps": len(frames.iou),
        "gt_ids": frames.truth,
        "tracker_ids": frames.tracks,
        "similarity_scores": frames.iou,
    }


def random_sequence(
    generator: np.random.Generator, size: tuple[int, int, int], presence: float, levels: int
) -> SequenceFrames:
    """Draws tracks that follow ground truths with misses and switches.

    With few ``levels`` of IoU many pairs are equal, so that the metrics have to break ties alike.
    """
    num_truth, num_tracks, num_frames = size
    target = generator.integers(num_truth, size=num_tracks)
    frames = SequenceFrames((num_truth, num_tracks), [], [], [])
    for _ in range(num_frames):
        switch = generator.random(num_tracks) < 0.1
        target = np.where(switch, generator.integers(num_truth, size=num_tracks), target)
        truth = np.flatnonzero(generator.random(num_truth) < presence)
        tracks = np.flatnonzero(generator.random(num_tracks) < presence)
        iou = generator.random((num_truth, num_tracks)) * 0.4
        iou[target, np.arange(num_tracks)] += 0.6 * generator.random(num_tracks) ** 0.5
        iou = np.rint(iou * levels) / levels
        frames.truth.append(truth)
        frames.tracks.append(tracks)
        frames.iou.append(iou[np.ix_(truth, tracks)])
    return frames


@pytest.mark.parametrize("levels", [1_000_000, 20, 4, 1], ids=lambda n: f"{n} levels of IoU")
@pytest.mark.parametrize("presence", [1.0, 0.8, 0.3])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_random_tracks_score_as_in_trackeval(
    size: tuple[int, int, int], presence: float, levels: int
) -> None:
    generator = np.random.default_rng([*size, levels, int(10 * presence)])
    sequences = [random_sequence(generator, size, presence, levels) for _ in range(5)]
    for frames in sequences:
        assert score_sequences([frames]).to_json() == pytest.approx(
            trackeval_scores([frames]), abs=1e-9
        )
    together = score_sequences(sequences).to_json()
    assert together == pytest.approx(trackeval_scores(sequences), abs=1e-9)


@pytest.mark.parametrize("size", [(0, 3, 5), (3, 0, 5)], ids=["no truth", "no tracks"])
def test_sequences_without_one_side_score_as_in_trackeval(size: tuple[int, int, int]) -> None:
    shown = [[np.arange(count)] * size[2] for count in size[:2]]
    empty = SequenceFrames(size[:2], *shown, [np.zeros(size[:2])] * size[2])
    other = random_sequence(np.random.default_rng(0), (3, 3, 9), 0.8, 1_000_000)
    for sequences in ([empty], [empty, other]):
        expected = pytest.approx(trackeval_scores(sequences), abs=1e-9)
        assert score_sequences(sequences).to_json() == expected


Boxes = list[np.ndarray]


def moving_boxes(generator: np.random.Generator, frames: int) -> Boxes:
    """Draws (T, H, W) masks of a box that moves through a small video, absent in some frames."""
    masks = np.zeros((frames, 16, 24), bool)
    place = generator.integers((0, 0), (10, 18))
    for mask in masks:
        place = np.clip(place + generator.integers(-2, 3, size=2), 0, (10, 18))
        if generator.random() < 0.85:
            mask[place[0] : place[0] + 6, place[1] : place[1] + 6] = True
    return masks


def loose_copy(generator: np.random.Generator, boxes: Boxes) -> np.ndarray:
    """Draws masks of a track that follows one of several boxes, with shifts, misses, switches."""
    copy = np.zeros_like(boxes[0])
    follows = int(generator.integers(len(boxes)))
    for frame in range(len(copy)):
        if generator.random() < 0.15:
            follows = int(generator.integers(len(boxes)))
        if generator.random() < 0.85:
            shift = tuple(generator.integers(-1, 2, size=2))
            copy[frame] = np.roll(boxes[follows][frame], shift, axis=(0, 1))
    return copy


def naive_sequence(truth: Boxes, tracks: Boxes, frames: int) -> SequenceFrames:
    """Builds one class of one video, with each IoU from the pixels."""
    sequence = SequenceFrames((len(truth), len(tracks)), [], [], [])
    for frame in range(frames):
        shown = [
            np.array([r for r, m in enumerate(all_) if m[frame].any()], int)
            for all_ in (truth, tracks)
        ]
        iou = np.zeros((len(shown[0]), len(shown[1])))
        for row, g in enumerate(shown[0]):
            for column, d in enumerate(shown[1]):
                one, other = truth[g][frame], tracks[d][frame]
                iou[row, column] = (one & other).sum() / (one | other).sum()
        sequence.truth.append(shown[0])
        sequence.tracks.append(shown[1])
        sequence.iou.append(iou)
    return sequence


def random_videos(
    generator: np.random.Generator, frames: int
) -> Iterator[tuple[VideoRecord, list[dict], list[SequenceFrames]]]:
    """Yields ground truth, results and TrackEval sequences of four videos with crowds."""
    for video_id in range(1, 5):
        records, entries, sequences = [], [], []
        for label in range(len(CATEGORIES)):
            truth = [moving_boxes(generator, frames) for _ in range(int(generator.integers(1, 5)))]
            crowd = moving_boxes(generator, frames)
            for masks, is_crowd in [*((masks, False) for masks in truth), (crowd, True)]:
                place = len(records) + 100 * video_id
                records.append(TrackRecord(place, label, tuple(track(masks)), is_crowd))
            tracks = [loose_copy(generator, truth) for _ in range(int(generator.integers(5)))]
            for masks in tracks:
                entries.append(
                    {
                        "video_id": video_id,
                        "score": 0.5 + 0.5 * float(generator.random()),
                        "category_id": CATEGORIES.id_of_index(label),
                        "segmentations": track(masks),
                    }
                )
            sequences.append(naive_sequence(truth, tracks, frames))
        names = tuple(f"{video_id}/{frame}.jpg" for frame in range(frames))
        yield VideoRecord(video_id, 16, 24, names, tuple(records)), entries, sequences


@pytest.mark.parametrize("seed", range(5))
def test_masks_of_several_videos_and_classes_score_as_in_trackeval(seed: int) -> None:
    videos, entries, sequences = zip(*random_videos(np.random.default_rng(seed), 15), strict=True)
    truth = ground_truth_of(videos, CATEGORIES)
    results = as_results([entry for each in entries for entry in each], truth)
    found = evaluate_identity(truth, results).to_json()
    expected = trackeval_scores([frames for each in sequences for frames in each])
    assert expected["switches"] > 0
    assert found == pytest.approx(expected, abs=1e-9)
