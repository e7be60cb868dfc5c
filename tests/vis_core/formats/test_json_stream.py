import json
import tracemalloc
from pathlib import Path
from random import Random

import pytest

from vis_core.formats import json_stream
from vis_core.formats.json_stream import (
    NotStreamableError,
    first_character,
    stream_objects,
    stream_table,
    top_level_keys,
)


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
        b"[{" + b"[" * 100_000, b'[{"a": [' + b"[" * 100_000,
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


DOCUMENTS = [
    {},
    {"info": {"images": [], "x": [{"videos": 1}]}, "images": [{"id": 1}, {"id": 2}], "n": None},
    {"a": -1.5e3, "b": True, "c": "]}\"\\", "d": [[[[[[{"images": {}}]]]]]], "images": []},
    {"é": "ü" * 300, "images": "none", "last": {"a": {"b": {"c": {"d": {"e": ["{"]}}}}}},
    {"annotations": [{"name": 'images": [', "counts": "a\\\\\\\""}] * 50, "images": [{"a": "["}]},
]  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("document", DOCUMENTS)
def test_keys_and_tables_are_those_of_json(
    document: dict[str, object],
    mark: str,
    chunk: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    file = tmp_path / "file.json"
    for indent in (None, 3):
        file.write_text(mark + json.dumps(document, indent=indent), encoding="utf-8")
        assert first_character(file) == "{"
        assert list(top_level_keys(file)) == list(document)
        table = document.get("images")
        expected = table if isinstance(table, list) else []
        assert list(stream_table(file, "images")) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"1", b'{"a" 1}', b'{"a": 1', b'{"a": "', b'{"a": [1, {', b"{1: 2}",
        b'{"a": "\xff"}', b'{"a": 1 "b": 2}', b'{"a": "\\',
    ],
)  # fmt: skip
def test_what_is_no_object_has_no_keys(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    with pytest.raises(NotStreamableError):
        list(top_level_keys(file))
    with pytest.raises(NotStreamableError):
        list(top_level_keys(tmp_path / "none.json"))


def test_keys_of_a_long_file_need_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    entry = json.dumps({"id": 1, "segmentation": [[1.5] * 40], "name": "videos"})
    with file.open("w") as text:
        text.write('{"images": [' + ",".join([entry] * 100_000) + '], "annotations": []}')
    tracemalloc.start()
    try:
        assert list(top_level_keys(file)) == ["images", "annotations"]
        assert tracemalloc.get_traced_memory()[1] < 16 << 20  # the file has 27 MB
    finally:
        tracemalloc.stop()


def any_value(random: Random, depth: int) -> object:
    if depth == 0 or random.random() < 0.3:
        return random.choice([12, -2.5e10, 1e-7, True, None, "", '"]}\\"\\', "é\u2028[", "images"])
    if random.random() < 0.5:
        return [any_value(random, depth - 1) for _ in range(random.randrange(5))]
    keys = [
        random.choice(["a", "images", 'q"\\', "é"]) + str(n) for n in range(random.randrange(5))
    ]
    return {key: any_value(random, depth - 1) for key in keys}


def test_random_documents_have_the_keys_of_json_and_cut_ones_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, file = Random(1), tmp_path / "file.json"
    for _ in range(500):
        document = {f"k{n}": any_value(random, random.randrange(8)) for n in range(5)}
        text = json.dumps(document, ensure_ascii=False, indent=random.choice([None, 1]))
        monkeypatch.setattr(json_stream, "_CHUNK", random.choice([1, 3, 17, 200, 1 << 20]))
        file.write_text(text, encoding="utf-8")
        assert list(top_level_keys(file)) == list(document)
        file.write_text(text[: random.randrange(len(text))], encoding="utf-8")
        with pytest.raises(NotStreamableError):
            list(top_level_keys(file))
