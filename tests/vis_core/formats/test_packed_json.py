"""JSON files that are packed, damaged or begin with a byte order mark."""

import codecs
import gzip
import json
import zipfile
from pathlib import Path

import pytest

from vis_core.errors import AnnotationError
from vis_core.formats import packed_json
from vis_core.formats.json_stream import stream_objects
from vis_core.formats.strict_json import read_json

ENTRIES = [{"a": 1}, {"b": "é"}]
TEXT = json.dumps(ENTRIES, ensure_ascii=False).encode()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("packing", ["plain", "zip", "macos zip", "gz", "two gz"])
def test_packed_files_and_marks_are_read(mark: bytes, packing: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"  # the content tells, not the name
    content = mark + TEXT
    if packing == "zip":
        zipped(path, {"results.json": content})
    elif packing == "macos zip":
        zipped(path, {"out/": b"", "out/R.JSON": content, "__MACOSX/out/._R.JSON": b"x"})
    elif packing == "gz":
        path.write_bytes(gzip.compress(content))
    elif packing == "two gz":
        path.write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
    else:
        path.write_bytes(content)
    assert read_json(path) == ENTRIES
    assert list(stream_objects(path)) == ENTRIES


def faulty_packings(folder: Path) -> dict[str, Path]:
    whole = zipped(folder / "whole.zip", {"results.json": TEXT}).read_bytes()
    squeezed = gzip.compress(TEXT)
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    contents = {
        "cut zip": whole[:-30],
        "flipped zip": whole[:40] + bytes([whole[40] ^ 255]) + whole[41:],
        "encrypted zip": bytes(encrypted),
        "cut gz": squeezed[:-9],
        "flipped gz": squeezed[:-6] + bytes([squeezed[-6] ^ 255]) + squeezed[-5:],
        "head of a gz": squeezed[:4],
    }
    files = {"two files": zipped(folder / "2.zip", {"a.json": TEXT, "b.json": TEXT})}
    files["no file"] = zipped(folder / "0.zip", {})
    files["another file"] = zipped(folder / "1.zip", {"a.txt": TEXT})
    for number, (name, content) in enumerate(contents.items()):
        files[name] = folder / f"f{number}"
        files[name].write_bytes(content)
    return files


def test_faulty_packings_are_one_line(tmp_path: Path) -> None:
    for name, path in faulty_packings(tmp_path).items():
        for read in (read_json, lambda path: list(stream_objects(path))):
            with pytest.raises(AnnotationError) as caught:
                read(path)
            assert str(caught.value).startswith(f"{path}: expected one whole .json file"), name
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packing", ["zip", "gz"])
def test_a_bomb_is_refused_at_the_limit(
    packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_json, "MAX_UNPACKED", 1 << 20)
    path, bomb = tmp_path / "bomb", b"[" + b" " * (1 << 26)
    if packing == "zip":
        zipped(path, {"a.json": bomb})
    else:
        path.write_bytes(gzip.compress(bomb))
    with pytest.raises(AnnotationError, match="found more than 1048576 bytes; unpack it"):
        read_json(path)
