"""The videos of a folder."""

import logging

import pytest

from vis_core.errors import ConfigError, shown_name
from vis_core.media.video_files import find_videos, search_videos


def test_videos_are_found_in_sub_folders_and_sorted(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("z.MP4", "b/a.mkv", "a.webm", "b/notes.txt", "README"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)] == [
        "a.webm",
        "z.MP4",
        "b/a.mkv",
    ]
    assert len(search_videos(tmp_path).other_files) == 2


def test_what_leaves_the_folder_is_refused_and_said(tmp_path, caplog):
    archive = tmp_path / "archive"
    archive.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (archive / "own.mp4").write_bytes(b"x")
    (archive / "outside.mp4").symlink_to(tmp_path / "secret.mp4")
    (archive / "inside.mp4").symlink_to(archive / "own.mp4")
    (archive / "broken.mp4").symlink_to(archive / "absent.mp4")
    (archive / "loop").symlink_to(archive)
    (archive / "folder.mp4").mkdir()
    with caplog.at_level(logging.WARNING):
        found = find_videos(archive)
    assert [path.name for path in found] == ["inside.mp4", "own.mp4"]
    for name in ("outside.mp4: link leaves", "broken.mp4: cannot be read", "folder.mp4: not a"):
        assert name in caplog.text


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "self.mp4").symlink_to(tmp_path / "self.mp4")
    assert [path.name for path, _ in search_videos(tmp_path).skipped] == ["self.mp4"]


@pytest.mark.parametrize("name, what", [("absent", "does not exist"), ("file", "is not a folder")])
def test_a_missing_folder_is_named(name, what, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ConfigError, match=f"{name}: {what}"):
        find_videos(tmp_path / name)


def test_a_name_is_shown_on_one_line():
    assert shown_name("a\nb\x1b[31m\u202egpj.mp4") == "a\\nb\\x1b[31m\\u202egpj.mp4"
    assert shown_name("bad\udcff.mp4") == "bad\\udcff.mp4"
    assert shown_name("ünïcode 日本.mp4") == "ünïcode 日本.mp4"
