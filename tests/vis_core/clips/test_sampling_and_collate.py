"""Frames of a clip, clips of a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.clips import still
from vis_core.clips.collate import collate_clips
from vis_core.clips.sampling import group_by_aspect, sample_frame_indices, sample_near
from vis_core.structures import Clip


@given(
    total=st.integers(1, 60),
    frames=st.integers(1, 12),
    reach=st.integers(0, 25),
    seed=st.integers(0, 1000),
)
def test_sampled_frames_equal_the_naive_statement(total, frames, reach, seed):
    indices = sample_frame_indices(total, frames, reach, np.random.default_rng(seed))
    generator = np.random.default_rng(seed)
    anchor = int(generator.integers(total))
    near = [f for f in range(total) if f != anchor and abs(f - anchor) <= reach] or [anchor]
    drawn = [near[int(i)] for i in generator.choice(len(near), size=frames - 1)]
    assert indices == sorted([anchor, *drawn])


def test_every_frame_of_a_video_is_drawn():
    generator = np.random.default_rng(0)
    drawn = {index for _ in range(200) for index in sample_frame_indices(9, 2, 3, generator)}
    assert drawn == set(range(9))


@given(
    frames=st.sets(st.integers(0, 60), min_size=1, max_size=30),
    count=st.integers(1, 8),
    reach=st.integers(0, 25),
    seed=st.integers(0, 1000),
)
def test_frames_near_a_key_frame_equal_the_naive_statement(frames, count, reach, seed):
    key = min(frames)
    drawn = sample_near(sorted(frames), key, count, reach, np.random.default_rng(seed))
    near = [f for f in sorted(frames) if f != key and abs(f - key) <= reach] or [key]
    generator = np.random.default_rng(seed)
    assert drawn == [near[int(i)] for i in generator.choice(len(near), size=count)]


@pytest.mark.parametrize(("total", "key", "reach"), [(9, 4, 3), (30, 12, 1000)])
def test_frames_near_a_key_frame_lie_on_either_side_alike(total, key, reach):
    generator = np.random.default_rng(0)
    drawn = sample_near(range(total), key, 4000, reach, generator)
    near = [f for f in range(max(0, key - reach), min(total, key + reach + 1)) if f != key]
    counts = [drawn.count(frame) for frame in near]
    assert sum(counts) == len(drawn)
    expected = len(drawn) / len(near)
    assert max(abs(count - expected) for count in counts) < 5 * expected**0.5


def _clip(height, width, frames=2, places=((20, 20, 8),)):
    one = still(height, width, places)
    images, masks = np.repeat(one.images, frames, 0), np.repeat(one.masks, frames, 0)
    return Clip(f"{height}x{width}", images, masks, one.labels)


def test_collate_equals_the_naive_loop():
    clips = [_clip(40, 70), _clip(65, 33, places=((20, 20, 8), (25, 50, 5))), _clip(32, 32)]
    batch = collate_clips(clips)
    assert batch.images.shape == (3, 2, 3, 96, 96) and batch.images.dtype == torch.uint8
    assert batch.sizes.tolist() == [[[40, 70]] * 2, [[65, 33]] * 2, [[32, 32]] * 2]
    for b, clip in enumerate(clips):
        height, width = clip.images.shape[1:3]
        for t in range(2):
            for channel in range(3):
                plane = np.zeros((96, 96), np.uint8)
                plane[:height, :width] = clip.images[t, :, :, channel]
                assert np.array_equal(batch.images[b, t, channel].numpy(), plane)
            for row in range(len(clip.labels)):
                mask = np.zeros((96, 96), bool)
                mask[:height, :width] = clip.masks[t, row]
                assert np.array_equal(batch.masks[b][t, row].numpy(), mask)
        assert batch.labels[b].tolist() == clip.labels.tolist()


def test_one_clip_alone_equals_its_part_of_a_batch():
    clips = [_clip(64, 64), _clip(40, 50)]
    both, alone = collate_clips(clips), collate_clips(clips[:1])
    assert torch.equal(both.images[:1], alone.images) and torch.equal(both.masks[0], alone.masks[0])


def test_a_clip_without_instances_collates():
    batch = collate_clips([_clip(40, 40, places=()), _clip(40, 40)])
    assert batch.masks[0].shape == (2, 0, 64, 64) and batch.labels[0].shape == (0,)
    assert len(batch.frame_targets()) == 4


def test_clips_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="one number of frames"):
        collate_clips([_clip(40, 40), _clip(40, 40, frames=3)])


@pytest.mark.parametrize("count, batch_size", [(40, 4), (41, 4), (7, 3), (5, 8), (30, 1)])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_batches_of_grouped_epochs_mix_aspects_only_at_their_ends(
    count: int, batch_size: int, share: float
) -> None:
    is_portrait = np.random.default_rng(1).random(count) < share
    draws: list[int] = []
    for epoch in range(5):
        order = np.random.default_rng(epoch).permutation(count)
        begun = -epoch * count % batch_size
        grouped = group_by_aspect(order, is_portrait[order], batch_size, begun)
        assert sorted(grouped) == list(range(count)), "each clip once"
        draws += [int(clip) for clip in grouped]
    batches = [draws[n : n + batch_size] for n in range(0, len(draws), batch_size)]
    mixed = sum(len({bool(is_portrait[clip]) for clip in batch}) > 1 for batch in batches)
    # per epoch: the one shared with the epoch before, and at most two batches of excess clips
    assert mixed <= 5 * 3
    if count >= 10 * batch_size and 0.2 < share < 1:
        assert mixed < len(batches) / 2


def test_grouped_batches_come_in_random_order_and_one_aspect_changes_nothing() -> None:
    order = np.random.default_rng(3).permutation(200)
    alike = np.zeros(200, dtype=bool)
    assert np.array_equal(group_by_aspect(order, alike, 4, 2), order)
    portrait = order % 2 == 0
    grouped = group_by_aspect(order, portrait, 4, 0)
    kinds = (grouped.reshape(-1, 4) % 2)[:, 0]
    assert 15 < np.abs(np.diff(kinds)).sum() < 40, "neither sorted nor alternating"
