import numpy as np
import pytest
from pycocotools import mask as coco_mask

from vis_core.rle.decode import runs_of_strings, string_fault
from vis_core.rle.segmentation import encode_mask

PIXELS = 42  # 6 x 7


def _strings(generator: np.random.Generator, count: int) -> list[str]:
    return [
        encode_mask(generator.random((6, 7)) > generator.random())["counts"] for _ in range(count)
    ]


def _mutated(text: str, generator: np.random.Generator) -> str:
    letters = list(text)
    for _ in range(generator.integers(1, 3)):
        place = int(generator.integers(len(letters) + 1))
        kind = generator.integers(3)
        if kind == 0:
            letters[place : place + 1] = [chr(generator.integers(40, 118))]
        elif kind == 1:
            letters.insert(place, chr(generator.integers(48, 112)))
        else:
            del letters[place : place + 1]
    return "".join(letters)


def test_runs_of_many_strings_equal_those_of_each() -> None:
    generator = np.random.default_rng(0)
    strings = _strings(generator, 50)
    runs = runs_of_strings(strings, PIXELS)
    assert runs is not None
    for place, text in enumerate(strings):
        own = slice(runs.first[place], runs.first[place + 1])
        mask = np.zeros(PIXELS, bool)
        for end, length in zip(runs.ends[own], runs.lengths[own], strict=True):
            mask[end - place * PIXELS - length : end - place * PIXELS] = True
        decoded = coco_mask.decode({"size": [6, 7], "counts": text})
        np.testing.assert_array_equal(mask, decoded.flatten(order="F") != 0)
        assert runs.areas()[place] == decoded.sum()


@pytest.mark.parametrize("seed", range(4))
def test_the_quick_gate_and_the_slow_judge_agree_and_let_only_sound_masks_pass(seed: int) -> None:
    generator = np.random.default_rng(seed)
    good = _strings(generator, 1)
    passed = 0
    for _ in range(2500):
        text = _mutated(_strings(generator, 1)[0], generator)
        fault = string_fault(text, PIXELS)
        assert (fault is None) == (runs_of_strings([*good, text, *good], PIXELS) is not None)
        if fault is None:
            passed += 1
            assert coco_mask.decode({"size": [6, 7], "counts": text}).max() <= 1
    assert passed


def test_no_strings_have_no_runs() -> None:
    runs = runs_of_strings([], PIXELS)
    assert runs is not None
    assert (len(runs), len(runs.areas())) == (0, 0)


def test_sums_that_wrap_round_are_refused() -> None:
    runs = [0] + [100_000_000] * 60
    text = coco_mask.frPyObjects({"size": [1, 1], "counts": runs}, 1, 1)["counts"].decode()
    assert runs_of_strings([text], 100_000_000) is None
