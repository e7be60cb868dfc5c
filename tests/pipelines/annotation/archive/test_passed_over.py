"""Entries that a listing does not take are counted and named; one object is an archive of one."""

import json
import logging
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import boto3
import pytest

from pipelines.annotation.archive.filters import parse_filter
from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.archive.passed_over import describe_other_files, describe_skipped
from pipelines.annotation.summary import AnnotateSummary
from vis_core.errors import ConfigError

LINK = "link leaves the archive; give a list of paths, which may"
NAMES = [
    "one.mp4",
    "day 1/-ü é.mp4",
    "a+b%20c#d?e=f&g.mp4",
    "quote'\"$(x)*.mp4",
    "名前/動画.MKV",
    "no_suffix",
    "raw.bin",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Writes a folder with a video and other files."""
    root = tmp_path / "videos"
    root.mkdir()
    for name in ("a.mp4", "b.qqq", "c.QQQ", "d", "e.two words", "f.2026-11-30-10-12-59"):
        (root / name).write_bytes(b"x")
    return root


def put(uri: str, *keys: str) -> None:
    """Writes objects below a bucket."""
    client = boto3.client("s3")
    for key in keys:
        client.put_object(Bucket=uri.removeprefix("s3://"), Key=key, Body=key.encode())


def as_list(folder: Path, *paths: Path) -> Path:
    """Writes a list of paths."""
    (folder / "list.txt").write_text("\n".join(map(str, paths)))
    return folder / "list.txt"


def test_other_files_are_counted_by_suffix(folder: Path, s3_bucket: str) -> None:
    put(s3_bucket, *(f"in/{path.name}" for path in folder.iterdir()))
    for uri in (folder, as_list(folder.parent, *folder.iterdir()), f"{s3_bucket}/in"):
        archive = list_archive(uri)
        assert len(archive.videos) == 1
        assert archive.others == {".qqq": 2, "": 3}
        with pytest.raises(ConfigError, match=r"\(5 other files passed over .*, 1 not wanted"):
            list_archive(uri, parse_filter(globs=["none*"]))


def test_the_refusal_names_suffixes_and_the_way_out(folder: Path) -> None:
    (folder / "a.mp4").unlink()
    with pytest.raises(ConfigError) as caught:
        list_archive(folder)
    assert str(caught.value) == (
        f"{folder}: no video file in it (5 other files passed over (no suffix 3, .qqq 2));"
        " expected .mp4, .mkv, .avi and the like; see --suffix"
    )
    with pytest.raises(ConfigError, match="no other file.; expected .mp4$"):
        (folder / "sub").mkdir()
        list_archive(folder / "sub", parse_filter(suffixes=["mp4"]))


def test_the_summary_counts_and_names_what_was_passed_over(folder: Path) -> None:
    archive = list_archive(folder)
    summary = AnnotateSummary("out", skipped_entries=archive.skipped, other_files=archive.others)
    assert "5 other files passed over (no suffix 3, .qqq 2)" in summary.describe()
    assert json.loads(json.dumps(asdict(summary)))["other_files"] == {".qqq": 2, "": 3}
    assert not any("passed over" in line for line in AnnotateSummary("out").describe())


def test_many_suffixes_are_cut() -> None:
    text = describe_other_files({f".x{number}": number for number in range(1, 30)})
    assert text.startswith("435 other files passed over (.x29 29, .x28 28, ")
    assert text.endswith(", .x22 22, ...)")
    assert describe_other_files({".dv": 1}) == "1 other file passed over (.dv 1)"


def test_links_are_named_with_their_reason(tmp_path: Path, folder: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "a.mp4").symlink_to(folder / "a.mp4")  # as caches of hubs hold them
    (links / "loop.mp4").symlink_to(links / "loop.mp4")
    (links / "camera").symlink_to(folder)
    (links / "here").symlink_to(links)  # its files are found in their place
    with pytest.raises(ConfigError) as caught:
        list_archive(links)
    message = str(caught.value)
    assert f"skipped a.mp4, camera: {LINK}" in message
    assert "loop.mp4: cannot be read" in message and "here" not in message
    assert "\n" not in message
    (links / "good.mp4").write_bytes(b"x")
    assert len(list_archive(links).skipped) == 3
    # the mend is true: a list reads a link's target
    (listed,) = list_archive(as_list(tmp_path, links / "a.mp4")).videos
    assert listed.version == list_archive(folder).videos[0].version


def test_many_links_share_a_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(200):
        (folder / f"l{number:03}.mp4").symlink_to("/dev/null")
    with caplog.at_level(logging.WARNING):
        archive = list_archive(folder)
    assert len(archive.skipped) == 200
    assert [record.getMessage() for record in caplog.records] == [
        f"skipped 200 entries such as l000.mp4: {LINK}"
    ]
    assert describe_skipped(archive.skipped[:2]) == [f"l000.mp4, l001.mp4: {LINK}"]


def test_a_single_file_is_an_archive_of_one(folder: Path) -> None:
    for name in NAMES:
        path = folder / "odd" / Path(name).name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        link = folder / f"link-{path.name}"
        link.symlink_to(path)
        assert [video.key for video in list_archive(path).videos] == [path.name]
        assert [video.key for video in list_archive(link).videos] == [link.name], "named by hand"


@pytest.mark.parametrize("name", NAMES)
def test_a_single_object_is_an_archive_of_one(s3_bucket: str, name: str) -> None:
    put(s3_bucket, name, f"in/{name}", f"in/{name}.bak", "in/x.mp4")
    leaf = name.rpartition("/")[2]
    for uri in (f"{s3_bucket}/{name}", f"{s3_bucket}/in/{name}", f"{s3_bucket}/in/{name}/"):
        archive = list_archive(uri)
        (video,) = archive.videos
        assert video.key == leaf and video.etag, "named as in its folder"
        with archive.storage.as_file(video.key, video.etag) as file:
            assert file.read_bytes().decode().endswith(name)


def test_a_prefix_and_an_object_of_one_name(s3_bucket: str) -> None:
    put(s3_bucket, "cam", "cam/a.mp4", "cam2/b.mp4", "one.mp4", "one.mp4/c.mp4", "one.mp4.txt")
    keys = {
        "cam": "a.mp4",  # an object of this name is no video by its suffix
        "cam/": "a.mp4",
        "one.mp4": "one.mp4",
        "one.mp4/": "c.mp4",
    }
    for name, key in keys.items():
        assert [video.key for video in list_archive(f"{s3_bucket}/{name}").videos] == [key]


def test_an_object_is_filtered_as_a_file_is(s3_bucket: str) -> None:
    put(s3_bucket, "one.mp4")
    with pytest.raises(ConfigError, match="no video file in it .1 not wanted"):
        list_archive(f"{s3_bucket}/one.mp4", parse_filter(min_size="1M"))


@pytest.mark.parametrize("name", ["absent.mp4", "absent", "abs/ent.mp4", "absent/", "list.c"])
def test_an_object_that_does_not_exist_is_refused(s3_bucket: str, name: str) -> None:
    put(s3_bucket, "other.mp4", "list.csv")
    with pytest.raises(ConfigError, match="no object has this name or prefix") as caught:
        list_archive(f"{s3_bucket}/{name}")
    assert str(caught.value).startswith(f"{s3_bucket}/{name}: ")
    with pytest.raises(ConfigError, match="list.csv: is an object.*download it first"):
        list_archive(f"{s3_bucket}/list.csv")


def test_a_folder_that_cannot_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        folder.chmod(0o755)
        (folder / "a.mp4").write_bytes(b"x")
        (folder / "closed").mkdir(mode=0)
        if user == 0:  # root reads every folder
            os.seteuid(65534)
        try:
            skipped = list_archive(folder).skipped
        finally:
            os.seteuid(user)
        assert skipped[0][1].startswith("folder cannot be read")


def test_pictures_that_are_frames_are_not_passed_over(folder: Path) -> None:
    for number in range(3):
        path = folder / "frames" / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert list_archive(folder).others[".jpg"] == 3
    wanted = replace(parse_filter(), picture_rate=10.0)
    archive = list_archive(folder, wanted)
    assert [video.key for video in archive.videos] == ["a.mp4", "frames"]
    assert archive.others == {".qqq": 2, "": 3}
    alone = list_archive(folder / "a.mp4", wanted)
    with alone.storage.as_file(alone.videos[0].key) as path:
        assert path == folder / "a.mp4"


def test_pictures_that_are_passed_over_are_named_with_their_option():
    text = describe_other_files({".jpg": 3, ".txt": 1})
    assert text == (
        "4 other files passed over (.jpg 3, .txt 1;"
        " --frames-as-videos RATE takes folders of pictures)"
    )
    assert "--frames-as-videos" not in describe_other_files({".txt": 1})
