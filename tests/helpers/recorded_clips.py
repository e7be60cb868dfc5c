"""The transforms of detectron2 as recorded in the reference files, done with our functions."""

import numpy as np
from pycocotools import mask as coco_mask

from vis_core.clips.affine import Affine, flip_affine, rotation_affine, window_affine
from vis_core.clips.transforms import crop, flip, resize, warp_image


def resize_affine(source_size, height, width):
    """Stretches a picture of ``source_size`` (height, width) to ``height`` x ``width`` pixels."""
    scale_y, scale_x = height / source_size[0], width / source_size[1]
    return Affine(np.array([[scale_x, 0, 0], [0, scale_y, 0]]), height, width)


def recorded_step(step):
    """Converts one recorded detectron2 transform to our map; None if it does nothing."""
    kind = step["type"]
    if kind == "ResizeTransform":
        return resize_affine((step["h"], step["w"]), int(step["new_h"]), int(step["new_w"]))
    if kind == "CropTransform":
        x0, y0, height, width = (int(step[key]) for key in ("x0", "y0", "h", "w"))
        return window_affine((x0, y0), height, width, 1.0)
    if kind == "RotationTransform":
        sizes = int(step["h"]), int(step["w"])
        return rotation_affine(*sizes, step["angle"], tuple(step["center"]))
    return None


def recorded_image(image, steps):
    """Computes the image after every step, moving pixels step by step."""
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
            image = warp_image(image, recorded_step(step))
    return image


def recorded_mask(polygons, steps, height, width):
    """Computes the polygons' mask after all steps: corners moved, cut at crops, then rasterised."""
    for step in steps:
        if step["type"] == "HFlipTransform":
            affine = flip_affine(height, int(step["width"]))
        else:
            affine = recorded_step(step)
        if affine is not None:
            polygons = moved_polygons(polygons, affine, clip=step["type"] == "CropTransform")
    if not polygons:
        return np.zeros((height, width), bool)
    parts = coco_mask.frPyObjects(polygons, height, width)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)


def moved_polygons(polygons, affine, *, clip):
    """Moves polygon corners as in the CTVIS release, cut at the borders by ``clip``."""
    moved = []
    for polygon in polygons:
        corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        corners = corners @ affine.matrix[:, :2].T + affine.matrix[:, 2]
        if clip:
            corners = clipped_corners(corners, affine.height, affine.width)
        if len(corners) >= 3:
            moved.append(corners.ravel().tolist())
    return moved


def clipped_corners(corners, height, width):
    """Cuts a polygon (n, 2) at the four borders of a picture (Sutherland-Hodgman)."""
    for axis, bound, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        depth = sign * (corners[:, axis] - bound)
        kept = []
        for i in range(len(corners)):
            if (depth[i - 1] < 0) != (depth[i] < 0):
                share = depth[i - 1] / (depth[i - 1] - depth[i])
                kept.append(corners[i - 1] + share * (corners[i] - corners[i - 1]))
            if depth[i] >= 0:
                kept.append(corners[i])
        corners = np.array(kept).reshape(-1, 2)
    return corners
