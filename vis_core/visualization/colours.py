"""Track colours: constant per track id and perceptually far apart.

Distances are measured in OKLab (Ottosson, "A perceptual color space for image processing", 2020,
https://bottosson.github.io/posts/oklab), where Euclidean distance is close to perceived distance.
"""

from functools import lru_cache

import numpy as np

PALETTE_SIZE = 32  # colours repeat after this many: more could not be distinguished
_LIGHTNESS = (0.58, 0.72, 0.86)  # readable on both dark and bright images
_CHROMA = 0.19  # of the values tried, this puts the first 12 colours farthest apart
_HUES_DEG = range(0, 360, 12)
_FIRST_HUE_DEG = 252  # a blue, which few objects have, so id 0 stands out

Colour = tuple[int, int, int]


def track_colour(track_id: int) -> Colour:
    """Returns the RGB colour of a track id, the same in every frame and video."""
    return _palette()[track_id % PALETTE_SIZE]


def ink_on(colour: Colour) -> Colour:
    """Returns black or white, whichever has more contrast (WCAG 2.2) on ``colour``."""
    linear = _to_linear(np.array(colour) / 255.0)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    contrast_black, contrast_white = (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)
    return (0, 0, 0) if contrast_black >= contrast_white else (255, 255, 255)


@lru_cache(maxsize=1)
def _palette() -> tuple[Colour, ...]:
    """Chooses the colours by farthest-point sampling."""
    grid = [_oklab(lightness, hue) for lightness in _LIGHTNESS for hue in _HUES_DEG]
    colours = [_to_rgb(_oklab(_LIGHTNESS[1], _FIRST_HUE_DEG)), *map(_to_rgb, grid)]
    # sRGB clips some colours, so distances are measured after the conversion.
    points = np.array([_from_rgb(colour) for colour in colours])
    chosen, distance = [0], np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < PALETTE_SIZE:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return tuple(colours[index] for index in chosen)


_LAB_TO_CONE = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_CONE_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _oklab(lightness: float, hue_deg: float) -> np.ndarray:
    hue = np.deg2rad(hue_deg)
    return np.array([lightness, _CHROMA * np.cos(hue), _CHROMA * np.sin(hue)])


def _to_rgb(lab: np.ndarray) -> Colour:
    """Converts OKLab to 8-bit sRGB, clipped per channel."""
    linear = np.clip(_CONE_TO_LINEAR @ (_LAB_TO_CONE @ lab) ** 3, 0.0, 1.0)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (int(value) for value in np.rint(curved * 255))
    return red, green, blue


def _from_rgb(colour: Colour) -> np.ndarray:
    """Converts 8-bit sRGB to OKLab."""
    cone = np.cbrt(np.linalg.solve(_CONE_TO_LINEAR, _to_linear(np.array(colour) / 255.0)))
    return np.linalg.solve(_LAB_TO_CONE, cone)


def _to_linear(rgb: np.ndarray) -> np.ndarray:
    """Converts sRGB to linear RGB."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
