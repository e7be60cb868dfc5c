"""Frames are resized like the authors' training and test images."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.helpers.presets import tiny_config
from tests.helpers.toy_system import ToySystem
from vis_core.clips.transforms import resize
from vis_core.config.inference import InferenceConfig
from vis_core.errors import ConfigError
from vis_core.geometry.image_resize import resize_image
from vis_core.inference.batching import SharedNetwork
from vis_core.inference.frame_predictor import View
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(tiny_config("minvis"), 2).eval()


def random_image(generator: np.random.Generator) -> np.ndarray:
    height, width = generator.integers(1, 300, 2)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_test_frames_have_pillows_bytes_at_200_sizes(system: System) -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        short, longest = generator.integers(32, 200), generator.integers(32, 300)
        sizes = {"test_short_side": int(short), "test_max_long_side": int(longest)}
        image = random_image(generator)
        system.config = system.config.model_copy(update=sizes)
        frames, ((height, width),) = system.input_frames([image])
        wanted = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        pixels = frames[0, :, :height, :width].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(pixels, np.asarray(wanted))
        assert not frames[0, :, height:].any()
        assert not frames[0, :, :, width:].any()


def test_training_and_inference_resize_alike() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        image, (height, width) = random_image(generator), generator.integers(1, 300, 2).tolist()
        trained, _ = resize(image, np.zeros((0, *image.shape[:2]), dtype=bool), height, width)
        np.testing.assert_array_equal(trained, resize_image(image, height, width))


def test_quick_views_alias_and_leave_the_system_as_it_is(system: System) -> None:
    image = np.random.default_rng(2).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    (view,) = View.of(InferenceConfig(resize="quick"))
    quick = view.applied_to(system)
    assert isinstance(quick, System)
    frames, ((height, width),) = quick.input_frames([image])
    aliased = cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
    pixels = frames[0, :, :height, :width].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, aliased)
    assert not np.array_equal(system.input_frames([image])[0], frames)


def test_videos_that_share_a_network_share_its_resizing(system: System) -> None:
    (view,) = View.of(InferenceConfig(resize="quick", videos_at_once=2))
    shared = SharedNetwork(view.applied_to(system), 2)
    assert view.applied_to(shared) is shared


def test_quick_resizing_needs_a_system_that_resizes() -> None:
    (view,) = View.of(InferenceConfig(resize="quick"))
    with pytest.raises(ConfigError, match="inference.resize: quick needs a system"):
        view.applied_to(ToySystem())
