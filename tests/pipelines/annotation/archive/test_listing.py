"""Selection of an archive's videos: folders, S3, lists, and filters on all of them."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.annotation.archive.filters import VideoFilter, parse_filter
from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.archive.uri_lists import is_list, read_uris
from vis_core.errors import ConfigError

DAY = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
SIZES = {"a.mp4": 10, "sub/b.MKV": 2_000, "sub/cam1-x.mp4": 30_000, "sub/notes.txt": 5, "z.raw": 50}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    for number, (name, size) in enumerate(SIZES.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * size)
        os.utime(path, (DAY + number * 86_400,) * 2)
    return root


def keys(uri: Path | str, wanted: VideoFilter | None = None) -> list[str]:
    return [video.key for video in list_archive(uri, wanted).videos]


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ({}, ["a.mp4", "sub/b.MKV", "sub/cam1-x.mp4"]),
        ({"suffixes": ["mkv", ".raw"]}, ["sub/b.MKV", "z.raw"]),
        ({"globs": ["sub/*"]}, ["sub/b.MKV", "sub/cam1-x.mp4"]),
        ({"globs": ["*/cam1-*", "a*"]}, ["a.mp4", "sub/cam1-x.mp4"]),
        ({"min_size": "1k"}, ["sub/b.MKV", "sub/cam1-x.mp4"]),
        ({"max_size": "2 k".replace(" ", "")}, ["a.mp4", "sub/b.MKV"]),
        ({"after": "2026-11-21"}, ["sub/b.MKV", "sub/cam1-x.mp4"]),
        ({"before": "2026-11-21T01:00+01:00"}, ["a.mp4"]),
        ({"after": "2026-11-21", "before": "2026-11-22"}, ["sub/b.MKV"]),
    ],
)
def test_a_folder_is_filtered(folder: Path, wanted: dict[str, str], expected: list[str]) -> None:
    assert keys(folder, parse_filter(**wanted)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wanted, words",
    [
        ({"min_size": "large"}, "--min-size large: expected bytes such as"),
        ({"max_size": "-5"}, "--max-size -5: expected bytes"),
        ({"after": "yesterday"}, "--modified-after yesterday: expected a date"),
        ({"suffixes": ["mp4", ""]}, "--suffix: expected suffixes"),
    ],
)
def test_what_cannot_be_read_is_refused(wanted: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_filter(**wanted)  # type: ignore[arg-type]


def test_an_archive_without_a_wanted_video_says_how_many_there_are(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"\(2 other files passed over \(.raw 1, .txt 1\), 3 not wanted\)"
    ):
        list_archive(folder, parse_filter(globs=["none*"]))


def test_objects_are_filtered_as_files_are(s3_bucket: str, folder: Path) -> None:
    client, bucket = boto3.client("s3"), s3_bucket.removeprefix("s3://")
    for name in SIZES:
        client.put_object(Bucket=bucket, Key=f"in/{name}", Body=(folder / name).read_bytes())
    uri = f"{s3_bucket}/in"
    assert keys(uri) == ["a.mp4", "sub/b.MKV", "sub/cam1-x.mp4"]
    assert keys(uri, parse_filter(globs=["sub/*"], max_size="2k")) == ["sub/b.MKV"]
    assert keys(uri, parse_filter(after="2020-01-01")) == keys(uri)
    with pytest.raises(ConfigError, match="3 not wanted"):
        list_archive(uri, parse_filter(before="2020-01-01"))


def as_text(path: Path, uris: list[str]) -> Path:
    path.with_suffix(".txt").write_text("\n".join(["", *uris, ""]), encoding="utf-8")
    return path.with_suffix(".txt")


def as_csv(path: Path, uris: list[str]) -> Path:
    import csv

    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["name", "uri"], *(["x", uri] for uri in uris)])
    return path.with_suffix(".csv")


def as_parquet(path: Path, uris: list[str]) -> Path:
    pq.write_table(pa.table({"uri": uris}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("write", [as_text, as_csv, as_parquet])
def test_a_list_names_videos_wherever_they_are(
    write: Callable[[Path, list[str]], Path], folder: Path, s3_bucket: str
) -> None:
    bucket = s3_bucket.removeprefix("s3://")
    for key in ("day 1/-ü.mp4", "other.mp4"):
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=key.encode())
    uris = [
        f"{s3_bucket}/day 1/-ü.mp4",
        "videos/a.mp4",
        str(folder / "sub" / "b.MKV"),
        "videos/a.mp4",
        "videos/sub/notes.txt",
        "videos/missing.mp4",
        f"{s3_bucket}/missing.mp4",
    ]
    path = write(folder.parent / "list", uris)
    assert is_list(path)
    archive = list_archive(path)
    found = {video.key: video for video in archive.videos}
    object_uri, file_uri = uris[0], str(folder / "a.mp4")
    assert sorted(found) == sorted([object_uri, file_uri, str(folder / "sub" / "b.MKV")])
    assert archive.others == {".txt": 1}
    assert {name for name, _ in archive.skipped} == {
        str(folder / "missing.mp4"),
        f"{s3_bucket}/missing.mp4",
    }
    with archive.storage.as_file(object_uri, found[object_uri].etag) as file:
        assert file.read_bytes() == "day 1/-ü.mp4".encode()
    with archive.storage.as_file(file_uri) as file:
        assert file == folder / "a.mp4"
    alone = list_archive(folder).videos[0]
    assert found[file_uri].version == alone.version, "the content names itself alike"
    assert keys(path, parse_filter(globs=[f"{s3_bucket}/*"])) == [object_uri]


def test_names_with_line_feeds_go_into_csv_and_parquet(folder: Path) -> None:
    odd = folder / "two\nlines.mp4"
    odd.write_bytes(b"x")
    for write in (as_csv, as_parquet):
        assert keys(write(folder.parent / "odd", [str(odd)])) == [str(odd)]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.csv", b"name\nx\n", "expected a column 'uri', found name"),
        ("b.csv", b"uri,name\n,x\n", "row 1 holds no uri"),
        ("c.parquet", b"junk", "cannot be read"),
        ("d.csv", b"", "expected a column 'uri'"),
    ],
)
def test_a_list_that_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_uris(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_uris_of_other_schemes_are_refused(tmp_path: Path) -> None:
    path = as_text(tmp_path / "list", ["http://169.254.169.254/x.mp4"])
    with pytest.raises(ConfigError, match="expected a folder or s3://bucket/prefix"):
        list_archive(path)
