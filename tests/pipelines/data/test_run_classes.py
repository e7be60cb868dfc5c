"""The classes of a run: COCO's become those of the videos, and every step counts the same."""

import re
from pathlib import Path

import pytest

from jobs.cli import main
from pipelines.config.loading import load_run_config
from pipelines.data.given_data import GivenData
from pipelines.data.run_classes import find_class_map
from pipelines.data.run_data import RunData, prepare_data
from tests.helpers.class_data import write_mini_coco, write_mini_vis
from vis_core.errors import AnnotationError
from vis_core.formats.categories import Categories, numbered
from vis_core.formats.class_maps import CLASS_LISTS, FROM_COCO
from vis_core.formats.coco import IGNORED

CONFIGS = Path(__file__).resolve().parents[3] / "jobs" / "configs"
VIDEO_LISTS = sorted(FROM_COCO)


def planned(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, str]:
    """Returns the lines of a plan on the classes, by their first words."""
    data = [f"--{kind}={folder / kind}" for kind in ("coco", "vis") if (folder / kind).is_dir()]
    out = ["--out", str(folder / "run"), "--dry-run"]
    assert main(["train", "stc_tiny", *data, *out, *options]) == 0
    found = re.findall(r"^ *(classes|kept|renamed|left out|no images) +(.+)$", text(capsys), re.M)
    return dict(found)


def text(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def read(folder: Path, *changes: str, **given: Path) -> RunData:
    config = load_run_config(CONFIGS / "stc_tiny.yaml", ["start_from=null", *changes])
    out = folder / "data"
    out.mkdir(exist_ok=True)
    paths = GivenData(folder / "coco", folder / "vis", **given)
    return prepare_data(paths, config, out, lambda count: None)  # noqa: ARG005


def labels_of(data: RunData, classes: str, left_out: str = "background") -> list[str]:
    names = [*data.stage_categories(classes).names, "ignored"]
    records = data.still_images(classes, left_out)
    return sorted(names[label] for record in records for label in record.labels)


@pytest.mark.parametrize("name", VIDEO_LISTS)
def test_a_plan_counts_each_class_and_training_reads_the_same(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = write_mini_coco(tmp_path / "coco")
    target, table = CLASS_LISTS[name], FROM_COCO[name]
    write_mini_vis(tmp_path / "vis", target)
    plan = planned(tmp_path, capsys)
    published = "ytvis_2021" if name == "ytvis_2022" else name  # one list
    assert plan["classes"].endswith(f"by the published map from COCO to {published}")
    kept = [f"{own} {counts[own]}" for own in counts if table.get(own) == own]
    renamed = [f"{own} -> {new} {counts[own]}" for own, new in table.items() if own != new]
    lost = [f"{own} {count}" for own, count in counts.items() if own not in table]
    assert plan["kept"].split(", ") == (kept or ["nothing"])
    assert sorted(plan["renamed"].split(", ")) == sorted(renamed)
    assert plan["left out"] == ", ".join(lost) + "; they are background"
    assert plan["no images"].split(", ") == [n for n in target.names if n not in table.values()]
    data = read(tmp_path)
    wanted = [new for own, new in table.items() for _ in range(counts[own])]
    assert labels_of(data, "videos") == sorted(wanted)
    assert labels_of(data, "images") == sorted(own for own in counts for _ in range(counts[own]))
    assert labels_of(data, "videos", "ignore").count("ignored") == sum(counts.values()) - len(
        wanted
    )
    (note,) = [note for note in data.notes if note.startswith("classes of still images")]
    assert f"{len(kept)} kept, {len(renamed)} renamed, {len(lost)} left out" in note


def test_other_lists_go_by_name_but_the_mouse_of_a_computer_is_no_animal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = write_mini_coco(tmp_path / "coco")
    write_mini_vis(tmp_path / "vis", numbered(("lizard", "mouse", "car", "dog")))
    plan = planned(tmp_path, capsys)
    assert plan["classes"].endswith("by equal names")
    assert plan["kept"].split(", ") == [f"{name} {counts[name]}" for name in ("car", "dog")]
    assert plan["renamed"] == "nothing"
    assert f"mouse {counts['mouse']}," in plan["left out"]
    assert plan["no images"] == "lizard, mouse"


def test_a_map_of_the_users_own_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = write_mini_coco(tmp_path / "coco")
    write_mini_vis(tmp_path / "vis", numbered(("beast", "vehicle")))
    file = tmp_path / "map.yaml"
    file.write_text("target: [vehicle, beast]\nclasses: {car: vehicle, dog: beast, cat: beast}\n")
    plan = planned(tmp_path, capsys, "--class-map", str(file))
    assert plan["classes"] == f"80 of the images, 2 of the videos, by {file}"
    assert f"car -> vehicle {counts['car']}" in plan["renamed"].split(", ")
    data = read(tmp_path, class_map=file)
    assert data.categories.names == ("beast", "vehicle")
    wanted = ["beast"] * (counts["dog"] + counts["cat"]) + ["vehicle"] * counts["car"]
    assert labels_of(data, "videos") == wanted
    alone = prepare_data(
        GivenData(tmp_path / "coco", class_map=file),
        load_run_config(CONFIGS / "stc_tiny.yaml"),
        tmp_path,
        lambda count: None,  # noqa: ARG005
    )
    assert alone.categories.names == ("vehicle", "beast")
    assert len(alone.stage_categories("images")) == 80
    assert set(labels_of(alone, "videos")) <= {"vehicle", "beast"}


@pytest.mark.parametrize(
    ("document", "options", "words"),
    [
        (None, (), "found only ['person', 'bicycle'"),
        (None, (), "--class-map"),
        (None, (), "longtake convert"),
        ("target: [cog]\nclasses: {dog: cog}\n", (), "expected the classes of --vis"),
        ("target: [cog, gear]\nclasses: {dog: wheel}\n", (), "classes.dog"),
        ("target: [cog, gear]\nclasses: {dgo: cog}\n", (), "found only ['person'"),
        ("target: [cog, gear]\nunmapped: refuse\nclasses: {dog: cog}\n", (), "for 79: person"),
    ],
)
def test_lists_without_a_common_class_and_faulty_maps_are_refused(
    document: str | None,
    options: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_mini_coco(tmp_path / "coco")
    write_mini_vis(tmp_path / "vis", numbered(("gear", "cog")))
    if document is not None:
        (tmp_path / "map.yaml").write_text(document)
        options = ("--class-map", str(tmp_path / "map.yaml"))
    data = ["--coco", str(tmp_path / "coco"), "--vis", str(tmp_path / "vis")]
    run = tmp_path / "run"
    assert main(["train", "stc_tiny", *data, "--out", str(run), "--dry-run", *options]) == 2
    assert words in text(capsys)
    assert not run.exists()


def test_images_alone_take_the_classes_of_a_public_list_and_the_run_remembers_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.options import given_data
    from pipelines.run.folder import Run, open_run, read_run

    counts = write_mini_coco(tmp_path / "coco")
    plan = planned(tmp_path, capsys, "--class-map", "ovis")
    assert plan["classes"].startswith("80 of the images, 25 of the videos")
    assert f"bus -> Vehical {counts['bus']}" in plan["renamed"].split(", ")
    config = load_run_config(CONFIGS / "stc_tiny.yaml")
    run = Run(tmp_path / "run", config, given_data(tmp_path / "coco", None, None, None, "ovis"))
    open_run(run)
    assert read_run(run.folder) == run


def test_a_map_without_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mini_vis(tmp_path / "vis", CLASS_LISTS["ovis"])
    arguments = ["--vis", str(tmp_path / "vis"), "--class-map", "map.yaml", "--dry-run"]
    assert main(["train", "stc_tiny", *arguments]) == 2
    assert "give the images, too (--coco)" in text(capsys)


def test_frames_of_the_videos_keep_the_classes_of_the_videos(tmp_path: Path) -> None:
    write_mini_coco(tmp_path / "coco")
    target = CLASS_LISTS["ytvis_2019"]
    labels = [target.names.index(name) for name in ("lizard", "mouse")]
    write_mini_vis(tmp_path / "vis", target, labels)
    data = read(tmp_path, "supervision.share=1.0", "stages.1.clips=pairs")
    assert labels_of(data, "videos") == labels_of(data, "images")
    assert set(labels_of(data, "videos")) == {"lizard", "mouse"}
    assert not [note for note in data.notes if note.startswith("classes")]


def test_part_of_coco_is_coco_and_equal_lists_stay_equal() -> None:
    coco, target = CLASS_LISTS["coco"], CLASS_LISTS["ovis"]
    part = Categories((3, 18, 27), tuple(coco.names[coco.ids.index(i)] for i in (3, 18, 27)))
    found = find_class_map(None, Path("a.json"), part, target).target_labels(part)
    assert [None if label is None else target.names[label] for label in found] == [
        "Vehical", "Dog", None,
    ]  # fmt: skip
    same = find_class_map(None, Path("a.json"), coco, coco).target_labels(coco)
    assert same == list(range(80))
    with pytest.raises(AnnotationError, match="a.json"):
        find_class_map(None, Path("a.json"), numbered(("cog",)), target)


def test_left_out_regions_need_a_system_of_places() -> None:
    from vis_core.errors import ConfigError

    config = load_run_config(CONFIGS / "stc_tiny.yaml", ["left_out=ignore"])
    assert config.left_out == "ignore"
    with pytest.raises(ConfigError, match=r"left_out: ignore needs .* \(system stc\); idol has"):
        load_run_config(CONFIGS / "idol_tiny.yaml", ["left_out=ignore"])
    assert IGNORED < 0
