import math
import tracemalloc

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.overlays import NAMES, disc, gray_frames, scene
from vis_core.errors import StorageError, VideoDecodeError
from vis_core.structures import Frame, VideoResult
from vis_core.visualization.colours import track_colour
from vis_core.visualization.labels import label_texts, place_chip
from vis_core.visualization.overlay import (
    annotated_frame,
    contact_strip,
    display_size,
    draw_overlay,
    write_overlay_video,
    write_picture,
)


def test_a_mask_is_tinted_in_the_colour_of_its_track_and_the_rest_stays():
    image = np.full((200, 300, 3), 90, np.uint8)
    mask = disc(200, 300, 150, 100, 60)
    drawn = draw_overlay(image, [4], [0], [0.9], mask[None], NAMES)
    centre = drawn[100, 150].astype(float)
    assert np.allclose(centre, 90 * 0.58 + np.array(track_colour(4)) * 0.42, atol=1)
    assert (drawn[-5:, :5] == 90).all() and (image == 90).all()


def test_the_outline_follows_holes():
    mask = disc(200, 300, 150, 100, 80) & ~disc(200, 300, 150, 100, 40)
    drawn = draw_overlay(np.zeros((200, 300, 3), np.uint8), [0], [0], [0.9], mask[None], NAMES)
    row = drawn[100].astype(int).sum(axis=1)
    brightest = np.flatnonzero(row > 0.8 * sum(track_colour(0)))
    edges = {150 - 80, 150 - 41, 150 + 41, 150 + 80}  # the outer edge and that of the hole
    assert edges <= set(brightest.tolist()) and (drawn[100, 150] == 0).all()


def test_no_instances_leave_the_image_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    drawn = draw_overlay(image, [], [], [], np.zeros((0, 40, 50), bool), NAMES)
    assert (drawn == image).all() and drawn is not image


def test_an_empty_mask_draws_nothing():
    image = np.zeros((40, 50, 3), np.uint8)
    assert (draw_overlay(image, [0], [0], [1.0], np.zeros((1, 40, 50), bool), NAMES) == 0).all()


def test_a_read_only_or_strided_image_is_drawn_on_a_copy():
    image = np.zeros((80, 100, 3), np.uint8)[:, ::-1]
    image.flags.writeable = False
    mask = disc(80, 100, 50, 40, 20)[None]
    assert draw_overlay(image, [0], [0], [1.0], mask, NAMES).any()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    name=st.text(st.characters(), max_size=40),
    label=st.integers(-1, 3),
    score=st.floats(0, 1),
    track_id=st.integers(0, 10**6),
)
def test_any_image_size_and_any_name_can_be_drawn(height, width, name, label, score, track_id):
    mask = np.ones((1, height, width), bool)
    image = np.zeros((height, width, 3), np.uint8)
    drawn = draw_overlay(image, [track_id], [label], [score], mask, (name,))
    assert drawn.shape == image.shape and drawn.dtype == np.uint8


def test_every_chip_lies_inside_the_image_wherever_the_instance_is():
    size = (100, 140)
    for x0 in range(0, 135, 9):
        for y0 in range(0, 95, 9):
            chip = place_chip(("#3 dog 0.91", "#3"), (x0, y0, x0 + 5, y0 + 5), [], size, (1, 2, 3))
            left, top, right, bottom = chip.box
            assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]


def test_chips_of_neighbours_do_not_cover_each_other():
    taken = []
    for n in range(8):
        anchor = (100 + 3 * n, 100, 180 + 3 * n, 200)
        chip = place_chip(label_texts(n, "dog", 0.5), anchor, taken, (480, 640), (0, 0, 0))
        assert chip is not None
        for other in taken:
            apart_x = chip.box[2] <= other[0] or other[2] <= chip.box[0]
            apart_y = chip.box[3] <= other[1] or other[3] <= chip.box[1]
            assert apart_x or apart_y
        taken.append(chip.box)


def test_a_chip_gets_shorter_where_the_image_is_small_and_goes_where_none_fits():
    texts = label_texts(3, "dog", 0.914)
    assert texts == ("#3 dog 0.91", "#3 dog", "#3")
    whole = (0, 0, 300, 200)
    assert place_chip(texts, whole, [], (200, 300), (0, 0, 0)).text == "#3 dog 0.91"
    assert place_chip(texts, (5, 5, 9, 9), [], (60, 60), (0, 0, 0)).text == "#3"
    assert place_chip(texts, (0, 0, 8, 8), [], (8, 8), (0, 0, 0)) is None


def test_names_that_would_break_the_text_engine_are_cleaned():
    assert label_texts(1, "a\ud800b\n\x00", 1.0)[1] == "#1 a b"
    assert label_texts(1, "x" * 100, 1.0)[1] == "#1 " + "x" * 23 + "…"


def read_back(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return frames, stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate


@pytest.mark.parametrize("size", [(120, 200), (121, 201), (1, 1), (37, 900), (720, 1282)])
def test_an_overlay_video_plays_everywhere_whatever_the_size(tmp_path, size):
    result = VideoResult(*size, 3, [])
    path = tmp_path / "sub" / "o.mp4"
    assert write_overlay_video(path, gray_frames(result), result, NAMES, 12.5) == 3
    frames, codec, pixels, rate = read_back(path)
    assert (len(frames), codec, pixels, float(rate)) == (3, "h264", "yuv420p", 12.5)
    height, width = frames[0].shape[:2]
    assert height % 2 == width % 2 == 0 and (height, width) == display_size(*size)
    assert [entry.name for entry in path.parent.iterdir()] == ["o.mp4"]


def test_the_video_shows_each_mask_in_its_frame(tmp_path):
    result = scene()
    path = tmp_path / "o.mp4"
    write_overlay_video(path, gray_frames(result), result, NAMES, 10)
    frames, *_ = read_back(path)
    scale = frames[0].shape[0] / result.height
    cat = (int(38 * scale), int(150 * scale))
    assert np.ptp(frames[0][cat].astype(int)) > 40  # tinted
    assert np.ptp(frames[5][cat].astype(int)) < 12  # gone
    for t in (0, 3, 5):
        dog = (int(75 * scale), int((30 + 20 * t) * scale))
        assert np.ptp(frames[t][dog].astype(int)) > 40


@pytest.mark.parametrize("fps", [0, -3, math.nan, math.inf, 1e9, 29.97, 0.001])
def test_a_frame_rate_that_a_container_made_up_is_mended(tmp_path, fps):
    result = scene(2)
    write_overlay_video(tmp_path / "o.mp4", gray_frames(result), result, NAMES, fps)
    rate = float(read_back(tmp_path / "o.mp4")[3])
    assert 0.05 < rate <= 240.1
    assert fps != 29.97 or abs(rate - 29.97) < 0.01


def test_frames_of_another_size_than_the_result_are_fitted(tmp_path):
    result = scene(2)
    write_overlay_video(tmp_path / "o.mp4", gray_frames(result, (60, 100)), result, NAMES, 10)
    assert read_back(tmp_path / "o.mp4")[0][0].shape[:2] == display_size(120, 200)


def test_frames_beyond_the_result_are_shown_plain():
    frame = Frame(np.full((120, 200, 3), 90, np.uint8), 99, 9.9)
    assert (annotated_frame(frame, scene(2), NAMES, (120, 200)) == 90).all()


def test_a_video_without_frames_leaves_no_file(tmp_path):
    with pytest.raises(VideoDecodeError, match="no frames"):
        write_overlay_video(tmp_path / "o.mp4", iter(()), scene(2), NAMES, 10)
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_breaks_off_leaves_no_file(tmp_path):
    def broken():
        yield from gray_frames(scene(2))
        raise VideoDecodeError("cut")

    with pytest.raises(VideoDecodeError, match="cut"):
        write_overlay_video(tmp_path / "o.mp4", broken(), scene(2), NAMES, 10)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_overlay_video(tmp_path / "file" / "o.mp4", gray_frames(scene(2)), scene(2), NAMES, 9)


def test_memory_does_not_grow_with_the_video(tmp_path):
    def peak(frames):
        result = VideoResult(64, 96, frames, [])
        tracemalloc.start()
        write_overlay_video(tmp_path / "o.mp4", gray_frames(result), result, NAMES, 25)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(5)
    assert peak(200) < peak(20) + 500_000


def test_a_strip_shows_evenly_spaced_frames(tmp_path):
    result = scene(9)
    strip = contact_strip(gray_frames(result), result, NAMES, count=3, height=100, gap=4)
    width = round(100 * display_size(120, 200)[1] / display_size(120, 200)[0])
    assert strip.shape == (100, 3 * width + 2 * 4, 3)
    assert (strip[:, width : width + 4] == 255).all()
    for suffix in (".png", ".jpg"):
        write_picture(tmp_path / f"strip{suffix}", strip)
        assert cv2.imdecode(np.fromfile(tmp_path / f"strip{suffix}", np.uint8), 1) is not None


def test_a_strip_of_a_short_video_shows_every_frame_once():
    result = scene(2)
    strip = contact_strip(gray_frames(result), result, NAMES, count=6, height=60, gap=0)
    assert strip.shape[1] == 2 * round(60 * display_size(120, 200)[1] / display_size(120, 200)[0])


def test_a_strip_of_nothing_is_refused():
    with pytest.raises(VideoDecodeError):
        contact_strip(iter(()), scene(2), NAMES)
