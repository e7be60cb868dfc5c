"""Where a point of a picture goes: resize, crop, flip and rotation as one affine map each.

Coordinates are continuous: pixel i covers [i, i + 1), its centre is i + 0.5. Pixels are moved in
``clips/transforms.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Affine:
    """Maps points of a source picture to points of an output picture.

    Attributes:
        matrix: (2, 3) float64, ``output = matrix @ (x, y, 1)`` in continuous pixel coordinates.
        height: Pixels of the output.
        width: Pixels of the output.
    """

    matrix: np.ndarray
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.matrix.shape != (2, 3):
            raise ValueError(f"matrix must have shape (2, 3), but got {self.matrix.shape}")

    @property
    def scale(self) -> float:
        """Length of the output over length of the source, no unit."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @property
    def pixel_matrix(self) -> np.ndarray:
        """(2, 3) the same map for pixel indices, whose centres are at i + 0.5."""
        matrix = self.matrix.copy()
        matrix[:, 2] += self.matrix[:, :2] @ (0.5, 0.5) - 0.5
        return matrix

    def after(self, first: "Affine") -> "Affine":
        """Gives the map that applies ``first`` and then this one."""
        linear = self.matrix[:, :2] @ first.matrix[:, :2]
        shift = self.matrix[:, :2] @ first.matrix[:, 2] + self.matrix[:, 2]
        return Affine(np.column_stack([linear, shift]), self.height, self.width)


def compose(steps: Sequence[Affine]) -> Affine:
    """Makes one map of several, the first applied first."""
    whole = steps[0]
    for step in steps[1:]:
        whole = step.after(whole)
    return whole


def window_affine(window: Sequence[float], height: int, width: int, scale: float) -> Affine:
    """Shows a window ``(x0, y0, x1, y1)`` of the source at ``scale`` from the upper left corner."""
    shift = (-window[0] * scale, -window[1] * scale)
    return Affine(np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), height, width)


def resize_affine(source_size: tuple[int, int], height: int, width: int) -> Affine:
    """Stretches a picture of ``source_size`` (height, width) to ``height`` x ``width`` pixels."""
    scale_y, scale_x = height / source_size[0], width / source_size[1]
    return Affine(np.array([[scale_x, 0, 0], [0, scale_y, 0]]), height, width)


def crop_affine(x0: int, y0: int, height: int, width: int) -> Affine:
    """Cuts ``height`` x ``width`` pixels out, the upper left one at ``(x0, y0)``."""
    return Affine(np.array([[1.0, 0, -x0], [0, 1.0, -y0]]), height, width)


def flip_affine(height: int, width: int) -> Affine:
    """Mirrors a picture of ``height`` x ``width`` pixels left to right."""
    return Affine(np.array([[-1.0, 0, width], [0, 1.0, 0]]), height, width)


def rotation_affine(
    height: int, width: int, angle_deg: float, center: tuple[float, float]
) -> Affine:
    """Rotates by ``angle_deg`` degrees counter-clockwise about ``center`` (x, y); same size."""
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    linear = np.array([[cos, sin], [-sin, cos]])
    shift = np.array(center) - linear @ center
    return Affine(np.column_stack([linear, shift]), height, width)


def transform_polygons(
    polygons: Sequence[Sequence[float]], affine: Affine, clip: bool = False
) -> list[list[float]]:
    """Moves the corners of polygons, the way the released CTVIS moves its masks.

    Args:
        polygons: Each ``[x0, y0, x1, y1, ...]`` in pixels of the source, as in COCO.
        affine: Where the corners go.
        clip: Whether what lies outside the output is cut off, as after a crop. Without it the
            corners keep their places outside the picture and may return with a later step.

    Returns:
        Polygons of at least 3 corners in pixels of the output; fewer than came in where some lie
        outside altogether.
    """
    moved = []
    for polygon in polygons:
        corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        corners = corners @ affine.matrix[:, :2].T + affine.matrix[:, 2]
        if clip:
            corners = _clip_corners(corners, affine.height, affine.width)
        if len(corners) >= 3:
            moved.append(corners.ravel().tolist())
    return moved


def _clip_corners(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cuts a polygon (n, 2) at the four borders of a picture (Sutherland-Hodgman)."""
    for axis, bound, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        depth = sign * (corners[:, axis] - bound)
        kept: list[np.ndarray] = []
        for i in range(len(corners)):
            if (depth[i - 1] < 0) != (depth[i] < 0):
                share = depth[i - 1] / (depth[i - 1] - depth[i])
                kept.append(corners[i - 1] + share * (corners[i] - corners[i - 1]))
            if depth[i] >= 0:
                kept.append(corners[i])
        corners = np.array(kept).reshape(-1, 2)
    return corners
