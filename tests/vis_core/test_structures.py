"""A track unpacks its masks on demand."""

from array import array

from vis_core.rle.packed import PackedMasks
from vis_core.structures import Track

SIZE = (4, 5)
MASK = {"size": [4, 5], "counts": "5210"}


def test_a_track_is_unpacked_frame_by_frame() -> None:
    track = Track(3, 0, 0.5, PackedMasks.of([None, MASK, None, MASK]), array("d", [0.25, 0.75]))
    assert track.shown_frames == (2, 1, 3)
    assert track.segmentations(SIZE, 5) == [None, MASK, None, MASK, None]
    assert track.scores_by_frame(5) == [None, 0.25, None, 0.75, None]


def test_a_track_without_a_pixel_has_no_frames() -> None:
    track = Track(None, 0, 0.5)
    assert track.shown_frames == (0, -1, -1)
    assert track.segmentations(SIZE, 2) == track.scores_by_frame(2) == [None, None]


def test_the_frames_of_a_mask_table_are_stated() -> None:
    assert Track(0, 0, 0.5, stored_frames=(4, 2, 9)).shown_frames == (4, 2, 9)
