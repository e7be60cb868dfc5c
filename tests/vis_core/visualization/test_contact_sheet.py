"""The picture by which clips are judged."""

import numpy as np

from tests.helpers.clips import still
from vis_core.structures import Clip
from vis_core.visualization.colours import track_colour
from vis_core.visualization.contact_sheet import contact_sheet, outlined


def _clip(frames, places=((40, 40, 18), (85, 50, 15))):
    one = still(90, 120, places)
    images, masks = np.repeat(one.images, frames, 0), np.repeat(one.masks, frames, 0)
    return Clip("a clip", images, masks, one.labels)


def test_an_outline_has_the_colour_of_its_row_and_leaves_the_inside_alone():
    clip = _clip(1)
    drawn = outlined(clip.images[0], clip.masks[0])
    changed = (drawn != clip.images[0]).any(axis=-1)
    for row, (x, y, _) in enumerate(((40, 40, 18), (85, 50, 15))):
        off = np.abs(drawn.astype(int) - track_colour(row)).max(axis=-1)
        assert (off < 25).sum() > 40  # smoothed lines: nearly the colour
        assert not changed[y - 5 : y + 5, x - 5 : x + 5].any()
    assert not changed[:10].any()


def test_a_sheet_has_a_row_per_clip_and_shows_at_most_the_asked_frames():
    sheet = contact_sheet([_clip(1), _clip(20)], ("cat", "dog"), frame_height=90, max_frames=5)
    assert sheet.shape == (2 * (90 + 20), 5 * (120 + 4), 3)
    assert (sheet[:90, 124:] == 255).all() and not (sheet[110:200, 124:240] == 255).all()


def test_a_clip_without_instances_is_shown_as_it_is():
    clip = _clip(2, ())
    sheet = contact_sheet([clip], (), frame_height=90)
    assert np.array_equal(sheet[:90, :120], clip.images[0])
