"""Resizing of images for the networks, the same in training and inference."""

import cv2
import numpy as np
from PIL import Image


def resize_image(image: np.ndarray, height: int, width: int, *, quick: bool = False) -> np.ndarray:
    """Resizes a uint8 image (H, W, 3) or plane (H, W) bilinearly.

    The result is Pillow's, as in detectron2's training and testing: when it shrinks an image,
    its filter covers all pixels, so nothing aliases. ``quick`` reads only four pixels for each
    output pixel, which takes a tenth of the time and aliases.
    """
    if image.shape[:2] == (height, width):
        return image
    if quick:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    resampled = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resampled)
