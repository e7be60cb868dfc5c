import codecs
from pathlib import Path

import pytest

from vis_core.errors import AnnotationError
from vis_core.files import write_json
from vis_core.formats.strict_json import read_json

REFUSED = [
    (b"", "empty file"),
    (b"  \n", "empty file"),
    (b'{"a": 1', "line 1"),
    (b'{"a": 1}\n{"b": 2}', "second document"),
    (b"a: 1", "expected JSON"),
    (b'{"a": 1, "a": 2}', "'a' twice"),
    (b'{"a": {"b": [1, NaN]}}', r'"a" "b"\[1\].*found nan'),
    (b"[-Infinity]", "found -inf"),
    (b"[" * 100_000, "nested too deep"),
    (b"[" + b"1" * 5000 + b"]", "thousands of digits"),
    ('["ä"]'.encode("latin-1"), "UTF-8"),
    (codecs.BOM_UTF16_LE + "[]".encode("utf-16-le"), "UTF-16"),
    (codecs.BOM_UTF32_LE + "[]".encode("utf-32-le"), "UTF-32"),
]


@pytest.mark.parametrize(("content", "words"), REFUSED)
def test_a_doubtful_file_is_refused_by_name(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    with pytest.raises(AnnotationError, match=words) as caught:
        read_json(file)
    assert "file.json" in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="expected a JSON file, found none"):
        read_json(tmp_path / "no.json")


def test_a_byte_order_mark_of_utf8_is_read_over(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(codecs.BOM_UTF8 + b'{"a": 9007199254740993}')
    assert read_json(file) == {"a": 2**53 + 1}


def test_what_is_written_is_read_back_and_leaves_no_other_file(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"a": [1, None, "ä"]})
    assert read_json(tmp_path / "file.json") == {"a": [1, None, "ä"]}
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    write_json(file, [1])
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(file, [float("nan")])
    assert read_json(file) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
