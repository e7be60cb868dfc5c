"""The verb ``longtake pseudo``: its messages without starting Ray."""

import cv2
import numpy as np
import pytest

from jobs.cli import main
from pipelines.data import pseudo_videos
from tests.helpers.clips import disc_masks, textured_image
from vis_core.formats.categories import numbered
from vis_core.formats.coco import ImageRecord, write_coco
from vis_core.media.images import encode_jpeg
from vis_core.rle.segmentation import encode_masks


@pytest.fixture
def coco(tmp_path):
    """Writes a COCO folder of three images."""
    folder = tmp_path / "coco"
    (folder / "images").mkdir(parents=True)
    rles = tuple(encode_masks(disc_masks(60, 90, ((30, 25, 12),))))
    records = [ImageRecord(n, f"{n}.jpg", 60, 90, (0,), rles) for n in (1, 2, 3)]
    for record in records:
        data = encode_jpeg(textured_image(60, 90, record.image_id))
        (folder / "images" / record.path).write_bytes(data)
    write_coco(folder / "instances.json", records, numbered(["cat"]))
    return folder


@pytest.fixture
def without_ray(monkeypatch):
    """Creates the shards in this process; the pipelines' tests cover Ray itself."""
    from pipelines import cluster

    def run_here(records, recipe, shards):
        source = pseudo_videos.PseudoClips(records, recipe.config, recipe.clips_per_image)
        for shard in shards:
            pseudo_videos.make_shard(source, recipe, shard)
            yield shard.stop - shard.start

    class NoSession:
        def __init__(self, *_):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(pseudo_videos, "_make_shards", run_here)
    monkeypatch.setattr(cluster, "ray_session", NoSession)


@pytest.mark.usefixtures("without_ray")
def test_the_command_makes_clips_and_says_so_the_second_time(coco, tmp_path, capsys):
    out = tmp_path / "clips"
    options = ["--coco", str(coco), "--out", str(out), "--frames", "3", "--clips-per-image", "2"]
    assert main(["pseudo", *options]) == 0
    assert "made 6 clips of 3 frames" in capsys.readouterr().out
    assert main(["pseudo", *options]) == 0
    assert "finished before, nothing to do: 6 clips" in capsys.readouterr().out
    assert main(["pseudo", *options, "--seed", "9"]) == 2
    assert "seed is 0 there, now 9" in capsys.readouterr().err


def test_a_preview_draws_clips_and_makes_nothing_else(coco, tmp_path, capsys):
    out = tmp_path / "new" / "clips"
    options = ["--coco", str(coco), "--out", str(out), "--frames", "3"]
    assert main(["pseudo", *options, "--preview", "2"]) == 0
    preview = tmp_path / "new" / "clips-preview.png"
    assert capsys.readouterr().out == f"{preview}\n"
    sheet = cv2.imdecode(np.frombuffer(preview.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert main(["pseudo", *options, "--preview", "9"]) == 0
    taller = cv2.imdecode(np.frombuffer(preview.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert taller.shape[0] == sheet.shape[0] // 2 * 3, "one row for each of three clips"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["clips-preview.png"]


@pytest.mark.usefixtures("without_ray")
def test_a_cut_image_is_named_and_the_others_are_made(coco, tmp_path, capsys):
    path = coco / "images" / "2.jpg"
    path.write_bytes(path.read_bytes()[:-600])
    assert main(["pseudo", "--coco", str(coco), "--out", str(tmp_path / "clips")]) == 0
    said = capsys.readouterr()
    assert "made 2 clips" in said.out and "2.jpg" in said.err and "Traceback" not in said.err


def _no_folder(coco):
    return ["--coco", str(coco / "absent")], "absent"


def _no_images_folder(coco):
    return ["--coco", str(coco), "--images", str(coco / "nowhere")], "nowhere"


def _absent_image(coco):
    (coco / "images" / "3.jpg").unlink()
    return ["--coco", str(coco)], "3.jpg"


def _unknown_key(coco):
    return ["--coco", str(coco), "--set", "pseudo.max_angel_deg=3"], "max_angle_deg"


def _bad_value(coco):
    return ["--coco", str(coco), "--set", "pseudo.min_paste_scale=3"], "min_paste_scale"


@pytest.mark.parametrize(
    "mistake", [_no_folder, _no_images_folder, _absent_image, _unknown_key, _bad_value]
)
def test_a_mistake_is_named_before_anything_is_written(coco, tmp_path, capsys, mistake):
    options, named = mistake(coco)
    assert main(["pseudo", *options, "--out", str(tmp_path / "clips")]) == 2
    said = capsys.readouterr().err
    assert named in said and "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]
