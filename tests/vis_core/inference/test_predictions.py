"""A video predicted in parts and associated in one pass gives the result of one tracker."""

from itertools import islice

import pytest
import torch
from safetensors.torch import load, save

from tests.helpers.noisy_system import (
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
from vis_core.inference.chunk_pipeline import run_chunked
from vis_core.inference.frame_predictor import FramePredictor
from vis_core.inference.online import OnlineTracker
from vis_core.inference.predictions import (
    FramePrediction,
    PredictionCollector,
    pack_predictions,
    unpack_predictions,
)

PART = 2 * CHUNK


def predicted_part(system: NoisySystem, tracks: TrackConfig, first: int, mirrored: bool) -> bytes:
    """Returns the part that another process would have stored for some frames."""
    collector = PredictionCollector(FramePredictor(system, tracks, mirrored))
    run_chunked(islice(frames_from(first), PART), CHUNK, [collector])
    return save(pack_predictions(collector.take()))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("association", SYSTEMS, ids=lambda config: config.memory)
@pytest.mark.parametrize("tracks", TRACKS, ids=lambda config: config.labels)
def test_parts_that_were_seen_apart_are_named_like_a_whole(association, tracks, mirrored):
    system = NoisySystem(association)
    whole = OnlineTracker(system, tracks, mirrored=mirrored)
    run_chunked(frames_from(0), CHUNK, [whole])
    parts = {
        first: predicted_part(system, tracks, first, mirrored)
        for first in reversed(range(0, NUM_FRAMES, PART))
    }
    joined = OnlineTracker(system, tracks, mirrored=mirrored)
    for first in sorted(parts):
        joined.associate_predictions(first, unpack_predictions(load(parts[first])), SIZE)
    found, wanted = joined.tracks.result(), whole.tracks.result()
    assert (found.size, found.num_frames) == (wanted.size, wanted.num_frames)
    assert len(wanted.tracks) > 2
    assert [repr(track) for track in found.tracks] == [repr(track) for track in wanted.tracks]
    states = joined.state(), whole.state()
    assert save(states[0]) == save(states[1])


def test_frames_without_instances_and_no_frames_are_packed():
    collector = PredictionCollector(
        FramePredictor(NoisySystem(AssociationConfig()), TrackConfig(mask_quality=True))
    )
    run_chunked(frames_from(0), CHUNK, [collector])
    frames = collector.take()
    assert collector.take() == []
    assert {len(frame.masks) for frame in frames} == {0, 1, 3}
    again = unpack_predictions(load(save(pack_predictions(frames))))
    assert [frame.masks for frame in again] == [frame.masks for frame in frames]
    for left, right in zip(again, frames, strict=True):
        assert_same(left, right)
    assert unpack_predictions(load(save(pack_predictions([])))) == []


def assert_same(left: FramePrediction, right: FramePrediction) -> None:
    for name, tensor in vars(right.instances).items():
        other = getattr(left.instances, name)
        assert (tensor is None) == (other is None), name
        assert tensor is None or torch.equal(tensor, other), name
