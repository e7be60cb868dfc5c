"""Checks of a run before it starts: classes of scored videos, instances, folders, stages.

``--dry-run`` refuses what the run would refuse at once, and a refused run leaves nothing behind.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs import options
from jobs.cli import main
from pipelines.run.folder import Run, open_run, read_run
from tests.helpers.class_data import write_mini_coco, write_mini_vis
from tests.helpers.class_tables import equal_tables, renamed, with_table, without
from vis_core.errors import AnnotationError
from vis_core.formats.categories import numbered

CLASSES = numbered(("cup", "lamp", "sofa"))
CROWDS = "CVAT writes iscrowd 1 for brush masks: write 0 if each is one thing"
# every verb that starts from the user's data, with a recipe of its own
VERBS = {
    "train": ["train", "tiny"],
    "demo": ["demo"],
    "learn": ["learn", "ctvis"],
    "ablate": ["ablate", "ctvis_3", "--recipe", "tiny"],
}


@pytest.fixture
def vis(tmp_path: Path) -> Path:
    write_mini_vis(tmp_path / "vis", CLASSES, (0, 1))
    return tmp_path / "vis"


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Writes 6 images."""
    write_mini_coco(tmp_path / "coco", numbered([f"class{k}" for k in range(12)]))
    return tmp_path / "coco"


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document))


def checked(
    verb: Sequence[str], *options: str | Path, out: Path, caplog: pytest.LogCaptureFixture
) -> tuple[int, str]:
    """Returns the exit code and the warnings of a dry run, which writes nothing."""
    caplog.clear()
    code = main([*verb, *map(str, options), "--out", str(out), "--dry-run"])
    assert not out.exists()
    return code, caplog.text


def refused(
    verb: Sequence[str], *options: str | Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    """Returns the line with which a dry run and a run are refused; both leave nothing behind."""
    lines = []
    for more in (["--dry-run"], []):
        capsys.readouterr()
        assert main([*verb, *map(str, options), "--out", str(out), *more]) == 2
        assert not out.exists()
        lines.append(capsys.readouterr().err.strip().splitlines()[-1])
    assert lines[0] == lines[1]
    return lines[0]


@pytest.mark.parametrize("part", ["val", "test"])
def test_other_rows_ids_and_unused_classes_pass_without_a_word(
    part: str, vis: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth = read(vis / "val.json")
    for name, document in equal_tables(truth):
        write(vis / f"{part}.json", document)
        code, words = checked(VERBS["train"], "--vis", vis, out=tmp_path / "o", caplog=caplog)
        assert code == 0
        assert ("categories" in words) == ("one more" in name), (name, words)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_only_scored_videos_have_warns(
    part: str, verb: str, vis: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(vis / f"{part}.json", renamed(read(vis / "val.json"), {"lamp": "dog"}))
    code, words = checked(VERBS[verb], "--vis", vis, out=tmp_path / "o", caplog=caplog)
    assert code == 0
    assert f'{part}.json: "categories": expected classes of the training file, found' in words
    assert "dog (2 tracks); these tracks count as missed" in words


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("part", ["val", "test"])
def test_no_class_in_common_is_refused(
    part: str, verb: str, vis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"cup": "dog", "lamp": "cat", "sofa": "hat"}
    write(vis / f"{part}.json", renamed(read(vis / "val.json"), names))
    line = refused(VERBS[verb], "--vis", vis, out=tmp_path / "o", capsys=capsys)
    assert f"{part}.json: expected names of the training file's classes, ['cup', " in line
    assert "found only ['dog', 'cat', 'hat']" in line


def test_fewer_classes_of_scored_videos_pass_without_a_word(
    vis: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth = read(vis / "val.json")
    for document in (without(truth, "lamp"), with_table(without(truth, "cup"), ["lamp"])):
        write(vis / "val.json", document)
        code, words = checked(VERBS["train"], "--vis", vis, out=tmp_path / "o", caplog=caplog)
        assert (code, words) == (0, "")


@pytest.mark.parametrize("verb", VERBS)
def test_an_annotation_id_0_of_scored_videos_warns_before_a_training(
    verb: str, vis: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth = read(vis / "val.json")
    truth["annotations"][1]["id"] = 0
    write(vis / "val.json", truth)
    code, words = checked(VERBS[verb], "--vis", vis, out=tmp_path / "o", caplog=caplog)
    assert code == 0
    assert words.count("val.json: ") == 1
    assert "annotation id 0 counts as never found, as in the reference evaluator" in words


def only_crowds(document: dict[str, Any]) -> None:
    for row in document["annotations"]:
        row["iscrowd"] = 1


def nothing(document: dict[str, Any]) -> None:
    document["annotations"] = []


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_videos_without_instances_are_refused(
    part: str, verb: str, vis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(vis / "test.json", read(vis / "val.json"))
    for change, words in (
        (only_crowds, f"4 of 4 annotations are crowd regions and left out; {CROWDS}"),
        (nothing, "expected at least one"),
    ):
        if change is nothing and part != "train":
            continue  # as in published validation files; see tests/pipelines/data/test_find_data.py
        document = read(vis / f"{part}.json")
        change(document)
        write(vis / f"{part}.json", document)
        line = refused(VERBS[verb], "--vis", vis, out=tmp_path / "o", capsys=capsys)
        assert f"{part}.json: no annotated video; " in line
        assert words in line


def few_images(document: dict[str, Any], count: int) -> None:
    kept = [row["id"] for row in document["images"][:count]]
    document["annotations"] = [r for r in document["annotations"] if r["image_id"] in kept]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_images_are_refused(
    count: int, verb: str, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = read(coco / "instances.json")
    few_images(document, count)
    write(coco / "instances.json", document)
    line = refused(VERBS[verb], "--coco", coco, out=tmp_path / "o", capsys=capsys)
    assert f"instances.json: {count} images with instances; expected at least 3" in line


def test_three_images_are_enough(
    coco: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = read(coco / "instances.json")
    few_images(document, 3)
    write(coco / "instances.json", document)
    assert checked(VERBS["train"], "--coco", coco, out=tmp_path / "o", caplog=caplog)[0] == 0


@pytest.mark.parametrize("verb", VERBS)
def test_images_of_crowds_are_refused_with_and_without_videos(
    verb: str, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = read(coco / "instances.json")
    total = len(document["annotations"])
    only_crowds(document)
    write(coco / "instances.json", document)
    write_mini_vis(tmp_path / "vis", numbered(("class0", "class1")))
    for videos in ([], ["--vis", tmp_path / "vis"]):
        line = refused(VERBS[verb], "--coco", coco, *videos, out=tmp_path / "o", capsys=capsys)
        assert f"{total} of {total} annotations are crowd regions and left out; {CROWDS}" in line
    assert main(["pseudo", "--coco", str(coco), "--out", str(tmp_path / "o")]) == 2
    assert CROWDS in capsys.readouterr().err


def test_images_without_a_class_of_the_videos_are_refused_only_for_stages_that_need_one(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = read(coco / "instances.json")
    (first,) = (row["id"] for row in document["categories"] if row["name"] == "class0")
    document["annotations"] = [r for r in document["annotations"] if r["category_id"] != first]
    write(coco / "instances.json", document)
    write_mini_vis(tmp_path / "vis", numbered(("class0",)), (0,))
    data = ["--coco", coco, "--vis", tmp_path / "vis"]
    line = refused(VERBS["train"], *data, out=tmp_path / "o", capsys=capsys)
    assert "no image with an instance of the videos' classes; stage images needs" in line
    stages = "stages=[{name: a, clips: images, classes: images, steps: 2}]"
    argv = [*VERBS["train"], *map(str, data), "--set", stages, "--dry-run"]
    assert main([*argv, "--out", str(tmp_path / "o")]) == 0


@pytest.mark.parametrize("stage, words", [("nope", "no such stage"), ("videos", "not finished")])
def test_a_stage_that_cannot_be_trained_is_refused_at_once(
    stage: str, words: str, vis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--vis", vis, "--stage", stage]
    assert words in refused(VERBS["train"], *options, out=tmp_path / "o", capsys=capsys)


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_refuses_a_folder_of_other_files(
    verb: str, vis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o"
    row = "compare_with-previous_frame_noise_probability-0"
    places = {"learn": out / "ctvis", "ablate": out / "seed_2" / row}
    argv = [*VERBS[verb], "--vis", str(vis), "--out", str(out), "--dry-run"]
    assert main(argv) == 0
    places.get(verb, out).mkdir(parents=True)
    (places.get(verb, out) / "thesis.txt").touch()
    assert main(argv) == 2
    assert "not empty and not a run folder" in capsys.readouterr().err
    assert [path.name for path in out.rglob("*.*")] == ["thesis.txt"]


def test_a_dry_run_refuses_a_folder_of_another_run(
    vis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o"
    argv = [*VERBS["train"], "--vis", str(vis), "--out", str(out), "--dry-run"]
    given = options.given_data(None, vis, None, None)
    open_run(Run(out, options.read_config("tiny"), given))
    assert main(argv) == 0
    assert main([*argv, "--set", "seed=5"]) == 2
    assert "config.seed: 0 -> 5" in capsys.readouterr().err
    assert read_run(out).config.seed == 0


def test_a_run_that_is_refused_late_leaves_nothing_behind(
    vis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.run import steps

    def refuse(*_: Any) -> None:
        raise AnnotationError("train.json: no")

    monkeypatch.setattr(steps, "prepare_data", refuse)
    for out in (tmp_path / "new", tmp_path / "empty"):
        argv = [*VERBS["train"], "--vis", str(vis), "--out", str(out)]
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert main(argv) == 2
        assert capsys.readouterr().err.strip().endswith("longtake train: train.json: no")
        assert not out.exists()


@pytest.mark.data
@pytest.mark.parametrize(
    "place, option, words",
    [
        ("11_crowd_only/allcrowd", "--coco", "12 of 12 annotations are crowd regions"),
        ("11_crowd_only/crowd_all", "--vis", "6 of 6 annotations are crowd regions"),
        ("12_dry_run/n1", "--coco", "1 images with instances; expected at least 3"),
        ("12_dry_run/no_annotations", "--coco", "0 images with instances; expected at least 3"),
    ],
)
def test_field_inputs_are_refused_by_the_dry_run_and_leave_nothing(
    place: str,
    option: str,
    words: str,
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = data_dir / "field" / "annotations" / place
    assert words in refused(VERBS["train"], option, folder, out=tmp_path / "o", capsys=capsys)


def test_a_sweep_checks_the_classes_again(
    vis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, config = tmp_path / "o", options.read_config("tiny")
    open_run(Run(out, config, options.given_data(None, vis, None, None)))
    model = out / "models" / config.stages[-1].name
    model.mkdir(parents=True)
    (model / "weights.safetensors").touch()
    names = {"cup": "dog", "lamp": "cat", "sofa": "hat"}
    write(vis / "val.json", renamed(read(vis / "val.json"), names))
    assert main(["tune", "--run", str(out)]) == 2
    assert "found only ['dog', 'cat', 'hat']" in capsys.readouterr().err


def test_a_head_that_is_too_small_is_refused(
    vis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = ["train", "idol_tiny", "--set", "system.id_head={num_instances: 3}"]
    line = refused(verb, "--vis", vis, out=tmp_path / "o", capsys=capsys)
    assert "system.id_head.num_instances: expected at least 4" in line
