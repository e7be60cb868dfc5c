from itertools import combinations

import cv2
import numpy as np
import pytest

from vis_core.visualization.colours import PALETTE_SIZE, ink_on, track_colour


def lab(colour):
    return cv2.cvtColor(np.float32(colour).reshape(1, 1, 3) / 255, cv2.COLOR_RGB2Lab).ravel()


@pytest.mark.parametrize(("count", "least"), [(8, 30.0), (12, 20.0), (PALETTE_SIZE, 10.0)])
def test_the_first_colours_are_far_apart_for_the_eye(count, least):
    # CIE76: 2.3 is a just noticeable difference
    colours = [lab(track_colour(i)) for i in range(count)]
    assert min(np.linalg.norm(a - b) for a, b in combinations(colours, 2)) > least


def test_an_id_always_has_the_same_colour():
    assert track_colour(3) == track_colour(3) == track_colour(3 + PALETTE_SIZE)
    assert all(0 <= value <= 255 for i in range(PALETTE_SIZE) for value in track_colour(i))


def test_text_on_every_colour_has_enough_contrast():
    def luminance(colour):
        c = np.array(colour) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for i in range(PALETTE_SIZE):
        low, high = sorted([luminance(track_colour(i)), luminance(ink_on(track_colour(i)))])
        assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2.2 AA
