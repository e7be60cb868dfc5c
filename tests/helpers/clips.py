"""Small pictures with instances for clip tests."""

import numpy as np

from vis_core.structures import Clip


def textured_image(height, width, seed=0):
    """Returns an (H, W, 3) uint8 picture in which every place looks different."""
    ys, xs = np.mgrid[0:height, 0:width]
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [127 + 100 * np.sin(xs / 9 + p) * np.cos(ys / 7 + 2 * p) for p in phases]
    return np.stack(waves, axis=-1).astype(np.uint8)


def disc_masks(height, width, places):
    """Returns (G, H, W) discs; ``places`` holds (x, y, radius)."""
    ys, xs = np.mgrid[0:height, 0:width]
    discs = [(xs - x) ** 2 + (ys - y) ** 2 < radius**2 for x, y, radius in places]
    return np.array(discs, dtype=bool).reshape(len(places), height, width)


def still(height=90, width=120, places=((40, 40, 18), (85, 50, 15)), seed=0, clip_id="still"):
    """Returns a one-frame clip with one disc per place and labels 0, 1, 2, ..."""
    masks = disc_masks(height, width, places)
    image = textured_image(height, width, seed)
    return Clip(clip_id, image[None], masks[None], np.arange(len(places), dtype=np.int64))
