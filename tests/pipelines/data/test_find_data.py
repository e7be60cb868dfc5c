"""Layouts of data sets as people unpack and export them: each is taken as it is."""

import json
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from pipelines.data.find_data import find_coco, find_vis
from pipelines.data.given_data import GivenData, check_given
from pipelines.data.run_data import RunData, prepare_data
from vis_core.errors import ConfigError
from vis_core.formats.categories import numbered
from vis_core.formats.coco import read_coco

RLE = {"size": [6, 8], "counts": [4, 8, 36]}
CLASSES = [{"id": 1, "name": "cup"}]


def picture(path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def coco_file(path: Path, names: Sequence[str]) -> Path:
    images = [{"id": i, "file_name": n, "height": 6, "width": 8} for i, n in enumerate(names)]
    annotations = [
        {"id": i + 1, "image_id": i, "category_id": 1, "segmentation": RLE, "iscrowd": 0}
        for i in range(len(names))
    ]
    tables = {"images": images, "annotations": annotations, "categories": CLASSES}
    return write(path, {"info": {"note": "videos"}, **tables})


def vis_file(path: Path, names: Sequence[str], **changes: object) -> Path:
    """Writes one video for each name of a folder, with two frames and a track."""
    videos, annotations = [], []
    for number, name in enumerate(names, 1):
        frames = [f"{name}/0.jpg", f"{name}/1.jpg"]
        size = {"height": 6, "width": 8, "length": 2}
        videos.append({"id": number, "file_names": frames, **size})
        masks = {"segmentations": [RLE, None], "iscrowd": 0}
        annotations.append({"id": number, "video_id": number, "category_id": 1, **masks})
    tables = {"videos": videos, "categories": CLASSES, "annotations": annotations, **changes}
    return write(path, {key: table for key, table in tables.items() if table != "missing"})


def frames(folder: Path, names: Sequence[str]) -> Path:
    for name, frame in product(names, ("0.jpg", "1.jpg")):
        picture(folder / name / frame)
    return folder


FOLDERS = (
    "images", "train2017", "JPEGImages", "images/default", "images/train", "train/images",
    "train", ".", "Images", "data", "my pictures/2026", "a/b/c", "annotations", "img",
)  # fmt: skip
ENDINGS = (".jpg", ".JPG", ".jpeg", ".png", ".PNG", ".webp", ".bmp", ".tif")
PREFIXES = ("", "s0/", "images/", "fold1/images/")
FILES = ("instances.json", "annotations/instances_default.json", "result.json",
         "annotations/instances_train2017.json", "train/_annotations.coco.json")  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("file", FILES)
def test_images_are_found_in_any_folder_whatever_their_ending(
    folder: str, file: str, tmp_path: Path
) -> None:
    place = (FOLDERS.index(folder) + 3 * FILES.index(file)) % (len(ENDINGS) * len(PREFIXES))
    ending, prefix = ENDINGS[place % len(ENDINGS)], PREFIXES[place // len(ENDINGS)]
    names = [f"{prefix}{number}{ending}" for number in range(3)]
    for name in names:
        picture(tmp_path / folder / name)
    picture(tmp_path / "images" / "another.jpg")  # a usual name is no proof
    annotations = coco_file(tmp_path / file, names)
    for given in (tmp_path, annotations):
        if given == annotations and folder in ("a/b/c", "my pictures/2026", "Images"):
            continue  # an own name beside the parent: --images
        if given == annotations and folder == "annotations" and "annotations" not in file:
            continue
        found = find_coco(given)
        assert found.annotations == annotations
        records, _ = read_coco(found.annotations, found.folder)
        assert len(records) == 3
    assert find_coco(annotations, tmp_path / folder).folder == tmp_path / folder


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_endings_and_prefixes_of_names_do_not_matter(
    ending: str, prefix: str, tmp_path: Path
) -> None:
    names = [f"{prefix}{letter}{ending}" for letter in "abc"]
    for name in names:
        picture(tmp_path / "images" / name)
    coco_file(tmp_path / "instances.json", names)
    assert check_given(GivenData(tmp_path)) is not None


@pytest.mark.parametrize("equal_names", [True, False])
@pytest.mark.parametrize("split", ["train2017", "val2017", "train", "valid", "test"])
def test_each_split_has_its_own_images(split: str, equal_names: bool, tmp_path: Path) -> None:
    splits = ("train2017", "val2017", "train", "valid", "test")
    for other in splits:
        picture(tmp_path / other / ("0.jpg" if equal_names else f"{other}_0.jpg"))
        picture(tmp_path / "images" / other / ("1.jpg" if equal_names else f"{other}_1.jpg"))
    name = "{}.jpg" if equal_names else split + "_{}.jpg"
    file = tmp_path / "annotations" / f"instances_{split}.json"
    assert find_coco(coco_file(file, [name.format(0)])).folder == tmp_path / split
    assert find_coco(coco_file(file, [name.format(1)])).folder == tmp_path / "images" / split


def test_a_refusal_names_every_folder_and_the_option(tmp_path: Path) -> None:
    for folder in ("images", "old/train2017"):
        picture(tmp_path / folder / "b.jpg")
    coco_file(tmp_path / "annotations" / "instances.json", ["a.jpg"])
    with pytest.raises(ConfigError) as caught:
        find_coco(tmp_path)
    message = str(caught.value)
    for folder in ("images", "old", "old/train2017", "annotations"):
        assert str(tmp_path / folder) in message
    assert "'a.jpg'" in message
    assert message.endswith("--images")
    assert "\n" not in message
    with pytest.raises(ConfigError, match="--images"):
        find_coco(tmp_path, tmp_path / "old")


def test_absent_first_images_do_not_hide_the_folder(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(12)]
    for name in names[5:]:
        picture(tmp_path / "pictures" / name)
    picture(tmp_path / "images" / names[5])
    coco_file(tmp_path / "instances.json", names)
    assert find_coco(tmp_path).folder == tmp_path / "pictures"


@pytest.mark.parametrize("val_folder", ["val", "images/valid", "Pictures/Validation", "images"])
def test_numbered_images_of_another_split_are_not_taken_for_absent_ones(
    val_folder: str, tmp_path: Path
) -> None:
    names = [f"{number}.jpg" for number in range(6)]
    for number, name in enumerate(names):
        for other in ("train", "train/images", "Pictures/Train", "test2017"):
            picture(tmp_path / other / name)
        if number != 1:
            picture(tmp_path / val_folder / name)
    file = coco_file(tmp_path / "annotations" / "instances_val.json", names)
    assert find_coco(tmp_path).folder == tmp_path / val_folder
    if val_folder != "Pictures/Validation":
        assert find_coco(file).folder == tmp_path / val_folder


def test_only_a_few_of_many_names_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:06d}.jpg" for number in range(100_000)]
    picture(tmp_path / "images" / names[0])
    for name in names[1:20]:
        (tmp_path / "images" / name).hardlink_to(tmp_path / "images" / names[0])
    annotations = coco_file(tmp_path / "annotations" / "instances_default.json", names)
    asked: list[Path] = []
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: (asked.append(path), is_file(path))[1])
    started = time.monotonic()
    assert find_coco(tmp_path).folder == tmp_path / "images"
    assert find_coco(annotations).folder == tmp_path / "images"
    assert time.monotonic() - started < 2
    assert len(asked) < 1000


# train file, val file, folder of train's frames, folder of val's frames
VIS_LAYOUTS = {
    "ytvis 2019": ("train.json", "valid.json", "train/JPEGImages", "valid/JPEGImages"),
    "ytvis 2019, in the folders": (
        "train/train.json", "valid/valid.json", "train/JPEGImages", "valid/JPEGImages",
    ),
    "ytvis 2021": (
        "train/instances.json", "valid/instances.json", "train/JPEGImages", "valid/JPEGImages",
    ),
    "ytvis 2022, train of 2021": (
        "train/instances.json", "val/instances.json", "train/JPEGImages", "val/JPEGImages",
    ),
    "ytvis 2022, short and long": (
        "train.json", "valid_long.json", "train/JPEGImages", "valid_long/JPEGImages",
    ),
    "halves of train": (
        "annotations/instances_train_sub.json", "annotations/instances_val_sub.json",
        "train/JPEGImages", "train/JPEGImages",
    ),
    "mmdetection": (
        "annotations/youtube_vis_2021_train.json", "annotations/youtube_vis_2021_valid.json",
        "train/JPEGImages", "valid/JPEGImages",
    ),
    "ovis": ("annotations_train.json", "annotations_valid.json", "train", "valid"),
    "ovis, in a folder": (
        "annotations/annotations_train.json", "annotations/annotations_valid.json", "train",
        "valid",
    ),
    "ovis, renamed": (
        "annotations/train.json", "annotations/valid.json", "train/JPEGImages", "valid/JPEGImages",
    ),
    "one frame folder": ("train.json", "val.json", "JPEGImages", "JPEGImages"),
    "names with a prefix": ("train.json", "val.json", ".", "."),
    "our split": ("train.json", "holdout.json", "JPEGImages", "JPEGImages"),
    "our split in a folder": ("parts/train.json", "parts/holdout.json", "train", "train"),
    "own names": ("labels/Training.json", "labels/Validation.json", "all/movies", "all/movies"),
}  # fmt: skip


@pytest.mark.parametrize("layout", VIS_LAYOUTS)
@pytest.mark.parametrize("equal_names", [False, True])
def test_public_layouts_are_taken_as_they_are_unpacked(
    layout: str, equal_names: bool, tmp_path: Path
) -> None:
    train, val, train_frames, val_frames = VIS_LAYOUTS[layout]
    names = ["a"] if equal_names else ["a", "b"]
    vis_file(tmp_path / train, names[:1])
    vis_file(tmp_path / val, names[-1:])
    frames(tmp_path / train_frames, names[:1])
    frames(tmp_path / val_frames, names[-1:])
    write(tmp_path / "train" / "meta.json", {"videos": {}})  # of YouTube-VOS
    write(tmp_path / "valid" / "meta.json", {"videos": {}})
    vis_file(tmp_path / train.lower().replace("train", "test"), ["z"], annotations=[])  # published
    found = find_vis(tmp_path, None)
    assert (found.train, found.val, found.test) == (
        tmp_path / train,
        tmp_path / val,
        tmp_path / val,
    )
    assert found.frames_of(found.train) == tmp_path / train_frames
    assert found.frames_of(found.val) == tmp_path / val_frames
    assert found.frames_of(found.test) == tmp_path / val_frames
    check_given(GivenData(vis=tmp_path))


def test_a_test_file_has_its_own_frames(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        vis_file(tmp_path / split / "instances.json", [split])
        frames(tmp_path / split / "JPEGImages", [split])
    found = find_vis(tmp_path, None)
    assert found.test == tmp_path / "test" / "instances.json"
    for file in (found.train, found.val, found.test):
        assert found.frames_of(file) == file.parent / "JPEGImages"


@pytest.mark.parametrize("annotations", [None, [], "missing"])
def test_published_validation_files_lead_to_a_split(annotations: object, tmp_path: Path) -> None:
    train = vis_file(tmp_path / "train.json", ["a", "b"])
    vis_file(tmp_path / "valid.json", ["c"], annotations=annotations)
    frames(tmp_path / "train" / "JPEGImages", ["a", "b"])
    frames(tmp_path / "valid" / "JPEGImages", ["c"])
    with pytest.raises(ConfigError) as caught:
        find_vis(tmp_path, None)
    assert str(caught.value) == (
        f"{tmp_path}/valid.json: no annotations, as in the published validation files; hold out "
        f"videos of train: longtake split --gt {train} --out {tmp_path}/parts, then give --vis "
        f"{tmp_path}/parts"
    )
    vis_file(tmp_path / "parts" / "train.json", ["a"])
    vis_file(tmp_path / "parts" / "holdout.json", ["b"])
    for given in (tmp_path / "parts", tmp_path):  # the advice is good
        found = find_vis(given, None)
        assert found.val == tmp_path / "parts" / "holdout.json"
        assert found.frames_of(found.val) == tmp_path / "train" / "JPEGImages"


def test_train_alone_leads_to_a_split(tmp_path: Path) -> None:
    vis_file(tmp_path / "train.json", ["a"])
    with pytest.raises(ConfigError, match="longtake split --gt"):
        find_vis(tmp_path, None)


def test_frames_elsewhere_are_named(tmp_path: Path) -> None:
    for name in ("train", "holdout"):
        vis_file(tmp_path / "parts" / f"{name}.json", [name])
        frames(tmp_path / "far" / "away", [name])
    folder = tmp_path / "parts"
    with pytest.raises(ConfigError, match="'train/0.jpg', in one of the folders .*--images"):
        check_given(GivenData(vis=folder))
    for images in (tmp_path / "far", tmp_path / "far" / "away"):
        check_given(GivenData(vis=folder, images=images))


def test_the_frames_of_each_file_reach_a_run(tmp_path: Path) -> None:
    from jobs.options import CONFIGS
    from pipelines.config.loading import load_run_config

    for split in ("train", "valid", "test"):
        vis_file(tmp_path / split / "instances.json", [split])
        frames(tmp_path / split / "JPEGImages", [split])
    given, config = GivenData(vis=tmp_path), load_run_config(CONFIGS / "tiny.yaml")
    data: RunData = prepare_data(given, config, tmp_path / "run", lambda _: None, 1)
    assert data.categories == numbered(["cup"])
    assert data.videos.val != data.videos.test  # of one name in two folders
    for file, split in ((data.videos.val, "valid"), (data.videos.test, "test")):
        assert json.loads(file.read_text())["videos"][0]["file_names"] == [f"{split}/0.jpg"]
        assert data.videos.frames_of(file) == tmp_path / split / "JPEGImages"
    assert len(list(data.archive.glob("*.mp4"))) == 1


def test_data_of_one_frame_folder_is_described_as_before(tmp_path: Path) -> None:
    from jobs.options import CONFIGS
    from pipelines.config.loading import load_run_config

    for split in ("train", "val"):
        vis_file(tmp_path / f"{split}.json", [split])
        frames(tmp_path / "JPEGImages", [split])
    config = load_run_config(CONFIGS / "tiny.yaml")
    prepare_data(GivenData(vis=tmp_path), config, tmp_path / "run", lambda _: None)
    stored = json.loads((tmp_path / "run" / "data.json").read_text())
    assert list(stored["videos"]) == ["train", "val", "test", "frames"]


def test_the_key_and_the_lock_of_a_run_without_the_option_are_as_before(tmp_path: Path) -> None:
    from jobs.options import CONFIGS
    from pipelines.config.loading import load_run_config
    from pipelines.run.folder import Run, open_run, read_run

    config = load_run_config(CONFIGS / "tiny.yaml")
    plain = Run(tmp_path / "plain", config, GivenData(vis=tmp_path))
    assert str(plain.given) == (
        f"GivenData(coco=None, vis={tmp_path!r}, videos=None, class_map=None)"
    )
    open_run(plain)
    assert "images" not in json.loads((plain.folder / "run.json").read_text())["data"]
    chosen = Run(tmp_path / "chosen", config, GivenData(vis=tmp_path, images=tmp_path / "a"))
    assert chosen.key != plain.key
    open_run(chosen)
    assert read_run(chosen.folder).given == chosen.given
