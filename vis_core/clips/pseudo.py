"""Makes a clip out of a still image: one that moves (CTVIS 3.4), or a pair of two views.

Every motion draws its parameters once per clip and passes through them in order, so that a clip is
smooth; half of the clips run backwards. Rotation, view, flip and output size make one affine map
per frame: a pixel is interpolated once.
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
from vis_core.config.clips import PairConfig, PseudoConfig
from vis_core.structures import Clip


def make_pseudo_clip(
    image: np.ndarray,
    masks: np.ndarray,
    labels: np.ndarray,
    config: PseudoConfig,
    generator: np.random.Generator,
    clip_id: str,
    paste_from: Callable[[], Clip] | None = None,
) -> Clip:
    """Makes T frames of one image, with the identities kept.

    An instance that leaves the view, or of which fewer than ``min_visible_pixels`` show, is absent
    in that frame; one that never shows is left out. Pasted instances follow the image's own.

    Args:
        image: (H, W, 3) uint8.
        masks: (G, H, W) bool. Where they overlap in the annotation they overlap in the clip.
        labels: (G,) int64.
        config: Motions, their chances and the size of the frames.
        generator: The clip is a function of it and of the other arguments.
        clip_id: Names the clip.
        paste_from: Opens another image with its instances as a clip of one frame; called only if
            the coin says so. None never pastes.

    Returns:
        A clip of ``config.num_frames`` frames.

    Differs: the release cuts the view out before it rotates; here the corners show what the image
    has beyond the view, and 0 only beyond the image. The release neither zooms nor pastes.
    """
    affines = draw_motion(image.shape[0], image.shape[1], config, generator)
    images, moved = warp_frames(image, masks, affines)
    clip = Clip(clip_id, images, moved, np.asarray(labels, dtype=np.int64))
    pastes = generator.random() < config.paste_probability
    if pastes and paste_from is not None:
        clip = copy_paste(clip, paste_from(), config, generator, in_place=True)
    return visible_instances(clip, config.min_visible_pixels, in_place=True)


def crop_pair(
    image: np.ndarray,
    masks: np.ndarray,
    labels: np.ndarray,
    config: PairConfig,
    generator: np.random.Generator,
    clip_id: str,
) -> Clip:
    """Makes a key and a reference frame of one image by two independent views (2nd place 2.2).

    Each view draws its crop, size and flip; an instance has the same row in both and is absent
    where the crop leaves nothing of it. The views differ in size: the smaller is padded, and
    ``sizes`` keeps both.

    Args:
        image: (H, W, 3) uint8.
        masks: (G, H, W) bool.
        labels: (G,) int64.
        config: Chances and sizes.
        generator: The pair is a function of it and of the other arguments.
        clip_id: Names the pair.

    Returns:
        A clip of two frames, the key frame first.

    Differs: the release resizes, crops and resizes again; here the crop is cut out of the image
    and resized once. Its boxes are those of the annotation, cut at the crop, and may exceed what
    is left of an instance; ours follow from the masks, as the release's do on real videos.
    """
    twice = Clip(
        clip_id,
        np.broadcast_to(image, (2, *image.shape)),
        np.broadcast_to(masks, (2, *masks.shape)),
        np.asarray(labels, dtype=np.int64),
    )
    return augment_clip(twice, config, generator)


def draw_motion(
    height: int, width: int, config: PseudoConfig, generator: np.random.Generator
) -> list[Affine]:
    """Draws where an image of ``height`` x ``width`` pixels lies in each of the T frames."""
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
    backwards. The centre is fixed for the clip.

    Args:
        height: Pixels of the frame.
        width: Pixels of the frame.
        config: ``max_angle_deg``, ``rotation_center_margin``, ``num_frames``.
        generator: Draws.

    Returns:
        T maps from the frame to the frame.
    """
    margin = config.rotation_center_margin
    share = generator.uniform(margin, 1 - margin, 2)
    angles = config.max_angle_deg * (2 * path_fractions(config.num_frames, generator) - 1)
    center = (float(share[0] * width), float(share[1] * height))
    return [rotation_affine(height, width, float(angle), center) for angle in angles]


def crop_shift(
    height: int, width: int, config: PseudoConfig, generator: np.random.Generator
) -> np.ndarray:
    """Draws a view of one size that shifts over the image (CTVIS 3.4, "Crop").

    The upper left corner passes along a line, from a corner uniform in the room that the view
    leaves to one right of and below it (released CTVIS); half of the clips run backwards.

    Args:
        height: Pixels of the image.
        width: Pixels of the image.
        config: ``crop_size``, ``num_frames``.
        generator: Draws.

    Returns:
        (T, 4) views xyxy in pixels of the image, all inside it.
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
    """Draws a view that shrinks or grows within itself (CTVIS 3.4, "Crop").

    The lens zooms from a large view to a small one of the same aspect that lies uniformly in it;
    half of the clips run backwards and zoom out. Not in the release.

    Args:
        height: Pixels of the image.
        width: Pixels of the image.
        config: ``crop_size`` (of the large view), ``min_zoom``, ``num_frames``.
        generator: Draws.

    Returns:
        (T, 4) views xyxy in pixels of the image, all inside it.
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
    """Pastes instances of another image into a clip, each on its own way (CTVIS 3.4).

    An instance keeps its size and passes along a line between two places uniform in the frame, so
    it moves against the rest, may enter or leave, and hides what lies behind it. The pixels are
    pasted as they are (reference [7] of the paper found no blending needed).

    Args:
        clip: T frames, G instances.
        source: The other image as a clip of one frame.
        config: ``max_pasted_instances``, ``min_paste_scale``, ``max_paste_scale``.
        generator: Draws.
        in_place: Whether the images are nobody else's and need not be copied first.

    Returns:
        The clip with the pasted instances behind its own rows; a pixel of a pasted instance
        belongs to no other.
    """
    shown = np.flatnonzero(source.masks[0].any(axis=(1, 2)))
    count = int(generator.integers(1, config.max_pasted_instances + 1))
    chosen = generator.permutation(shown)[:count]
    images = clip.images if in_place else clip.images.copy()
    own = len(clip.labels)
    masks = np.empty((len(clip), own + len(chosen), *clip.images.shape[1:3]), bool)
    masks[:, :own], masks[:, own:] = clip.masks, False
    for place, row in enumerate(chosen, start=own):
        cut_image, cut_mask = _cut_out(source.images[0], source.masks[0, row])
        passage = _draw_passage(cut_mask.shape, clip, source, config, generator)
        cut_image, cut_masks, passage = shrink_source(cut_image, cut_mask[None], passage)
        cut_out = four_channels(cut_image, cut_masks[0])
        for t, affine in enumerate(passage):
            _paste(images[t], masks[t], place, cut_out, affine)
    labels = np.concatenate([clip.labels, source.labels[chosen]])
    return Clip(clip.clip_id, images, masks, labels)


def _paste(
    image: np.ndarray, masks: np.ndarray, place: int, cut_out: np.ndarray, affine: Affine
) -> None:
    """Puts a cut-out into one frame as its row ``place``, over the rows before it; in place."""
    part = reached_part(affine, *cut_out.shape[:2])
    if part is None:
        return
    window, local = part
    moved, pasted = warp_four_channels(cut_out, local)
    image[window][pasted] = moved[pasted]
    masks[:place, window[0], window[1]] &= ~pasted
    masks[place, window[0], window[1]] = pasted


def _draw_passage(
    cut_size: tuple[int, ...],
    clip: Clip,
    source: Clip,
    config: PseudoConfig,
    generator: np.random.Generator,
) -> list[Affine]:
    """Draws T maps that bring the middle of a cut-out to its places in the frames."""
    frame = np.array(clip.images.shape[1:3])
    fit = float((frame / source.images.shape[1:3]).min())
    scale = fit * generator.uniform(config.min_paste_scale, config.max_paste_scale)
    start, end = generator.uniform(0, 1, (2, 2)) * frame[::-1]
    places = start + path_fractions(len(clip), generator)[:, None] * (end - start)
    height, width = int(frame[0]), int(frame[1])
    corners = np.array(cut_size[::-1]) / 2 - places / scale
    return [window_affine(corner, height, width, scale) for corner in corners]


def _cut_out(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the box of a mask out, two pixels wider for the interpolation at its border."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    rows = slice(max(0, ys[0] - 2), ys[-1] + 3)
    columns = slice(max(0, xs[0] - 2), xs[-1] + 3)
    return image[rows, columns], np.ascontiguousarray(mask[rows, columns])
