"""A video that is seen in parts and named in one pass is what one walk gives."""

from itertools import islice

import pytest
import torch
from safetensors.torch import load, save

from tests.vis_core.inference.test_walk_state import (
    CHUNK,
    NUM_FRAMES,
    SIZE,
    SYSTEMS,
    TRACKS,
    NoisySystem,
    frames_from,
)
from vis_core.config.association import AssociationConfig
from vis_core.config.inference import TrackConfig
from vis_core.inference.chunk_pipeline import walk_on
from vis_core.inference.frame_predictor import Sight
from vis_core.inference.online import VideoWalk
from vis_core.inference.predictions import SeenFrame, SeenWalk, pack_seen, unpack_seen

PART = 2 * CHUNK


def seen_part(system: NoisySystem, tracks: TrackConfig, first: int, mirrored: bool) -> bytes:
    """What another process would have stored of some frames."""
    walk = SeenWalk(Sight(system, tracks, mirrored))
    walk_on(islice(frames_from(first), PART), CHUNK, [walk])
    return save(pack_seen(walk.take()))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("association", SYSTEMS, ids=lambda config: config.memory)
@pytest.mark.parametrize("tracks", TRACKS, ids=lambda config: config.labels)
def test_parts_that_were_seen_apart_are_named_like_a_whole(association, tracks, mirrored):
    system = NoisySystem(association)
    whole = VideoWalk(system, tracks, mirrored=mirrored)
    walk_on(frames_from(0), CHUNK, [whole])
    parts = {
        first: seen_part(system, tracks, first, mirrored)
        for first in reversed(range(0, NUM_FRAMES, PART))
    }
    named = VideoWalk(system, tracks, mirrored=mirrored)
    for first in sorted(parts):
        named.name_seen(first, unpack_seen(load(parts[first])), SIZE)
    assert named.tracks.video == whole.tracks.video
    found, wanted = named.tracks.packed(), whole.tracks.packed()
    assert len(wanted) > 2
    assert [repr(track) for track in found] == [repr(track) for track in wanted]
    states = named.state(), whole.state()
    assert save(states[0]) == save(states[1])


def test_frames_without_instances_and_no_frames_are_packed():
    walk = SeenWalk(Sight(NoisySystem(AssociationConfig()), TrackConfig(mask_quality=True)))
    walk_on(frames_from(0), CHUNK, [walk])
    frames = walk.take()
    assert walk.take() == []
    assert {len(frame.masks) for frame in frames} == {0, 1, 3}
    again = unpack_seen(load(save(pack_seen(frames))))
    assert [frame.masks for frame in again] == [frame.masks for frame in frames]
    for left, right in zip(again, frames, strict=True):
        assert_same(left, right)
    assert unpack_seen(load(save(pack_seen([])))) == []


def assert_same(left: SeenFrame, right: SeenFrame) -> None:
    for name, tensor in vars(right.instances).items():
        other = getattr(left.instances, name)
        assert (tensor is None) == (other is None), name
        assert tensor is None or torch.equal(tensor, other), name
