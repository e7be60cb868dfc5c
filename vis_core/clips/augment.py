"""Augmentation of clips: crop, resize and flip, drawn once per clip or for each frame."""

from dataclasses import dataclass, replace

import numpy as np

from vis_core.clips.sampling import crop_sides, one_size, output_frame
from vis_core.clips.transforms import crop, flip, pad_frames, resize, visible_instances
from vis_core.config.clips import AugmentConfig, FixedSize
from vis_core.structures import Clip

_Window = tuple[int, int, int, int]  # x0, y0, height and width in pixels


@dataclass(frozen=True)
class _View:
    """The view of one frame: a crop, resized to ``height`` x ``width``, flipped and padded."""

    window: _Window
    height: int
    width: int
    frame_height: int
    frame_width: int
    flips: bool

    def of(self, image: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Applies the view to an image (H, W, 3) and its masks (G, H, W), without the padding."""
        resized = resize(*crop(image, masks, *self.window), self.height, self.width)
        return flip(*resized) if self.flips else resized


def augment_clip(clip: Clip, config: AugmentConfig, generator: np.random.Generator) -> Clip:
    """Crops, resizes and flips a clip as the CTVIS and IDOL releases do with real videos.

    Removes instances that are no longer visible. Frames of different sizes are padded to the
    largest; the result's ``sizes`` are those before padding.
    """
    views = _draw_views(len(clip), clip.images.shape[1:3], config, generator)
    height = max(view.frame_height for view in views)
    width = max(view.frame_width for view in views)
    masks = np.zeros((len(clip), len(clip.labels), height, width), dtype=bool)
    images = []
    for t, view in enumerate(views):
        image, frame_masks = view.of(clip.images[t], clip.masks[t])
        images.append(image)
        masks[t, :, : view.height, : view.width] = frame_masks
    padded, sizes = pad_frames(images, height, width)
    # If all frames share one view, the padding to a fixed size counts as part of the image.
    sizes = None if config.drawn_per_frame == "nothing" else sizes
    augmented = replace(clip, images=padded, masks=masks, sizes=sizes)
    return visible_instances(augmented, config.min_visible_pixels)


def _draw_views(
    count: int, size: tuple[int, ...], config: AugmentConfig, generator: np.random.Generator
) -> list[_View]:
    """Draws the views for ``count`` frames of ``size`` (height, width)."""
    height, width = size
    if config.drawn_per_frame == "everything":
        return [_draw_view(height, width, config, generator) for _ in range(count)]
    if config.drawn_per_frame == "nothing":
        return [_draw_view(height, width, config, generator)] * count
    # Frames share the decision to crop, the size and the flip; each has its own crop window (IDOL
    # release).
    always = generator.random() < config.crop_probability
    shared = config.model_copy(
        update={
            "crop_probability": float(always),
            "size": one_size(config.size, generator),
            "flip_probability": float(generator.random() < config.flip_probability),
        }
    )
    return [_draw_view(height, width, shared, generator) for _ in range(count)]


def _draw_view(
    height: int, width: int, config: AugmentConfig, generator: np.random.Generator
) -> _View:
    window = _draw_window(height, width, config, generator)
    height, width = window[2:]
    scale, out_height, out_width = output_frame(height, width, config.size, generator)
    fitted_height, fitted_width = out_height, out_width
    if isinstance(config.size, FixedSize):
        fitted_height, fitted_width = max(1, round(height * scale)), max(1, round(width * scale))
    flips = bool(generator.random() < config.flip_probability)
    return _View(window, fitted_height, fitted_width, out_height, out_width, flips)


def _draw_window(
    height: int, width: int, config: AugmentConfig, generator: np.random.Generator
) -> _Window:
    """Draws the crop, or returns the whole frame."""
    if generator.random() >= config.crop_probability:
        return 0, 0, height, width
    sides = crop_sides(height, width, config.crop_size, generator)
    cut_height, cut_width = (max(1, int(round(side))) for side in sides)
    y0 = int(generator.integers(0, height - cut_height + 1))
    x0 = int(generator.integers(0, width - cut_width + 1))
    return x0, y0, cut_height, cut_width
