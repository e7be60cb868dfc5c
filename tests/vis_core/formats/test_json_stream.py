import codecs
import json
from pathlib import Path

import pytest

from vis_core.formats import json_stream
from vis_core.formats.json_stream import NotStreamableError, stream_objects


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_the_objects_of_a_list_are_those_of_json(
    chunk: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    entries = [{"a": place, "b": ["ä", {"c": "x" * place}]} for place in range(40)]
    file = tmp_path / "file.json"
    file.write_text(" " + json.dumps(entries, indent=indent, ensure_ascii=False) + "\n")
    assert list(stream_objects(file)) == entries


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b"[1]", b'[{"a": 1}', b'[{"a": 1}]]', b'[{"a": 1},]', b'[{"a": 1} {}]',
        b'[{"a": NaN}]', b'[{"a": 1, "a": 2}]', b'[{"a": 1}] x', b'[{"a": "\xff"}]',
        codecs.BOM_UTF8 + b"[{}]", b"[{" + b"[" * 100_000, b'[{"a": [' + b"[" * 100_000,
        b'[{"a": ' + b"9" * 5000 + b"}]",
    ],
)  # fmt: skip
def test_what_is_not_a_plain_list_of_objects_is_left_to_the_whole_reader(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    with pytest.raises(NotStreamableError):
        list(stream_objects(file))


def test_a_missing_file_is_left_to_the_whole_reader(tmp_path: Path) -> None:
    with pytest.raises(NotStreamableError):
        list(stream_objects(tmp_path / "no.json"))
