"""Varies real clips and still images: one crop, one size and one flip, shared by all frames."""

import numpy as np

from vis_core.clips.draws import crop_sides, output_frame
from vis_core.clips.settings import AugmentConfig, FixedSize
from vis_core.clips.transforms import crop, flip, resize, visible_instances
from vis_core.structures import Clip


def augment_clip(clip: Clip, config: AugmentConfig, generator: np.random.Generator) -> Clip:
    """Crops, resizes and flips a clip the way the released CTVIS treats real videos.

    Args:
        clip: T frames of one size.
        config: Chances and sizes.
        generator: All draws are shared by the frames of the clip.

    Returns:
        A clip of the same frames and identities; instances that no longer show are left out.
    """
    height, width = clip.images.shape[1:3]
    x0, y0, height, width = _draw_window(height, width, config, generator)
    scale, out_height, out_width = output_frame(height, width, config.size, generator)
    fitted_height, fitted_width = out_height, out_width
    if isinstance(config.size, FixedSize):
        fitted_height, fitted_width = max(1, round(height * scale)), max(1, round(width * scale))
    flips = generator.random() < config.flip_probability
    images = np.zeros((len(clip), out_height, out_width, 3), dtype=np.uint8)
    masks = np.zeros((len(clip), len(clip.labels), out_height, out_width), dtype=bool)
    for t in range(len(clip)):
        shown = crop(clip.images[t], clip.masks[t], x0, y0, height, width)
        shown = resize(*shown, fitted_height, fitted_width)
        image, frame_masks = flip(*shown) if flips else shown
        images[t, :fitted_height, :fitted_width] = image
        masks[t, :, :fitted_height, :fitted_width] = frame_masks
    varied = Clip(clip.clip_id, images, masks, clip.labels)
    return visible_instances(varied, config.min_visible_pixels)


def make_image_clip(
    image: np.ndarray,
    masks: np.ndarray,
    labels: np.ndarray,
    config: AugmentConfig,
    generator: np.random.Generator,
    clip_id: str,
) -> Clip:
    """Makes a clip of one frame out of a still image (H, W, 3), masks (G, H, W), labels (G,)."""
    clip = Clip(clip_id, image[None], masks[None], np.asarray(labels, dtype=np.int64))
    return augment_clip(clip, config, generator)


def _draw_window(
    height: int, width: int, config: AugmentConfig, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draws the part that is shown: x0, y0, height and width in pixels."""
    if generator.random() >= config.crop_probability:
        return 0, 0, height, width
    sides = crop_sides(height, width, config.crop_size, generator)
    cut_height, cut_width = (max(1, int(round(side))) for side in sides)
    y0 = int(generator.integers(0, height - cut_height + 1))
    x0 = int(generator.integers(0, width - cut_width + 1))
    return x0, y0, cut_height, cut_width
