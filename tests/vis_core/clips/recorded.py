"""The transforms of detectron2 as the reference files record them, done with our functions."""

import numpy as np

from vis_core.clips.affine import (
    crop_affine,
    flip_affine,
    resize_affine,
    rotation_affine,
    transform_polygons,
)
from vis_core.clips.transforms import crop, flip, resize, rotate_about
from vis_core.rle.segmentation import decode_rle, segmentation_to_rle


def recorded_step(step):
    """One recorded detectron2 transform as our map; None where it does nothing."""
    kind = step["type"]
    if kind == "ResizeTransform":
        return resize_affine((step["h"], step["w"]), int(step["new_h"]), int(step["new_w"]))
    if kind == "CropTransform":
        return crop_affine(*(int(step[key]) for key in ("x0", "y0", "h", "w")))
    if kind == "RotationTransform":
        sizes = int(step["h"]), int(step["w"])
        return rotation_affine(*sizes, step["angle"], tuple(step["center"]))
    return None


def recorded_image(image, steps):
    """The image after every step, pixels moved step by step."""
    masks = np.zeros((0, *image.shape[:2]), bool)
    for step in steps:
        if step["type"] == "ResizeTransform":
            image, masks = resize(image, masks, int(step["new_h"]), int(step["new_w"]))
        elif step["type"] == "CropTransform":
            numbers = (int(step[key]) for key in ("x0", "y0", "h", "w"))
            image, masks = crop(image, masks, *numbers)
        elif step["type"] == "HFlipTransform":
            image, masks = flip(image, masks)
        elif step["type"] == "RotationTransform":
            image, masks = rotate_about(image, masks, step["angle"], tuple(step["center"]))
    return image


def recorded_mask(polygons, steps, height, width):
    """The mask of polygons after every step, corners moved, cut at crops, then rasterised."""
    for step in steps:
        if step["type"] == "HFlipTransform":
            affine = flip_affine(height, int(step["width"]))
        else:
            affine = recorded_step(step)
        if affine is not None:
            polygons = transform_polygons(polygons, affine, clip=step["type"] == "CropTransform")
    if not polygons:
        return np.zeros((height, width), bool)
    return decode_rle(segmentation_to_rle(polygons, height, width, "polygons"))
