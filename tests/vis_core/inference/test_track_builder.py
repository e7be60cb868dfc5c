"""Associated instances become tracks."""

from dataclasses import replace

import pytest
import torch

from vis_core.config.inference import ShortTrackFilter, TrackConfig
from vis_core.errors import ConfigError
from vis_core.inference.track_builder import TrackBuilder
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.rle.segmentation import decode_rle
from vis_core.structures import Instances


def instances_with(class_scores):
    scores = torch.tensor(class_scores)
    return Instances(
        scores=scores.max(dim=1).values if len(scores) else torch.zeros(0),
        class_scores=scores if len(scores) else torch.zeros(0, 2),
        mask_logits=torch.zeros(len(scores), 2, 2),
        embeddings=torch.zeros(len(scores), 1),
    )


def random_frames(seed, frames=12, height=10, width=14, ids=5):
    """Returns (instances, track ids, masks) of each frame."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(frames):
        count = int(torch.randint(0, ids + 1, (1,), generator=generator))
        track_ids = torch.randperm(ids, generator=generator)[:count]
        class_scores = torch.rand(count, 3, generator=generator)
        masks = torch.rand(count, height, width, generator=generator) > 0.9
        masks &= torch.rand(count, 1, 1, generator=generator) > 0.2  # some are empty
        yield (
            Instances(
                class_scores.max(dim=1).values if count else torch.zeros(0),
                class_scores,
                torch.zeros(count, 2, 2),
                torch.zeros(count, 1),
            ),
            track_ids,
            masks,
        )


@pytest.mark.parametrize("seed", range(5))
def test_tracks_equal_the_naive_loop_over_kept_masks(seed):
    builder = TrackBuilder(10, 14)
    frames = list(random_frames(seed))
    for index, (instances, track_ids, masks) in enumerate(frames):
        builder.add(index, instances, track_ids, EncodedMasks.of(masks))
    result = builder.result()
    assert (result.height, result.width, result.num_frames) == (10, 14, len(frames))
    for track in result.tracks:
        segmentations = track.segmentations(result.size, len(frames))
        frame_scores = track.scores_by_frame(len(frames))
        class_scores = []
        for index, (instances, track_ids, masks) in enumerate(frames):
            rows = (track_ids == track.track_id).nonzero().flatten().tolist()
            shown = [row for row in rows if masks[row].any()]
            class_scores += [instances.class_scores[row] for row in rows]
            if not shown:
                assert segmentations[index] is None
                assert frame_scores[index] is None
            else:
                mask = decode_rle(segmentations[index])
                assert (mask == masks[shown[0]].numpy()).all()
                expected = float(instances.scores[shown[0]])
                assert frame_scores[index] == pytest.approx(expected)
        mean = torch.stack(class_scores).double().mean(dim=0)
        assert track.score == pytest.approx(float(mean.max()))
        assert track.label == int(mean.argmax())
    scores = [track.score for track in result.tracks]
    assert scores == sorted(scores, reverse=True)


def full_masks(count, confidences=None):
    return EncodedMasks.of(torch.ones(count, 4, 4, dtype=torch.bool), confidences)


NO_PIXEL = EncodedMasks.of(torch.zeros(1, 4, 4, dtype=torch.bool))


def test_only_the_best_tracks_are_kept():
    builder = TrackBuilder(4, 4, TrackConfig(max_tracks=2))
    found = instances_with([[0.1, 0.2], [0.9, 0.1], [0.3, 0.5]])
    builder.add(0, found, torch.tensor([7, 8, 9]), full_masks(3))
    assert [track.track_id for track in builder.result().tracks] == [8, 9]


def test_weak_and_short_tracks_are_dropped():
    builder = TrackBuilder(4, 4, TrackConfig(min_score=0.4, min_frames=2))
    found = instances_with([[0.9, 0.1], [0.3, 0.1], [0.8, 0.1]])
    builder.add(0, found, torch.tensor([0, 1, 2]), full_masks(3))
    builder.add(1, found[:2], torch.tensor([0, 1]), full_masks(2))
    assert [track.track_id for track in builder.result().tracks] == [0]


def test_frames_without_instances_count():
    builder = TrackBuilder(4, 4)
    for index in range(3):
        builder.add(index, instances_with([]), torch.zeros(0, dtype=torch.int64), full_masks(0))
    result = builder.result()
    assert result.num_frames == 3
    assert result.tracks == []


def test_a_track_without_a_pixel_is_dropped():
    builder = TrackBuilder(4, 4)
    builder.add(0, instances_with([[0.9, 0.1]]), torch.tensor([0]), NO_PIXEL)
    assert builder.result().tracks == []


def test_equal_scores_are_sorted_by_track_id():
    builder = TrackBuilder(4, 4)
    found = instances_with([[0.5, 0.1], [0.5, 0.1]])
    builder.add(0, found, torch.tensor([4, 3]), full_masks(2))
    assert [track.track_id for track in builder.result().tracks] == [3, 4]


def instances_of_logits(logits):
    logits = torch.tensor(logits)
    found = instances_with(logits.softmax(dim=1)[:, :-1].tolist())
    return replace(found, class_logits=logits)


def test_mean_logits_are_not_mean_scores():
    logits = [[[4.0, 0.0, 1.0]], [[-3.0, 2.0, 0.0]]]
    builder = TrackBuilder(4, 4, TrackConfig(evidence="logits"))
    for index, frame in enumerate(logits):
        builder.add(index, instances_of_logits(frame), torch.tensor([0]), full_masks(1))
    (track,) = builder.result().tracks
    wanted = torch.tensor(logits).mean(dim=0)[0].softmax(dim=0)[:-1]
    assert track.label == int(wanted.argmax()) == 1
    assert track.score == pytest.approx(float(wanted.max()))


@pytest.mark.parametrize(("over_time", "wanted"), [("mean", 0.5), ("max", 0.8)])
def test_scores_are_put_together_over_time(over_time, wanted):
    builder = TrackBuilder(4, 4, TrackConfig(over_time=over_time))
    for index, score in enumerate([0.8, 0.2]):
        found = instances_with([[score, 0.1]])
        builder.add(index, found, torch.tensor([0]), full_masks(1))
    assert builder.result().tracks[0].score == pytest.approx(wanted)


def test_the_largest_logits_of_a_track_may_all_be_negative():
    builder = TrackBuilder(4, 4, TrackConfig(evidence="logits", over_time="max"))
    for index, logits in enumerate([[-5.0, -9.0, -7.0], [-6.0, -8.0, -7.0]]):
        builder.add(index, instances_of_logits([logits]), torch.tensor([0]), full_masks(1))
    wanted = torch.tensor([-5.0, -8.0, -7.0]).softmax(dim=0)[0]
    assert builder.result().tracks[0].score == pytest.approx(float(wanted))


def test_logits_that_a_system_does_not_have_are_named():
    builder = TrackBuilder(4, 4, TrackConfig(evidence="logits"))
    with pytest.raises(ConfigError, match=r"inference\.tracks\.evidence"):
        builder.add(0, instances_with([[0.5, 0.1]]), torch.tensor([0]), full_masks(1))


def test_a_track_may_be_listed_with_several_labels():
    config = TrackConfig(labels="every", max_tracks=3)
    builder = TrackBuilder(4, 4, config)
    found = instances_with([[0.7, 0.6], [0.1, 0.65]])
    builder.add(0, found, torch.tensor([5, 2]), full_masks(2))
    listed = [(track.track_id, track.label) for track in builder.result().tracks]
    assert listed == [(5, 0), (2, 1), (5, 1)]


def test_every_label_above_the_lowest_score_is_listed():
    builder = TrackBuilder(4, 4, TrackConfig(labels="every", max_tracks=None, min_score=0.3))
    found = instances_with([[0.7, 0.2], [0.4, 0.65]])
    builder.add(0, found, torch.tensor([0, 1]), full_masks(2))
    listed = [(track.track_id, track.label) for track in builder.result().tracks]
    assert listed == [(0, 0), (1, 1), (1, 0)]


def test_mask_quality_is_the_mean_over_the_pixels_of_all_frames():
    builder = TrackBuilder(4, 4, TrackConfig(mask_quality=True, max_tracks=2))
    small = torch.zeros(1, 4, 4, dtype=torch.bool)
    small[0, 0] = True  # 4 pixels; the other frame has 16
    found = instances_with([[0.8, 0.1]])
    builder.add(0, found, torch.tensor([0]), full_masks(1, torch.tensor([16 * 0.9])))
    builder.add(1, found, torch.tensor([0]), EncodedMasks.of(small, torch.tensor([4 * 0.6])))
    builder.add(2, found, torch.tensor([0]), EncodedMasks.of(~small & small, torch.tensor([0.0])))
    (track,) = builder.result().tracks
    assert track.score == pytest.approx(0.8 * (16 * 0.9 + 4 * 0.6) / 20)


def test_mask_quality_sorts_the_kept_tracks_but_does_not_choose_them():
    builder = TrackBuilder(4, 4, TrackConfig(mask_quality=True, max_tracks=2))
    found = instances_with([[0.9, 0.1], [0.8, 0.1], [0.7, 0.1]])
    inside = 16 * torch.tensor([0.5, 0.7, 1.0])
    builder.add(0, found, torch.tensor([0, 1, 2]), full_masks(3, inside))
    assert [track.track_id for track in builder.result().tracks] == [1, 0]


def test_the_majority_of_frames_names_the_class_and_all_frames_the_score():
    """Follows STC 3.5: two weak frames outvote a strong one."""
    builder = TrackBuilder(4, 4, TrackConfig(labels="majority"))
    for index, scores in enumerate(([0.9, 0.0], [0.0, 0.3], [0.0, 0.6])):
        builder.add(index, instances_with([scores]), torch.tensor([0]), full_masks(1))
    (track,) = builder.result().tracks
    assert (track.label, track.score) == (1, pytest.approx(0.6))
    even = TrackBuilder(4, 4, TrackConfig(labels="majority"))
    for index, scores in enumerate(([0.0, 0.8], [0.4, 0.0])):
        even.add(index, instances_with([scores]), torch.tensor([0]), full_masks(1))
    assert even.result().tracks[0].label == 0


def test_predicted_qualities_multiply_the_score_and_are_written():
    builder = TrackBuilder(4, 4, TrackConfig())
    found = instances_with([[0.9, 0.1], [0.8, 0.1]])
    rated = replace(found, qualities=torch.tensor([0.5, 0.75]))
    builder.add(0, rated, torch.tensor([0, 1]), full_masks(2))
    builder.add(1, rated[:1], torch.tensor([1]), full_masks(1))
    tracks = builder.result().tracks
    assert [track.track_id for track in tracks] == [1, 0]
    assert [track.predicted_quality for track in tracks] == [0.625, 0.5]
    assert [track.score for track in tracks] == [pytest.approx(0.85 * 0.625), pytest.approx(0.45)]
    silent = TrackBuilder(4, 4, TrackConfig())
    silent.add(0, found, torch.tensor([0, 1]), full_masks(2))
    assert [track.predicted_quality for track in silent.result().tracks] == [None, None]


def test_tracks_without_a_pixel_are_listed_if_asked_for():
    builder = TrackBuilder(4, 4, TrackConfig(min_frames=0))
    builder.add(0, instances_with([[0.9, 0.1]]), torch.tensor([3]), NO_PIXEL)
    (track,) = builder.result().tracks
    assert track.track_id == 3
    assert track.segmentations((4, 4), 1) == [None]


@pytest.mark.parametrize("seed", range(6))
def test_short_tracks_leave_as_in_the_naive_loop(seed):
    """Compares with a loop over rows of scores or None per track, as in the authors' code."""
    limits = ShortTrackFilter(after_frame=3, min_detections=3, missed_frames=2)
    builder = TrackBuilder(10, 14, TrackConfig(short_tracks=limits, max_tracks=None, min_frames=0))
    naive = {}
    left = 0
    for index, (instances, track_ids, masks) in enumerate(random_frames(seed, frames=30, ids=9)):
        rare = torch.rand(len(track_ids), generator=torch.Generator().manual_seed(index)) > 0.6
        builder.add(index, instances[rare], track_ids[rare], EncodedMasks.of(masks[rare]))
        for track_id in track_ids[rare].tolist():
            naive.setdefault(track_id, [None] * index)
        for track_id, row in naive.items():
            at = (track_ids[rare] == track_id).nonzero().flatten().tolist()
            row.append(instances[rare].class_scores[at[0]] if at else None)
        if index > limits.after_frame:
            for track_id, row in list(naive.items()):
                present = sum(scores is not None for scores in row)
                if present < limits.min_detections and row[-2:] == [None, None]:
                    del naive[track_id]
                    left += 1
    assert left > 0
    tracks = builder.result().tracks
    assert {track.track_id for track in tracks} == set(naive)
    for track in tracks:
        present = [scores for scores in naive[track.track_id] if scores is not None]
        assert track.score == pytest.approx(float(torch.stack(present).mean(dim=0).max()))
