"""Named instances become tracks."""

import pytest
import torch

from vis_core.formats.rle import decode_rle
from vis_core.inference.settings import TrackConfig
from vis_core.inference.tracks import TrackBuilder
from vis_core.structures import Instances


def instances_with(class_scores):
    scores = torch.tensor(class_scores)
    return Instances(
        scores=scores.max(dim=1).values if len(scores) else torch.zeros(0),
        class_scores=scores if len(scores) else torch.zeros(0, 2),
        mask_logits=torch.zeros(len(scores), 2, 2),
        embeddings=torch.zeros(len(scores), 1),
    )


def random_walk(seed, frames=12, height=10, width=14, ids=5):
    """(instances, track ids, masks) of each frame."""
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
    walk = list(random_walk(seed))
    for index, (instances, track_ids, masks) in enumerate(walk):
        builder.add(index, instances, track_ids, masks)
    result = builder.finish()
    assert (result.height, result.width, result.num_frames) == (10, 14, len(walk))
    for track in result.tracks:
        class_scores = []
        for index, (instances, track_ids, masks) in enumerate(walk):
            rows = (track_ids == track.track_id).nonzero().flatten().tolist()
            shown = [row for row in rows if masks[row].any()]
            class_scores += [instances.class_scores[row] for row in rows]
            if not shown:
                assert track.segmentations[index] is None
                assert track.frame_scores[index] is None
            else:
                mask = decode_rle(track.segmentations[index])
                assert (mask == masks[shown[0]].numpy()).all()
                expected = float(instances.scores[shown[0]])
                assert track.frame_scores[index] == pytest.approx(expected)
        mean = torch.stack(class_scores).double().mean(dim=0)
        assert track.score == pytest.approx(float(mean.max()))
        assert track.label == int(mean.argmax())
    scores = [track.score for track in result.tracks]
    assert scores == sorted(scores, reverse=True)


def full_masks(count):
    return torch.ones(count, 4, 4, dtype=torch.bool)


def test_only_the_best_tracks_are_kept():
    builder = TrackBuilder(4, 4, TrackConfig(max_tracks=2))
    found = instances_with([[0.1, 0.2], [0.9, 0.1], [0.3, 0.5]])
    builder.add(0, found, torch.tensor([7, 8, 9]), full_masks(3))
    assert [track.track_id for track in builder.finish().tracks] == [8, 9]


def test_weak_and_short_tracks_are_dropped():
    builder = TrackBuilder(4, 4, TrackConfig(min_score=0.4, min_frames=2))
    found = instances_with([[0.9, 0.1], [0.3, 0.1], [0.8, 0.1]])
    builder.add(0, found, torch.tensor([0, 1, 2]), full_masks(3))
    builder.add(1, found[:2], torch.tensor([0, 1]), full_masks(2))
    assert [track.track_id for track in builder.finish().tracks] == [0]


def test_frames_without_instances_count():
    builder = TrackBuilder(4, 4)
    for index in range(3):
        builder.add(index, instances_with([]), torch.zeros(0, dtype=torch.int64), full_masks(0))
    result = builder.finish()
    assert result.num_frames == 3
    assert result.tracks == []


def test_a_track_without_a_pixel_is_dropped():
    builder = TrackBuilder(4, 4)
    builder.add(0, instances_with([[0.9, 0.1]]), torch.tensor([0]), ~full_masks(1))
    assert builder.finish().tracks == []


def test_equal_scores_are_sorted_by_track_id():
    builder = TrackBuilder(4, 4)
    found = instances_with([[0.5, 0.1], [0.5, 0.1]])
    builder.add(0, found, torch.tensor([4, 3]), full_masks(2))
    assert [track.track_id for track in builder.finish().tracks] == [3, 4]
