import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from vis_core.errors import AnnotationError
from vis_core.rle.segmentation import (
    decode_rle,
    decode_rles,
    encode_mask,
    encode_masks,
    rle_areas,
    rle_boxes_xywh,
    segmentation_to_rle,
)

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


@settings(max_examples=150, deadline=None)
@given(mask=MASKS)
def test_a_mask_survives_the_round_trip(mask: np.ndarray) -> None:
    rle = encode_mask(mask)
    assert rle["size"] == list(mask.shape)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    assert rle_areas([rle]) == [mask.sum()]


@settings(max_examples=150, deadline=None)
@given(mask=MASKS)
def test_uncompressed_runs_give_the_same_mask(mask: np.ndarray) -> None:
    line = np.concatenate([[False], mask.flatten(order="F"), [False]])
    edges = np.flatnonzero(np.diff(line.astype(int)))
    ends = [*edges.tolist(), mask.size]
    counts = np.diff([0, *ends]).tolist()
    if not counts[-1]:
        counts.pop()
    rle = segmentation_to_rle({"size": list(mask.shape), "counts": counts}, *mask.shape, "here")
    np.testing.assert_array_equal(decode_rle(rle), mask)


@settings(max_examples=100, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(-30, 60), st.floats(-30, 60)), min_size=3, max_size=9),
    more=st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40)), min_size=3, max_size=5),
)
def test_polygons_equal_pycocotools(points: list, more: list) -> None:
    polygons = [[value for point in part for value in point] for part in (points, more)]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 32, 40)))
    np.testing.assert_array_equal(
        decode_rle(segmentation_to_rle(polygons, 32, 40, "here")), expected != 0
    )


@settings(max_examples=150, deadline=None)
@given(
    masks=arrays.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))),
    trailing=st.booleans(),
)
def test_many_masks_are_decoded_as_pycocotools_does(masks: np.ndarray, trailing: bool) -> None:
    rles = encode_masks(masks)
    if trailing:  # an empty run at the end
        rles = [{**rle, "counts": rle["counts"] + "0"} for rle in rles if len(rle["counts"]) < 3]
    decoded = decode_rles([None, *rles, None], *masks.shape[1:])
    assert decoded.dtype == bool and decoded.flags.c_contiguous
    assert not decoded[[0, -1]].any()
    for rle, mask in zip(rles, decoded[1:-1], strict=True):
        np.testing.assert_array_equal(mask, coco_mask.decode(rle) != 0)


def test_masks_of_another_size_are_refused() -> None:
    rles = encode_masks(np.ones((2, 4, 5), bool))
    with pytest.raises(AnnotationError, match=r"size \[4, 5\], which is \[width, height\]"):
        decode_rles(rles, 5, 4)
    assert decode_rles([], 4, 5).shape == (0, 4, 5)


@pytest.mark.parametrize("size", [[10**7, 10**7], [-1, 5], [0, 5]])
def test_no_memory_is_asked_for_before_the_size_is_checked(size: list[int]) -> None:
    with pytest.raises(AnnotationError, match="size"):
        decode_rle({"size": size, "counts": "0"})


def test_many_masks_are_encoded_as_one_by_one() -> None:
    masks = np.random.default_rng(0).random((5, 6, 7)) > 0.5
    assert encode_masks(masks) == [encode_mask(mask) for mask in masks]
    assert encode_masks(np.zeros((0, 6, 7), bool)) == []
    np.testing.assert_array_equal(rle_areas(encode_masks(masks)), masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(rle_areas([]), [])


def test_masks_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="masks must be"):
        encode_masks(np.zeros((1, 2, 3), np.uint8))


def test_a_box_holds_all_pixels() -> None:
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:7] = True
    assert rle_boxes_xywh([encode_mask(mask)]).tolist() == [[3, 2, 4, 3]]


@pytest.mark.parametrize("seed", range(4))
def test_boxes_of_many_masks_are_those_of_each(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = generator.random((20, 6, 7)) > generator.choice([0.5, 0.9, 0.97], (20, 1, 1))
    masks[3], masks[4] = False, True
    rles = encode_masks(masks)
    assert rle_boxes_xywh(rles).tolist() == [coco_mask.toBbox(rle).tolist() for rle in rles]
    assert rle_boxes_xywh([]).shape == (0, 4)


SIZE = [4, 5]
FAULTY = [
    ({"size": SIZE, "counts": ""}, "empty counts"),
    ({"size": SIZE, "counts": "80"}, "add up to"),
    ({"size": SIZE, "counts": "o"}, "end inside a number"),
    ({"size": SIZE, "counts": "\u00e9"}, "alphabet"),
    ({"size": SIZE, "counts": "b'4'"}, "bytes printed as text"),
    ({"size": SIZE, "counts": "ooooooooo0"}, "too large"),
    ({"size": SIZE, "counts": [10, -3, 13]}, "negative run -3"),
    ({"size": SIZE, "counts": [10, 10.0]}, "not an integer"),
    ({"size": SIZE, "counts": [True, 19]}, "not an integer"),
    ({"size": SIZE, "counts": [21]}, "add up to 21"),
    ({"size": SIZE, "counts": []}, "empty counts"),
    ({"size": SIZE, "counts": None}, "type NoneType"),
    ({"size": [5, 4], "counts": [20]}, r"which is \[width, height\]"),
    ({"size": [0, 5], "counts": [0]}, "1 or more"),
    ({"size": [65536, 65536], "counts": [1]}, "over 100000000 pixels"),
    ({"size": [4.0, 5], "counts": [20]}, "1 or more"),
    ({"counts": [20]}, "size null"),
    ([], "empty list of polygons"),
    ([[1, 1, 2, 2]], "4 numbers"),
    ([[1, 1, 2, 2, 3, 3, 4]], "7 numbers"),
    ([[1, 1, 2, 2, 3, float("nan")]], "not finite"),
    ([[1, 1, 2, 2, 3, float("inf")]], "not finite"),
    ([[1, 1, 2, 2, 3, 1e8]], "beyond 10000 pixels"),
    ([[1, 1, 2, 2, 3, 10**400]], "beyond 10000 pixels"),
    ([[1, 1, 2, 2, 3, "4"]], "type str"),
    ([3], "instead of numbers"),
    ([[0, 0, 9000, 9000] * 800], "an outline of"),
    ("text", "instead of polygons"),
    (None, "null instead of polygons"),
]


@pytest.mark.parametrize(("segmentation", "words"), FAULTY)
def test_a_faulty_segmentation_is_refused_with_its_place(segmentation: object, words: str) -> None:
    with pytest.raises(AnnotationError, match=f"my place.*{words}"):
        segmentation_to_rle(segmentation, 4, 5, "my place")


def test_polygons_partly_outside_are_clipped() -> None:
    rle = segmentation_to_rle([[-50, -50, 2, -50, 2, 50, -50, 50]], 4, 5, "here")
    mask = decode_rle(rle)
    assert mask[:, :2].all()
    assert not mask[:, 2:].any()
