"""A tracker that continues from a saved state gives the result of an undisturbed one."""

import pytest
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
from vis_core.inference.online import OnlineTracker
from vis_core.structures import Frame


def track_saving(
    system: NoisySystem, tracks: TrackConfig
) -> tuple[OnlineTracker, dict[int, bytes]]:
    """Returns a tracker after all frames, and its states by the last frame of each chunk."""
    tracker = OnlineTracker(system, tracks)
    saved: dict[int, bytes] = {}

    def after(last: Frame) -> None:
        saved[last.index] = save(tracker.state())

    run_chunked(frames_from(0), CHUNK, [tracker], after)
    return tracker, saved


def listings(tracker: OnlineTracker) -> list[tuple]:
    """Returns all of each track but its masks."""
    return [
        (t.serial, t.track_id, t.label, t.score, t.shown_frames, t.predicted_quality)
        for t in tracker.tracks.finished()
    ]


@pytest.mark.parametrize("association", SYSTEMS, ids=lambda config: config.memory)
@pytest.mark.parametrize("tracks", TRACKS, ids=lambda config: config.labels)
def test_a_walk_goes_on_after_any_chunk(association, tracks):
    system = NoisySystem(association)
    whole, saved = track_saving(system, tracks)
    wanted = whole.tracks.states
    assert len(wanted) > 2
    for last, body in saved.items():
        again = OnlineTracker(system, tracks)
        again.restore(load(body), SIZE)
        run_chunked(frames_from(last + 1), CHUNK, [again])
        assert repr(again.tracks.states) == repr(wanted), last
        assert listings(again) == listings(whole), last


def test_what_a_sink_is_told_after_a_stop_is_what_it_would_have_been_told():
    system, config = NoisySystem(AssociationConfig()), TrackConfig()
    whole, states = track_saving(system, config)
    half = sorted(states)[3]
    again = OnlineTracker(system, config)
    again.restore(load(states[half]), SIZE)
    run_chunked(frames_from(half + 1), CHUNK, [again])
    wanted = {track.track_id: track for track in whole.tracks.finished()}
    for track in again.tracks.finished():
        late = list(wanted[track.track_id].masks.between(half + 1, NUM_FRAMES))
        assert list(track.masks.between(0, NUM_FRAMES)) == late
