"""Names with a character of each Unicode category: all are taken but the few that harm."""

import json
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from vis_core.errors import AnnotationError, shown_name
from vis_core.formats.categories import Categories
from vis_core.formats.coco import read_coco
from vis_core.formats.field_checks import file_name_fault
from vis_core.formats.youtube_vis import read_youtube_vis, write_youtube_vis
from vis_core.visualization.labels import draw_chip, label_texts, place_chip

REFUSED = {"Cc", "Cs", "Zl", "Zp"}


def one_of_each_category() -> dict[str, str]:
    """Returns the first and the last character of each category, but no ASCII and no slash."""
    found: dict[str, list[str]] = {}
    for number in range(0x80, 0x110000):
        found.setdefault(unicodedata.category(chr(number)), []).append(chr(number))
    return {
        f"{name}-{word}": letters[place]
        for name, letters in sorted(found.items())
        for word, place in (("first", 0), ("last", -1))
    }


CHARACTERS = one_of_each_category() | {
    "Cc-null": "\0", "Cc-tab": "\t", "Cc-newline": "\n", "Cc-delete": "\x7f",
    "Zs-no-break": "\xa0", "Zs-narrow": "\u202f", "Zs-ideographic": "\u3000",
    "Cf-joiner": "\u200d", "Cf-non-joiner": "\u200c", "Cf-override": "\u202e",
    "So-family": "\U0001f468\u200d\U0001f469\u200d\U0001f467", "Cn-last": "\uffff",
}  # fmt: skip


def is_refused(case: str) -> bool:
    return case[:2] in REFUSED


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture(params=CHARACTERS)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_file_names_of_images_and_frames(case: str, tmp_path: Path) -> None:
    name = f"a{CHARACTERS[case]}b.jpg"
    size = {"height": 2, "width": 3}
    tables = {"categories": [], "annotations": []}
    coco = write(tmp_path / "c.json", {"images": [{"id": 1, "file_name": name, **size}], **tables})
    video = {"id": 1, "file_names": [f"{name}/0.jpg"], "length": 1, **size}
    vis = write(tmp_path / "v.json", {"videos": [video], **tables})
    for read in (lambda: read_coco(coco, None), lambda: read_youtube_vis(vis)):
        if is_refused(case):
            with pytest.raises(AnnotationError, match=f"U\\+{ord(CHARACTERS[case]):04X}"):
                read()
        else:
            assert read()[0]


def test_class_names(case: str, tmp_path: Path) -> None:
    table = [{"id": 1, "name": f"a{CHARACTERS[case]}b"}]
    if is_refused(case):
        with pytest.raises(AnnotationError, match=f"U\\+{ord(CHARACTERS[case]):04X}"):
            Categories.from_json(table)
        return
    categories = Categories.from_json(table)
    assert categories.to_json() == table
    write_youtube_vis(tmp_path / "v.json", [], categories)
    assert read_youtube_vis(tmp_path / "v.json")[1] == categories


def test_names_in_pictures_logs_and_reports(case: str) -> None:
    from pipelines.reports.page import _clean

    name = f"a{CHARACTERS[case]}b"
    image = np.zeros((120, 160, 3), np.uint8)
    chip = place_chip(label_texts(1, name, 0.5), (0, 0, 160, 120), [], (120, 160), (255, 255, 255))
    assert chip is not None
    draw_chip(image, chip)
    assert image.any()
    assert cv2.imencode(".png", image)[0]
    assert shown_name(name).isprintable()
    shown = _clean(name)
    assert shown.encode("utf-8")
    assert (shown == name) == (not is_refused(case) or case in ("Cc-tab", "Cc-newline"))


def test_names_of_videos_and_their_results(case: str, tmp_path: Path) -> None:
    from pipelines.annotation.archive.listing import list_archive
    from pipelines.storage.open import open_storage

    if case in ("Cc-null", "Cs-first", "Cs-last"):
        return  # no file can have such a name
    name = f"a{CHARACTERS[case]}b.mp4"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"video")
    archive = list_archive(str(tmp_path / "in"))
    assert [video.key for video in archive.videos] == [name]
    assert "\n" not in archive.videos[0].shown
    storage = open_storage(str(tmp_path / "out"))
    assert storage.write_once(f"results/{name}.json", b"{}")
    assert storage.read(f"results/{name}.json") == b"{}"


@pytest.mark.parametrize("name", ["1:30.jpg", "12:30.jpg", "a/b:c.jpg", "é:1.jpg", "::.jpg"])
def test_a_colon_is_no_drive(name: str) -> None:
    assert file_name_fault(name) is None


@pytest.mark.parametrize("name", ["C:/a.jpg", "c:a.jpg", "/a.jpg", "a\\b.jpg", "\\\\server\\a.jpg"])
def test_a_drive_is_a_letter(name: str) -> None:
    assert file_name_fault(name) == "an absolute path or a backslash"
