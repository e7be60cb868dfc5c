"""Maps are resized only around visible parts, and there exactly as by torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from vis_core.geometry import sparse_resize
from vis_core.geometry.sparse_resize import boxes_above, resized_boxes

sides = st.integers(1, 40)


@given(sides, sides, sides, sides, st.sampled_from([0.0, 0.5]), st.integers(0, 2**31))
def test_a_box_holds_all_that_is_above_and_is_what_torch_gives(
    height: int, width: int, new_height: int, new_width: int, threshold: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    maps = generator.normal(-1, 1, (4, height, width)).astype(np.float32)
    maps[0] = -1
    maps[1] = np.where(generator.random((height, width)) < 0.05, 2, -2)
    size = (new_height, new_width)
    wanted = interpolate(torch.from_numpy(maps)[:, None], size=size, mode="bilinear")[:, 0].numpy()
    for row, box in enumerate(resized_boxes(maps, size, threshold)):
        outside = wanted[row] > threshold + 1e-5
        if box is not None:
            np.testing.assert_allclose(box.values, wanted[row][box.place], rtol=0, atol=1e-5)
            outside[box.place] = False
        assert not outside.any()
    assert next(resized_boxes(maps, size, threshold)) is None


@given(sides, sides, sides, sides, st.sampled_from([0.0, 0.5]), st.integers(0, 2**31))
def test_parts_of_a_map_are_resized_like_the_whole(
    height: int, width: int, new_height: int, new_width: int, threshold: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    shares = np.array([0.0, 0.02, 0.2, 1.0])[:, None, None]
    maps = generator.random((4, height, width)) < shares
    maps = (generator.random((4, height, width)) - 0.5 + 2 * maps).astype(np.float32) - 1
    size = (new_height, new_width)
    wholes = resized_boxes(maps, size, threshold)
    for whole, parts in zip(wholes, boxes_above(maps, size, threshold), strict=True):
        wanted, found = np.zeros(size, bool), np.zeros(size, bool)
        if whole is not None:
            wanted[whole.place] = whole.values > threshold
        if parts is not None:
            high, wide = parts.inside.shape
            found[parts.top : parts.top + high, parts.left : parts.left + wide] = parts.inside
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("size", [(360, 640), (333, 501), (128, 227)])
def test_no_pixel_of_masks_like_those_of_networks_differs(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(40, 1, 9, 16, generator=generator) - 1
    maps = interpolate(coarse, size=(128, 227), mode="bilinear")
    wanted = interpolate(maps, size=size, mode="bilinear")[:, 0].numpy() > 0
    found = np.zeros_like(wanted)
    for row, box in enumerate(resized_boxes(maps[:, 0].numpy(), size, 0.0)):
        if box is not None:
            found[row][box.place] = box.values > 0
    assert np.array_equal(found, wanted)
    assert 0.02 < found.mean() < 0.5


def test_many_specks_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the calls: one per speck would take ten times as long as the whole frame."""
    maps = np.where(np.random.default_rng(0).random((3, 64, 96)) < 0.05, 2, -2).astype(np.float32)
    maps[1:] = -1
    maps[2, 3:5, 3:5] = maps[2, 40:44, 60:70] = 1
    looks, resize = [0], sparse_resize._resized

    def counted(*arguments):  # type: ignore[no-untyped-def]
        looks[0] += 1
        return resize(*arguments)

    monkeypatch.setattr(sparse_resize, "_resized", counted)
    assert len(list(boxes_above(maps, (360, 640), 0.0))) == 3
    assert looks == [1 + 0 + 2]
