"""Stitching: equal to loops over pixels, independent of order, one to one, aware of occlusion."""

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from tests.helpers.long_videos import Agreement, compare, long_clip, perfect_predictions
from vis_core.association.associator import Associator
from vis_core.config.association import AssociationConfig
from vis_core.config.clips import SceneSettings
from vis_core.config.stitching import StitchConfig
from vis_core.errors import StorageError
from vis_core.inference.stitching.boundary import BoundaryTrack, SegmentBoundary
from vis_core.inference.stitching.joins import Join, join_tracks, stitch_segments, stitched_ids
from vis_core.inference.stitching.recorder import BoundaryRecorder
from vis_core.inference.stitching.segments import Segment
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.rle.packed import PackedMasks
from vis_core.rle.segmentation import decode_rle, encode_masks
from vis_core.structures import Instances

SIZE = (9, 11)
OVERLAP = (20, 24)


def square(left: int, frames: int = 4, width: int = 3) -> np.ndarray:
    """Returns (4, H, W) masks of a square in the last frames of the overlap."""
    masks = np.zeros((4, *SIZE), bool)
    masks[4 - frames :, 2:6, left : left + width] = True
    return masks


def packed(masks: np.ndarray | None) -> PackedMasks:
    own = PackedMasks()
    for t, mask in enumerate([] if masks is None else masks):
        if mask.any():
            own.add(OVERLAP[0] + t, encode_masks(mask[None])[0]["counts"])
    return own


def track(
    track_id: int,
    embedding: tuple[float, ...] = (1, 0, 0),
    masks: np.ndarray | None = None,
    label: int = 0,
    away: int = 0,
    segment: int = 0,
) -> BoundaryTrack:
    values = np.array(embedding, np.float32)
    return BoundaryTrack(segment, track_id, label, values, away, packed(masks))


def side(*tracks: BoundaryTrack, overlap: tuple[int, int] = OVERLAP) -> SegmentBoundary:
    return SegmentBoundary(SIZE, overlap, tracks)


def pairs(joins: list[Join]) -> list[tuple[int, int]]:
    return [(join.before[1], join.after[1]) for join in joins]


def test_equal_masks_join_whatever_the_embeddings_say() -> None:
    before = side(track(0, (1, 0, 0), square(0)), track(1, (0, 1, 0), square(6)))
    after = side(
        track(7, (1, 0, 0), square(6), segment=1), track(8, (0, 1, 0), square(0), segment=1)
    )
    joins = join_tracks(before, after, StitchConfig())
    assert pairs(joins) == [(0, 8), (1, 7)]
    assert [join.mask_iou for join in joins] == [1, 1]
    assert [join.similarity for join in joins] == [0, 0]


def test_the_iou_is_over_space_and_time() -> None:
    before, after = side(track(0, masks=square(0))), side(track(0, masks=square(1, 2), segment=1))
    join = join_tracks(before, after, StitchConfig())[0]
    assert join.mask_iou == pytest.approx(2 * 8 / (4 * 12 + 2 * 12 - 2 * 8))


def test_of_two_look_alikes_each_goes_on_where_its_masks_are() -> None:
    alike = (0.6, 0.8, 0)
    before = side(track(0, alike, square(0)), track(1, alike, square(4)))
    after = side(track(0, alike, square(4), segment=1), track(1, alike, square(0), segment=1))
    assert pairs(join_tracks(before, after, StitchConfig())) == [(0, 1), (1, 0)]


def test_one_hidden_in_the_overlap_is_found_again_by_its_embedding() -> None:
    before = side(track(0, (1, 0, 0), square(0)), track(1, (0, 1, 0), away=30))
    after = side(
        track(0, (1, 0, 0), square(0), segment=1), track(1, (0, 0.9, 0.1), away=12, segment=1)
    )
    joins = join_tracks(before, after, StitchConfig())
    assert pairs(joins) == [(0, 0), (1, 1)]
    assert joins[1].mask_iou == 0 < joins[1].similarity
    assert joins[1].confidence < joins[0].confidence
    assert pairs(join_tracks(before, after, StitchConfig(reach_frames=42))) == [(0, 0), (1, 1)]
    assert pairs(join_tracks(before, after, StitchConfig(reach_frames=41))) == [(0, 0)]


def test_a_floor_keeps_the_unlike_apart_and_none_joins_all() -> None:
    before, after = side(track(0, (1, 0, 0), away=3)), side(track(0, (-1, 0.1, 0), segment=1))
    assert join_tracks(before, after, StitchConfig()) == []
    assert pairs(join_tracks(before, after, StitchConfig(min_similarity=None))) == [(0, 0)]


def test_two_that_a_frame_shows_apart_are_never_one() -> None:
    before, after = side(track(0, masks=square(0))), side(track(0, masks=square(6), segment=1))
    assert join_tracks(before, after, StitchConfig(min_similarity=None)) == []


def test_of_equal_embeddings_the_class_decides() -> None:
    before = side(track(0, label=3, away=5), track(1, label=4, away=5))
    after = side(track(0, label=4, away=1, segment=1), track(1, label=3, away=1, segment=1))
    assert pairs(join_tracks(before, after, StitchConfig())) == [(0, 1), (1, 0)]


def test_a_change_of_class_does_not_part_equal_masks() -> None:
    before = side(track(0, masks=square(0), label=3))
    after = side(track(0, masks=square(0), label=4, segment=1))
    apart = join_tracks(before, after, StitchConfig())[0]
    after = side(track(0, masks=square(0), label=3, segment=1))
    assert apart.confidence < join_tracks(before, after, StitchConfig())[0].confidence == 1


def test_an_empty_side_joins_nothing() -> None:
    one = side(track(0, masks=square(0)))
    assert join_tracks(side(), one, StitchConfig()) == []
    assert join_tracks(one, side(), StitchConfig()) == []
    assert join_tracks(side(), side(), StitchConfig()) == []


def test_embeddings_without_direction_or_end_are_like_nothing() -> None:
    before = side(track(0, (0, 0, 0), away=1), track(1, (np.nan, 1, 0), away=1))
    after = side(track(0, (1, 0, 0), segment=1), track(1, (np.inf, 1, 0), segment=1))
    assert join_tracks(before, after, StitchConfig()) == []


def random_side(draw: np.random.Generator, segment: int, count: int) -> SegmentBoundary:
    tracks = []
    for track_id in draw.permutation(2 * count)[:count].tolist():
        masks = np.zeros((4, *SIZE), bool)
        if draw.random() < 0.7:
            top, left = draw.integers(0, 6, 2)
            masks[draw.random(4) < 0.7, top : top + 4, left : left + 4] = True
        embedding = tuple(draw.normal(0, 1, 3))
        away = int(draw.integers(0, 9))
        tracks.append(track(track_id, embedding, masks, int(draw.integers(2)), away, segment))
    return side(*tracks)


def naive_joins(before: SegmentBoundary, after: SegmentBoundary, config: StitchConfig) -> set:
    """Computes the two rounds, pixel by pixel and pair by pair."""

    def pixels(own: BoundaryTrack) -> np.ndarray:
        masks = np.zeros((4, *SIZE), bool)
        for t, counts in own.masks.between(*OVERLAP):
            masks[t - OVERLAP[0]] = decode_rle({"size": list(SIZE), "counts": counts})
        return masks

    def best(allowed: dict) -> set:
        rows = sorted({pair[0] for pair in allowed})
        columns = sorted({pair[1] for pair in allowed})
        table = [[allowed.get((row, column), 0.0) for column in columns] for row in rows]
        if not table:
            return set()
        chosen = zip(*linear_sum_assignment(table, maximize=True), strict=True)
        found = {(rows[row], columns[column]) for row, column in chosen}
        return found & allowed.keys()

    by_masks, by_embedding = {}, {}
    for one in before.tracks:
        for two in after.tracks:
            mine, other = pixels(one), pixels(two)
            iou = (mine & other).sum() / max(1, (mine | other).sum())
            lengths = np.linalg.norm(one.embedding) * np.linalg.norm(two.embedding)
            cosine = float(one.embedding @ two.embedding / lengths)
            weights = config.mask_weight, config.similarity_weight, config.label_weight
            parts = (iou, max(cosine, 0), one.label == two.label)
            total = np.dot(weights, parts) / sum(weights)
            pair = (one.key, two.key)
            if iou >= config.min_mask_iou:
                by_masks[pair] = total
            together = (mine.any((1, 2)) & other.any((1, 2))).any()
            if (
                not together
                and cosine >= config.min_similarity
                and one.away + two.away <= config.reach_frames
            ):
                by_embedding[pair] = total
    for allowed in (by_masks, by_embedding):
        values = [round(total, 9) for total in allowed.values()]
        assume(len(set(values)) == len(values))  # equal totals have several best choices
    first = best(by_masks)
    rows, columns = {row for row, _ in first}, {column for _, column in first}
    left = {p: v for p, v in by_embedding.items() if p[0] not in rows and p[1] not in columns}
    return first | best(left)


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_joins_are_those_of_the_naive_loop_one_to_one_and_blind_to_order(
    seed: int, count: int, other_count: int
) -> None:
    draw = np.random.default_rng(seed)
    before, after = random_side(draw, 0, count), random_side(draw, 1, other_count)
    config = StitchConfig(min_similarity=0.2, reach_frames=11)
    joins = join_tracks(before, after, config)
    assert {(join.before, join.after) for join in joins} == naive_joins(before, after, config)
    assert len({join.before for join in joins}) == len({join.after for join in joins}) == len(joins)
    assert all(0 <= join.confidence <= 1 for join in joins)
    shuffled = [
        SegmentBoundary(
            SIZE, OVERLAP, tuple(own.tracks[row] for row in draw.permutation(len(own.tracks)))
        )
        for own in (before, after)
    ]
    assert join_tracks(*shuffled, config) == joins


def test_ties_are_broken_alike_in_every_order() -> None:
    twins = [track(k, away=2) for k in range(3)]
    others = [track(k, away=1, segment=1) for k in range(3)]
    found = {
        tuple(pairs(join_tracks(side(*before), side(*after), StitchConfig())))
        for before in permutations(twins)
        for after in permutations(others)
    }
    assert len(found) == 1


def test_more_evidence_never_lowers_the_confidence() -> None:
    def confidence(frames: int, angle: float) -> float:
        turned = (float(np.cos(angle)), float(np.sin(angle)), 0)
        after = side(track(0, turned, square(0, frames), segment=1))
        before = side(track(0, masks=square(0)))
        return join_tracks(before, after, StitchConfig())[0].confidence

    by_frames = [confidence(frames, 0.5) for frames in (1, 2, 3, 4)]
    by_angle = [confidence(4, angle) for angle in (3, 1.2, 0.6, 0)]
    assert by_frames == sorted(by_frames) and by_angle == sorted(by_angle)
    assert by_frames[0] < by_frames[-1] and by_angle[0] < by_angle[-1] == 1


def test_one_away_for_a_whole_segment_is_found_behind_it() -> None:
    later = (44, 48)
    lost, found = track(5, (0, 1, 0), away=10), track(2, (0, 1, 0), away=3, segment=2)
    boundaries = [
        (side(lost), side()),
        (side(overlap=later), side(found, overlap=later)),
    ]
    joins = stitch_segments(boundaries, StitchConfig())
    assert [(join.before, join.after) for join in joins] == [((0, 5), (2, 2))]
    assert stitch_segments(boundaries, StitchConfig(reach_frames=10 + 24 + 3)) == joins
    assert stitch_segments(boundaries, StitchConfig(reach_frames=10 + 24 + 2)) == []


def test_ids_go_on_over_all_segments_and_new_tracks_are_numbered_as_they_appear() -> None:
    first_frames = [{4: 0, 2: 0, 9: 7}, {0: 20, 1: 21, 3: 25}, {6: 40, 5: 41}]
    joins = [
        Join((0, 4), (1, 1), 1.0, 1.0, 1.0),
        Join((1, 1), (2, 5), 1.0, 1.0, 1.0),
        Join((0, 9), (1, 8), 1.0, 1.0, 1.0),  # visible in the overlap only
        Join((1, 8), (2, 6), 1.0, 1.0, 1.0),
    ]
    assert stitched_ids(first_frames, joins) == {
        (0, 2): 0, (0, 4): 1, (0, 9): 2,
        (1, 0): 3, (1, 1): 1, (1, 3): 4,
        (2, 6): 2, (2, 5): 1,
    }  # fmt: skip


def test_arrays_give_back_what_was_put_in() -> None:
    for seed in range(20):
        draw = np.random.default_rng(seed)
        own = random_side(draw, seed, seed % 5)
        arrays = {name: values.copy() for name, values in own.to_arrays().items()}
        assert not any(values.dtype.hasobject for values in arrays.values())
        back = SegmentBoundary.from_arrays(arrays)
        assert (back.size, back.overlap) == (own.size, own.overlap)
        assert [t.key for t in back.tracks] == [t.key for t in own.tracks]
        for one, two in zip(own.tracks, back.tracks, strict=True):
            assert (one.label, one.away, one.masks) == (two.label, two.away, two.masks)
            np.testing.assert_array_equal(one.embedding, two.embedding)


def test_arrays_that_do_not_go_together_are_refused() -> None:
    arrays = side(track(0, masks=square(0)), track(1)).to_arrays()
    with pytest.raises(StorageError, match="labels is .* expected"):
        SegmentBoundary.from_arrays(arrays | {"labels": np.zeros(3, np.int64)})
    with pytest.raises(StorageError, match="counts are missing"):
        SegmentBoundary.from_arrays({k: v for k, v in arrays.items() if k != "counts"})


def test_the_config_follows_the_association() -> None:
    config = StitchConfig(reach_frames=50)
    assert config.following(AssociationConfig.minvis()).min_similarity is None
    floor = AssociationConfig(similarity="cosine", match_threshold=0.3)
    assert config.following(floor).min_similarity == 0.3
    assert config.following(AssociationConfig.ctvis_released()).reach_frames == 20
    assert config.following(AssociationConfig()) == config


def recorded(reach: int | None) -> tuple[SegmentBoundary, SegmentBoundary]:
    """Records frames 4-12 of a video: 0 is visible from 4 to 9, 1 from 8 on, 2 from 10 on."""
    associator = Associator(AssociationConfig.embeddings())
    recorder = BoundaryRecorder(3, Segment(6, 12, 2), associator.memory, overlap=3, reach=reach)
    for t in range(4, 12):
        shown = [k for k, first, last in ((0, 4, 9), (1, 8, 11), (2, 10, 11)) if first <= t <= last]
        scores = torch.full((len(shown),), 0.9)
        class_scores = torch.eye(4)[[k + (t == 9) for k in shown]]  # an outlier of the class
        instances = Instances(scores, class_scores, scores[:, None, None], 9 * torch.eye(3)[shown])
        masks = torch.zeros(len(shown), *SIZE, dtype=torch.bool)
        for row, k in enumerate(shown):
            masks[row, k, k : k + 2] = True
        associated, ids = associator.step(instances)
        recorder.add(SIZE, associated, ids, EncodedMasks.of(masks))
    return recorder.head, recorder.tail


def test_a_recorder_notes_both_seams_of_a_walk() -> None:
    head, tail = recorded(None)
    assert (head.overlap, tail.overlap) == ((4, 6), (9, 12))
    assert [(t.key, t.away, len(t.masks)) for t in head.tracks] == [
        ((3, 0), 0, 2), ((3, 1), 2, 0), ((3, 2), 4, 0),
    ]  # fmt: skip
    assert [(t.key, t.away, len(t.masks)) for t in tail.tracks] == [
        ((3, 0), 2, 1), ((3, 1), 0, 3), ((3, 2), 0, 2),
    ]  # fmt: skip
    assert [t.label for t in tail.tracks] == [0, 1, 2]
    assert tail.tracks[0].embedding.tolist() == [9, 0, 0]
    assert list(tail.tracks[0].masks.frame_indices) == [9]


def test_a_recorder_notes_no_start_beyond_its_reach() -> None:
    assert [t.track_id for t in recorded(2)[0].tracks] == [0, 1]
    assert [t.track_id for t in recorded(1)[0].tracks] == [0]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Limits torch to one thread: small tensors on many threads mostly wait on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("association", [AssociationConfig.minvis(), AssociationConfig()])
@pytest.mark.parametrize("count", [2, 4])
def test_segments_of_occluded_scenes_keep_the_identities_of_one_pass(
    association: AssociationConfig, count: int
) -> None:
    scenes = SceneSettings(height=64, width=96, min_objects=4, max_objects=6)
    videos = [perfect_predictions(long_clip(s, 120, False, scenes), s, 0.1) for s in (21, 22, 23)]
    found: Agreement = compare(videos, association, StitchConfig().following(association), count)
    print(count, "segments:", found)
    assert found.num_tracks >= 12
    assert found.same >= 0.95 * found.num_tracks
