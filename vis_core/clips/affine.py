"""Affine maps of image coordinates: window, flip, rotation, and their composition.

Coordinates are continuous: pixel i covers [i, i + 1), its centre is i + 0.5.
``clips/transforms.py`` applies the maps to pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Affine:
    """An affine map from points of a source image to an output of ``height`` x ``width`` pixels.

    ``matrix`` is (2, 3) float64: ``output = matrix @ (x, y, 1)`` in continuous pixel coordinates.
    """

    matrix: np.ndarray
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.matrix.shape != (2, 3):
            raise ValueError(f"matrix must have shape (2, 3), but got {self.matrix.shape}")

    @property
    def scale(self) -> float:
        """The ratio of output length to source length."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @property
    def pixel_matrix(self) -> np.ndarray:
        """The (2, 3) map for pixel indices; the centre of pixel i is at i + 0.5."""
        matrix = self.matrix.copy()
        matrix[:, 2] += self.matrix[:, :2] @ (0.5, 0.5) - 0.5
        return matrix

    def after(self, first: "Affine") -> "Affine":
        """Returns the map that applies ``first`` and then this one."""
        linear = self.matrix[:, :2] @ first.matrix[:, :2]
        shift = self.matrix[:, :2] @ first.matrix[:, 2] + self.matrix[:, 2]
        return Affine(np.column_stack([linear, shift]), self.height, self.width)


def compose(steps: Sequence[Affine]) -> Affine:
    """Combines several maps into one; the first is applied first."""
    combined = steps[0]
    for step in steps[1:]:
        combined = step.after(combined)
    return combined


def window_affine(window: Sequence[float], height: int, width: int, scale: float) -> Affine:
    """Returns the map that moves the corner of ``window`` (x0, y0, ...) to (0, 0) and scales."""
    shift = (-window[0] * scale, -window[1] * scale)
    return Affine(np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), height, width)


def flip_affine(height: int, width: int) -> Affine:
    """Returns the map that mirrors ``height`` x ``width`` pixels left to right."""
    return Affine(np.array([[-1.0, 0, width], [0, 1.0, 0]]), height, width)


def rotation_affine(
    height: int, width: int, angle_deg: float, center: tuple[float, float]
) -> Affine:
    """Returns the map that rotates counter-clockwise about ``center`` (x, y), keeping the size."""
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    linear = np.array([[cos, sin], [-sin, cos]])
    shift = np.array(center) - linear @ center
    return Affine(np.column_stack([linear, shift]), height, width)
