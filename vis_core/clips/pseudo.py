"""Clips made from still images: pseudo-videos (CTVIS 3.4) and pairs of two views.

Each motion draws its parameters once per clip and steps through them in order, so that the clip is
smooth; half of the clips run backwards. Rotation, view, flip and output size are combined into one
affine map per frame, so each pixel is interpolated only once.
"""

from collections.abc import Callable

import numpy as np

from vis_core.clips.affine import Affine, compose, flip_affine, rotation_affine, window_affine
from vis_core.clips.augment import augment_clip
from vis_core.clips.sampling import crop_sides, output_frame, path_fractions
from vis_core.clips.transforms import (
    four_channels,
    reached_part,
    shrink_source,
    visible_instances,
    warp_four_channels,
    warp_frames,
)
from vis_core.config.clips import AugmentConfig, PseudoConfig
from vis_core.structures import Clip


def make_pseudo_clip(
    still: Clip,
    config: PseudoConfig,
    generator: np.random.Generator,
    paste_from: Callable[[], Clip] | None = None,
) -> Clip:
    """Makes a clip of T frames from one image, keeping its name and identities.

    An instance with fewer than ``min_visible_pixels`` in a frame is absent from it; an instance
    absent from all frames is omitted. Rows of pasted instances follow those of the image.

    Args:
        still: The image as a clip of one frame. Overlapping masks remain overlapping.
        config: Motions, their probabilities and the frame size.
        generator: Source of the random numbers; the result depends on the arguments only.
        paste_from: Reads another image as a clip of one frame; called only if instances are pasted.

    The release rotates the view after cropping it. Here, the view is rotated within the image, so
    its corners show the surrounding image; only pixels outside the image are 0. The release
    neither zooms nor pastes.
    """
    height, width = still.images.shape[1:3]
    affines = draw_motion(height, width, config, generator)
    clip = Clip(still.clip_id, *warp_frames(still.images[0], still.masks[0], affines), still.labels)
    pastes = generator.random() < config.paste_probability
    if pastes and paste_from is not None:
        clip = copy_paste(clip, paste_from(), config, generator, in_place=True)
    return visible_instances(clip, config.min_visible_pixels, in_place=True)


def crop_pair(still: Clip, config: AugmentConfig, generator: np.random.Generator) -> Clip:
    """Makes a key and a reference frame as two independent views of one image (2nd place 2.2).

    Each view draws its own crop, size and flip. An instance has the same row in both views and is
    absent from a view if it is outside the crop. Views of different sizes are padded to the larger;
    the result's ``sizes`` are those before padding.

    The release resizes, crops and resizes again, but here the image is cropped and resized once.
    The release clips the annotated boxes to the crop, so its boxes may exceed an instance's visible
    part. Our boxes are computed from the masks, as in the release on real videos.
    """
    images, masks = (
        np.broadcast_to(values, (2, *values.shape[1:])) for values in (still.images, still.masks)
    )
    twice = Clip(still.clip_id, images, masks, still.labels)
    return augment_clip(twice, config, generator)


def draw_motion(
    height: int, width: int, config: PseudoConfig, generator: np.random.Generator
) -> list[Affine]:
    """Draws T random affine maps, each from the ``height`` x ``width`` image to one frame."""
    views = np.tile([0.0, 0.0, width, height], (config.num_frames, 1))
    if generator.random() < config.crop_probability:
        zooms = generator.random() < config.zoom_share
        views = (crop_zoom if zooms else crop_shift)(height, width, config, generator)
    largest = (views[:, 2:] - views[:, :2]).max(axis=0)
    scale, out_height, out_width = output_frame(largest[1], largest[0], config.size, generator)
    zoom = largest[0] / (views[:, 2] - views[:, 0])
    steps = [
        [window_affine(view, out_height, out_width, scale * ratio)]
        for view, ratio in zip(views, zoom, strict=True)
    ]
    if generator.random() < config.flip_probability:
        for step in steps:
            step.append(flip_affine(out_height, out_width))
    if generator.random() < config.rotation_probability:
        for step, turn in zip(steps, rotate(out_height, out_width, config, generator), strict=True):
            step.append(turn)
    return [compose(step) for step in steps]


def rotate(
    height: int, width: int, config: PseudoConfig, generator: np.random.Generator
) -> list[Affine]:
    """Draws T rotations of a frame about one centre (CTVIS 3.4, "Rotation").

    T angles are uniform in [-max_angle_deg, max_angle_deg] and sorted; half of the clips run
    backwards.
    """
    margin = config.rotation_center_margin
    share = generator.uniform(margin, 1 - margin, 2)
    angles = config.max_angle_deg * (2 * path_fractions(config.num_frames, generator) - 1)
    center = (float(share[0] * width), float(share[1] * height))
    return [rotation_affine(height, width, float(angle), center) for angle in angles]


def crop_shift(
    height: int, width: int, config: PseudoConfig, generator: np.random.Generator
) -> np.ndarray:
    """Draws (T, 4) xyxy views of constant size that shift over the image (CTVIS 3.4, "Crop").

    The upper-left corner moves along a line from a uniformly drawn point to another point below and
    to the right of it (CTVIS release); half of the clips run backwards.
    """
    sides = crop_sides(height, width, config.crop_size, generator)[::-1]
    room = np.array([width, height]) - sides
    start = generator.uniform(0, room)
    end = generator.uniform(start, room)
    share = path_fractions(config.num_frames, generator)[:, None]
    corners = start + share * (end - start)
    return np.hstack([corners, corners + sides])


def crop_zoom(
    height: int, width: int, config: PseudoConfig, generator: np.random.Generator
) -> np.ndarray:
    """Draws (T, 4) xyxy views that zoom in or out (CTVIS 3.4, "Crop"); not in the release.

    The view shrinks to a smaller view with the same aspect ratio at a uniformly drawn position
    inside it; half of the clips run backwards and zoom out.
    """
    sides = crop_sides(height, width, config.crop_size, generator)[::-1]
    start = generator.uniform(0, np.array([width, height]) - sides)
    small = sides * generator.uniform(config.min_zoom, 1)
    inner = start + generator.uniform(0, sides - small)
    share = path_fractions(config.num_frames, generator)[:, None]
    corners = start + share * (inner - start)
    return np.hstack([corners, corners + sides + share * (small - sides)])


def copy_paste(
    clip: Clip,
    source: Clip,
    config: PseudoConfig,
    generator: np.random.Generator,
    *,
    in_place: bool = False,
) -> Clip:
    """Pastes moving instances of ``source``, a clip of one frame, into a clip (CTVIS 3.4).

    An instance keeps its size and moves along a line between two uniformly drawn points in the
    frame. The instance may enter or leave the frame, and it hides the pixels behind it. Its edges
    are not blended (the paper's reference [7] found blending unnecessary). Rows of pasted instances
    follow the clip's own rows. ``in_place`` overwrites the clip's images.
    """
    present = np.flatnonzero(source.masks[0].any(axis=(1, 2)))
    count = int(generator.integers(1, config.max_pasted_instances + 1))
    chosen = generator.permutation(present)[:count]
    images = clip.images if in_place else clip.images.copy()
    first = len(clip.labels)
    masks = np.empty((len(clip), first + len(chosen), *clip.images.shape[1:3]), bool)
    masks[:, :first], masks[:, first:] = clip.masks, False
    for row, source_row in enumerate(chosen, start=first):
        cut_image, cut_mask = _cut_out(source.images[0], source.masks[0, source_row])
        path = _draw_path(cut_mask.shape, clip, source, config, generator)
        cut_image, cut_masks, path = shrink_source(cut_image, cut_mask[None], path)
        cut_out = four_channels(cut_image, cut_masks[0])
        for t, affine in enumerate(path):
            _paste(images[t], masks[t], row, cut_out, affine)
    labels = np.concatenate([clip.labels, source.labels[chosen]])
    return Clip(clip.clip_id, images, masks, labels)


def _paste(
    image: np.ndarray, masks: np.ndarray, row: int, cut_out: np.ndarray, affine: Affine
) -> None:
    """Pastes a cut-out into one frame in place, as mask ``row`` in front of all earlier rows."""
    part = reached_part(affine, *cut_out.shape[:2])
    if part is None:
        return
    window, local = part
    moved, pasted = warp_four_channels(cut_out, local)
    image[window][pasted] = moved[pasted]
    masks[:row, window[0], window[1]] &= ~pasted
    masks[row, window[0], window[1]] = pasted


def _draw_path(
    cut_size: tuple[int, ...],
    clip: Clip,
    source: Clip,
    config: PseudoConfig,
    generator: np.random.Generator,
) -> list[Affine]:
    """Draws T maps that move the centre of a cut-out along a line through the frames."""
    frame = np.array(clip.images.shape[1:3])
    fit = float((frame / source.images.shape[1:3]).min())
    scale = fit * generator.uniform(config.min_paste_scale, config.max_paste_scale)
    start, end = generator.uniform(0, 1, (2, 2)) * frame[::-1]
    places = start + path_fractions(len(clip), generator)[:, None] * (end - start)
    height, width = int(frame[0]), int(frame[1])
    corners = np.array(cut_size[::-1]) / 2 - places / scale
    return [window_affine(corner, height, width, scale) for corner in corners]


def _cut_out(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crops an image and a mask to the mask's box plus two pixels, for interpolation."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    rows = slice(max(0, ys[0] - 2), ys[-1] + 3)
    columns = slice(max(0, xs[0] - 2), xs[-1] + 3)
    return image[rows, columns], np.ascontiguousarray(mask[rows, columns])
