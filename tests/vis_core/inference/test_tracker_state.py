"""A tracker that continues from a saved state gives the result of an undisturbed one."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from tests.vis_core.inference.toy import ToySystem, square_frames
from vis_core.association.associator import Associator
from vis_core.association.memory import MEMORY_READS
from vis_core.config.association import AssociationConfig
from vis_core.config.inference import ShortTrackFilter, TrackConfig
from vis_core.inference.chunk_pipeline import run_chunked
from vis_core.inference.online import OnlineTracker
from vis_core.structures import Frame

SIZE = (32, 48)
NUM_FRAMES, CHUNK = 21, 3


class NoisySystem(ToySystem):
    """Finds squares whose scores, boxes and embeddings differ from frame to frame."""

    def __init__(self, association: AssociationConfig):
        super().__init__()
        self.association = association

    def new_associator(self):
        return Associator(self.association)

    def _instances(self, image):
        found = super()._instances(image)
        seed = int(image.astype(int).sum()) + int(image.argmax())
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand(found.class_scores.shape, generator=generator)
        scores = (found.class_scores + 0.3 * noise).clamp(max=0.99)
        embeddings = found.embeddings + 0.5 * torch.randn(noise.shape, generator=generator)
        boxes = torch.rand(len(found), 4, generator=generator)
        boxes[:, 2:] += boxes[:, :2]
        return replace(
            found,
            scores=scores.max(dim=1).values,
            class_scores=scores,
            embeddings=embeddings,
            boxes=boxes,
            qualities=scores[:, 0],
        )


def frames_from(first: int):
    """Frames of one to three squares; nothing is to be seen in some."""
    for frame in square_frames(NUM_FRAMES, *SIZE, labels=(0, 1, 2)):
        image = frame.image.copy()
        if frame.index % 5 == 3:
            image[:16] = 128
        if frame.index % 7 == 6:
            image[:] = 128
        if frame.index >= first:
            yield replace(frame, image=image)


def track_saving(
    system: NoisySystem, tracks: TrackConfig
) -> tuple[OnlineTracker, dict[int, bytes]]:
    """A tracker after all frames, and its state after each chunk by the last frame of it."""
    tracker = OnlineTracker(system, tracks)
    saved: dict[int, bytes] = {}

    def after(last: Frame) -> None:
        saved[last.index] = save(tracker.state())

    run_chunked(frames_from(0), CHUNK, [tracker], after)
    return tracker, saved


SYSTEMS = [
    *(AssociationConfig(memory=name) for name in MEMORY_READS),
    AssociationConfig(memory="latest", similarity="cues", assignment="best_claim"),
    AssociationConfig(memory="latest", similarity="cosine", assignment="hungarian"),
    AssociationConfig(max_unseen_frames=2),
]
TRACKS = [
    TrackConfig(),
    TrackConfig(mask_quality=True, labels="majority", over_time="max"),
    TrackConfig(short_tracks=ShortTrackFilter(after_frame=1), labels="every", min_frames=0),
]


def listings(tracker: OnlineTracker) -> list[tuple]:
    """All of each track but its masks."""
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
