"""Reported inputs: folders, names and kinds of files (spec/field_reports.md, F4 to F8, F12)."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from jobs.cli import main
from tests.pipelines.data.test_find_data import coco_file, vis_file

pytestmark = pytest.mark.data


@pytest.fixture(scope="session")
def field(data_dir: Path) -> Path:
    return data_dir / "field" / "annotations"


def plan(out: Path, *given: object) -> int:
    return main(["train", "tiny", "--dry-run", "--out", str(out), *map(str, given)])


@pytest.mark.parametrize(
    "data",
    [
        "01_image_folder/cvat", "01_image_folder/cvat/annotations/instances_default.json",
        "01_image_folder/subfolders", "01_image_folder/upper_ext", "01_image_folder/webp",
        "01_image_folder/coco2017", "01_image_folder/coco2017/annotations/instances_val2017.json",
        "01_image_folder/coco2017/annotations/instances_train2017.json", "16_prefix/labelstudio",
        "05_printable/nnbsp", "05_printable/name_nbsp", "06_colon/colon",
    ],
)  # fmt: skip
def test_images_of_reported_exports_are_taken(
    data: str, field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(tmp_path / "run", "--coco", field / data) == 0, capsys.readouterr().err


def test_reported_video_layouts_are_taken(
    field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(tmp_path / "run", "--vis", field / "02_vis_layouts" / "ytvis19") == 0
    own = tmp_path / "own"
    shutil.copytree(field / "13_split_then_train", own)
    split = ["split", "--gt", str(own / "all.json"), "--out"]
    assert main([*split, str(own / "parts")]) == 0
    assert plan(tmp_path / "run", "--vis", own / "parts") == 0
    assert main([*split, str(tmp_path / "far")]) == 0
    capsys.readouterr()
    assert plan(tmp_path / "run", "--vis", tmp_path / "far") == 2
    error = capsys.readouterr().err
    assert "--images" in error
    assert error.count("\n") == 1
    images = ("--images", own / "JPEGImages")
    assert plan(tmp_path / "run", "--vis", tmp_path / "far", *images) == 0
    for verb in (["learn", "stc"], ["demo"], ["ablate", "winner_1"]):
        command = [*verb, "--dry-run", "--out", str(tmp_path / "run"), *map(str, images)]
        assert main([*command, "--vis", str(tmp_path / "far")]) == 0
    assert not (tmp_path / "run").exists()


def test_a_split_beside_its_source_is_taken_and_never_replaces_it(
    field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(field / "13_split_then_train", own)
    assert main(["split", "--gt", str(own / "all.json"), "--out", str(own)]) == 0
    assert plan(tmp_path / "run", "--vis", own) == 0
    before = (own / "train.json").read_bytes()
    capsys.readouterr()
    assert main(["split", "--gt", str(own / "train.json"), "--out", str(own)]) == 2
    assert "would replace --gt" in capsys.readouterr().err
    assert (own / "train.json").read_bytes() == before


def test_images_without_data_or_elsewhere_are_refused(
    field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = field / "01_image_folder" / "cvat"
    for options in (
        ["--images", coco / "images"],
        ["--coco", coco, "--images", tmp_path],
        ["--coco", coco, "--images", tmp_path / "none"],
    ):
        assert plan(tmp_path / "run", *options) == 2
        error = capsys.readouterr().err
        assert "--images" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("07_kind_of/cat_images/gt.json", "YouTube-VIS, "),
        ("07_kind_of/gt.json", "YouTube-VIS, "),
        ("07_kind_of/bom.json", "results, "),
        ("14_zipped_results/sub.zip", "results, "),
        ("05_printable/cat_persian/gt.json", "YouTube-VIS, "),
        ("05_printable/nnbsp/instances.json", "COCO, "),
        ("05_printable/name_nbsp/instances.json", "COCO, "),
    ],
)
def test_reported_files_are_told_by_their_keys(
    file: str, words: str, field: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(field / file)]) == 0
    assert f"can be used: 0 errors, 0 warnings; {words}" in capsys.readouterr().out


def test_a_class_named_images_is_converted(field: Path, tmp_path: Path) -> None:
    source, out = field / "07_kind_of" / "cat_images" / "gt.json", tmp_path / "out.json"
    map_file = tmp_path / "map.yaml"
    map_file.write_text("\ufefftarget: [images]\nclasses: {images: images}\nunmapped: drop\n")
    options = ["--out", str(out), "--class-map", str(map_file)]
    assert main(["convert", "--from", str(source), *options]) == 0
    assert json.loads(out.read_text())["videos"]


def test_zipped_and_marked_results_are_scored_and_fused(
    field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, results in (("14_zipped_results", "sub.zip"), ("07_kind_of", "bom.json")):
        gt = str(field / folder / "gt.json")
        given = str(field / folder / results)
        assert main(["evaluate", "--gt", gt, "--results", given, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["stats"]["AP"] == 1
        packed, fused = str(tmp_path / f"{folder}.zip"), str(tmp_path / f"{folder}.json")
        assert main(["pack", "--results", given, "--gt", gt, "--out", packed]) == 0
        assert main(["validate", packed, "--gt", gt]) == 0
        assert main(["ensemble", "--inputs", packed, given, "--out", fused]) == 0
        assert main(["evaluate", "--gt", gt, "--results", fused]) == 0
        capsys.readouterr()


def coco_vid(path: Path) -> Path:
    """Writes a file as mmtracking's converters do."""
    document = json.loads(coco_file(path, ["v/0.jpg", "v/1.jpg"]).read_text())
    for frame, image in enumerate(document["images"]):
        image |= {"video_id": 1, "frame_id": frame}
    document["videos"] = [{"id": 1, "name": "v"}]
    path.write_text(json.dumps(document))
    return path


def test_coco_vid_is_named_by_every_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = coco_vid(tmp_path / "train.json")
    shutil.copy(file, tmp_path / "val.json")
    (tmp_path / "empty.json").write_text("[]")
    commands = [
        ["validate", str(file)],
        ["validate", str(file), "--kind", "youtube_vis"],
        ["convert", "--from", str(file), "--class-map", "ovis", "--out", str(tmp_path / "o.json")],
        ["evaluate", "--gt", str(file), "--results", str(tmp_path / "empty.json")],
        ["train", "tiny", "--vis", str(tmp_path), "--dry-run", "--out", str(tmp_path / "run")],
        ["split", "--gt", str(file), "--out", str(tmp_path / "parts")],
    ]
    for command in commands:
        code = main(command)
        captured = capsys.readouterr()
        said = captured.out + captured.err + caplog.text  # warnings go to the log
        caplog.clear()
        assert "CocoVID" in said, (command, said)
        assert len(captured.err.splitlines()) <= 1, command
        refused = command[0] in ("train", "split") or "--kind" in command
        assert code == (2 if refused else 0)


@pytest.mark.parametrize("word", ["images", "videos", "annotations", '"videos": ['])
@pytest.mark.parametrize("place", ["class", "info", "name", "nested", "last"])
def test_words_in_a_file_do_not_tell_its_kind(
    word: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for write, kind in ((coco_file, "COCO"), (vis_file, "YouTube-VIS")):
        file = write(tmp_path / "file.json", ["a"])
        document = json.loads(file.read_text())
        if place == "class":
            document["categories"][0]["name"] = word
        elif place == "name":
            name = word.replace('"', "").replace(": [", "")
            table = document.get("images") or document["videos"]
            table[0]["file_name" if kind == "COCO" else "file_names"] = (
                name if kind == "COCO" else [f"{name}/0", f"{name}/1"]
            )
        elif place == "last":
            document["info"] = word
        else:
            document = {"info": {word: [word]} if place == "nested" else word} | document
        file.write_text(json.dumps(document))
        assert main(["validate", str(file)]) == 0
        assert f"; {kind}, 1 " in capsys.readouterr().out


def test_a_zip_that_is_no_result_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gt = vis_file(tmp_path / "gt.json", ["a"])
    with zipfile.ZipFile(tmp_path / "frames.zip", "w") as archive:
        archive.writestr("a/0.jpg", b"")
    (tmp_path / "gz").write_bytes(b"\x1f\x8bno")
    for name in ("frames.zip", "gz"):
        results = str(tmp_path / name)
        assert main(["evaluate", "--gt", str(gt), "--results", results]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "unpack it and give the .json file" in error
        assert main(["validate", results]) == 2
        assert main(["ensemble", "--inputs", results, "--out", str(tmp_path / "o.json")]) == 2
        capsys.readouterr()


def test_a_byte_order_mark_is_accepted_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.annotation.archive.uri_lists import read_uris
    from pipelines.registry.foreign_models import official_categories

    def marked(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        return tmp_path / name

    run_file = marked("run.yaml", main(["config", "show"]) or capsys.readouterr().out)
    assert main(["config", "show", "--config", str(run_file)]) == 0
    assert read_uris(marked("list.txt", "a.mp4\n")) == [str(tmp_path / "a.mp4")]
    assert official_categories(1, str(marked("names.txt", "cup\n")), "it").names == ("cup",)
    for write in (coco_file, vis_file):
        file = marked("gt.json", write(tmp_path / "gt.json", ["a"]).read_text())
        assert main(["validate", str(file)]) == 0
