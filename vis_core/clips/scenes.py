"""Synthetic scenes: textured, deforming objects over a textured, moving background.

The scenes are used for demonstrations, tests and start weights. A scene depends only on its
settings and a seed, and has the difficulties of video instance segmentation: occlusion, entry and
exit, look-alike instances, deformation and camera motion.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from vis_core.config.clips import SceneSettings
from vis_core.structures import Clip

CLASS_NAMES = ("ball", "star", "box", "leaf", "gear", "moon")


@dataclass
class _Actor:
    """One object of a scene: appearance, path and deformation."""

    label: int
    radius: float
    colors: np.ndarray
    pattern: int
    start: np.ndarray
    velocity: np.ndarray
    sway: np.ndarray
    spin: float
    phase: float
    squeeze: float
    center: np.ndarray = field(default_factory=lambda: np.zeros(2))


def render_scene(settings: SceneSettings, num_frames: int, seed: int) -> Clip:
    """Renders one scene; ``num_frames`` is 1 for a still image.

    The masks contain only visible pixels: where objects overlap, the nearer one hides the other.
    Instances that are never visible are omitted.
    """
    rng = np.random.default_rng(seed)
    actors = _draw_actors(settings, num_frames, rng)
    background = _background(settings, rng)
    camera = rng.uniform(-2.5, 2.5, 2) if rng.random() < 0.7 else np.zeros(2)
    images, masks = [], []
    for t in range(num_frames):
        offset = camera * (t - num_frames / 2)
        image, owner = _render_frame(settings, actors, background, offset, t)
        images.append(_sensor_noise(image, rng))
        masks.append(owner[None] == np.arange(len(actors))[:, None, None])
    all_masks = np.stack(masks)
    # An instance with only a few pixels cannot be recognised.
    all_masks &= (all_masks.sum(axis=(2, 3)) >= 12)[:, :, None, None]
    visible = all_masks.any(axis=(0, 2, 3))
    labels = np.array([actor.label for actor in actors], dtype=np.int64)
    return Clip(f"scene-{seed}", np.stack(images), all_masks[:, visible], labels[visible])


def _draw_actors(
    settings: SceneSettings, num_frames: int, rng: np.random.Generator
) -> list[_Actor]:
    size = np.array([settings.width, settings.height], dtype=float)
    actors: list[_Actor] = []
    for _ in range(rng.integers(settings.min_objects, settings.max_objects + 1)):
        label = int(rng.integers(len(CLASS_NAMES)))
        middle = rng.uniform(0.1, 0.9, 2) * size
        velocity = rng.normal(0.0, 0.018, 2) * settings.width
        actor = _Actor(
            label=label,
            radius=float(rng.uniform(0.13, 0.27) * settings.height),
            colors=_two_colors(rng),
            # The shape always matches the class, the texture usually does.
            pattern=label if rng.random() < 0.8 else int(rng.integers(len(_PATTERNS))),
            # The object is inside the frame at mid-video and may enter and leave.
            start=middle - velocity * num_frames / 2,
            velocity=velocity,
            sway=rng.uniform(0, 0.06, 2) * settings.height,
            spin=float(rng.uniform(-0.12, 0.12)),
            phase=float(rng.uniform(0, 2 * np.pi)),
            squeeze=float(rng.uniform(0.0, 0.22)),
        )
        if actors and rng.random() < settings.lookalike_probability:
            twin = actors[-1]
            actor.label, actor.colors, actor.pattern = twin.label, twin.colors, twin.pattern
        actors.append(actor)
    return actors


def _two_colors(rng: np.random.Generator) -> np.ndarray:
    """Draws (2, 3) RGB colours in [0, 255] that differ in hue and brightness."""
    hue = rng.integers(0, 180)
    hsv = [[hue, rng.integers(120, 256), rng.integers(150, 256)]]
    hsv.append([(hue + rng.integers(20, 120)) % 180, rng.integers(60, 220), rng.integers(40, 140)])
    return cv2.cvtColor(np.array([hsv], dtype=np.uint8), cv2.COLOR_HSV2RGB)[0].astype(np.float32)


def _background(settings: SceneSettings, rng: np.random.Generator) -> np.ndarray:
    """Draws a texture larger than the frame, so that the camera can move over it."""
    height, width = 2 * settings.height, 2 * settings.width
    texture = np.zeros((height, width, 3), dtype=np.float32)
    for cells, weight in ((3, 0.45), (8, 0.25), (24, 0.15), (64, 0.15)):
        grid = rng.uniform(0, 1, (cells, cells * 3 // 2, 3)).astype(np.float32)
        texture += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    tint = rng.uniform(40, 170, 3)
    return np.clip(tint + (texture - 0.5) * rng.uniform(60, 170), 0, 255).astype(np.float32)


def _render_frame(
    settings: SceneSettings,
    actors: list[_Actor],
    background: np.ndarray,
    offset: np.ndarray,
    t: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the actors back to front; returns the image (H, W, 3) and each pixel's actor."""
    center = ((settings.width - 1) / 2, (settings.height - 1) / 2)
    whole = np.array([background.shape[1] - 1, background.shape[0] - 1]) / 2
    window = whole + np.clip(offset, -whole / 2, whole / 2)
    image = cv2.getRectSubPix(
        background, (settings.width, settings.height), (float(window[0]), float(window[1]))
    )
    owner = np.full((settings.height, settings.width), -1, dtype=np.int32)
    ys, xs = np.mgrid[0 : settings.height, 0 : settings.width].astype(np.float32)
    for index, actor in enumerate(actors):
        swing = actor.sway * np.sin(0.35 * t + actor.phase + np.array([0.0, 1.3]))
        position = actor.start + actor.velocity * t + swing - offset
        reach = actor.radius * 1.6
        if np.any(np.abs(position - center) > np.array(center) + reach):
            continue
        alpha, color = _paint(actor, xs - position[0], ys - position[1], t)
        image = image * (1 - alpha[..., None]) + color * alpha[..., None]
        owner[alpha > 0.5] = index
    return image, owner


def _paint(actor: _Actor, dx: np.ndarray, dy: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes the opacity (H, W) and the colour (H, W, 3) of one actor around its centre."""
    angle = actor.spin * t + actor.phase
    squeeze = 1 + actor.squeeze * np.sin(0.5 * t + actor.phase)
    u = (np.cos(angle) * dx + np.sin(angle) * dy) / (actor.radius * squeeze)
    v = (-np.sin(angle) * dx + np.cos(angle) * dy) * squeeze / actor.radius
    edge = _SHAPES[actor.label](u, v, t + actor.phase)
    # ``edge`` is positive inside, in units of the radius; the border is softened over one pixel.
    alpha = np.clip(edge * actor.radius + 0.5, 0, 1).astype(np.float32)
    value = _PATTERNS[actor.pattern](u, v).astype(np.float32)[..., None]
    shade = np.clip(1.0 - 0.25 * (u + v), 0.6, 1.3).astype(np.float32)[..., None]
    color = (actor.colors[0] * value + actor.colors[1] * (1 - value)) * shade
    return alpha, color


def _sensor_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(image + rng.normal(0, 3.0, image.shape), 0, 255).astype(np.uint8)


def _polar(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.hypot(u, v), np.arctan2(v, u)


def _ball(u: np.ndarray, v: np.ndarray, _: float) -> np.ndarray:
    return 1.0 - np.hypot(u, v)


def _star(u: np.ndarray, v: np.ndarray, time: float) -> np.ndarray:
    rho, theta = _polar(u, v)
    return 0.78 + (0.34 + 0.06 * np.sin(0.6 * time)) * np.cos(5 * theta) - rho


def _box(u: np.ndarray, v: np.ndarray, time: float) -> np.ndarray:
    lean = 0.12 * np.sin(0.4 * time)
    return 0.86 - np.maximum(np.abs(u + lean * v), np.abs(v))


def _leaf(u: np.ndarray, v: np.ndarray, time: float) -> np.ndarray:
    bend = 0.18 * np.sin(0.5 * time) * (1 - u**2)
    width = 0.5 * np.clip(1 - (u / 1.25) ** 2, 0, None)
    return np.where(np.abs(u) < 1.25, width - np.abs(v + bend), -1.0)


def _gear(u: np.ndarray, v: np.ndarray, _: float) -> np.ndarray:
    rho, theta = _polar(u, v)
    rim = 0.92 + 0.10 * np.tanh(4 * np.cos(9 * theta)) - rho
    return np.minimum(rim, rho - 0.30)


def _moon(u: np.ndarray, v: np.ndarray, time: float) -> np.ndarray:
    bite = np.hypot(u - 0.55 - 0.08 * np.sin(0.5 * time), v) - 0.72
    return np.minimum(1.05 - np.hypot(u, v), bite)


_Shape = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
_SHAPES: tuple[_Shape, ...] = (_ball, _star, _box, _leaf, _gear, _moon)

_Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]
_PATTERNS: tuple[_Pattern, ...] = (
    lambda u, v: 0.5 + 0.5 * np.tanh(4 * np.sin(9 * u)),  # stripes  # noqa: ARG005
    lambda u, v: 0.5 + 0.5 * np.tanh(6 * np.sin(7 * u) * np.sin(7 * v)),  # checks
    lambda u, v: 0.5 + 0.5 * np.tanh(4 * np.sin(11 * np.hypot(u, v))),  # rings
    lambda u, v: (np.hypot((3 * u) % 1 - 0.5, (3 * v) % 1 - 0.5) < 0.3).astype(float),  # dots
    lambda u, v: np.clip(0.5 + 0.5 * v, 0, 1),  # gradient  # noqa: ARG005
    lambda u, v: 0.5 + 0.5 * np.tanh(4 * np.sin(8 * v + 2 * np.sin(5 * u))),  # waves
)
