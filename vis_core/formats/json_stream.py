"""Entry-by-entry reading of long JSON lists and of a document's top-level keys, in constant memory.

Only lists of valid objects are streamed. Anything else raises ``NotStreamableError``; the caller
then reads the whole file, which reports the fault precisely.
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from vis_core.formats.packed_json import open_json
from vis_core.formats.strict_json import DuplicateKeyError, unique_keys

_CHUNK = 1 << 20  # bytes
_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_FLAT = rf'[\[{{](?:[^\[\]{{}}"]++|{_STRING})*+[\]}}]'  # a list or an object without another in it
_NESTED = rf'[\[{{](?:[^\[\]{{}}"]++|{_STRING}|{_FLAT})*+[\]}}]'
_ENTRY = rf'[\[{{](?:[^\[\]{{}}"]++|{_STRING}|{_NESTED})*+[\]}}]'
_STRUCTURE = re.compile(
    rf'(?P<whole>{_ENTRY}|{_STRING})|(?P<open>[\[{{])|(?P<close>[\]}}])|"', re.DOTALL
)
_DEPTH = {"open": 1, "close": -1, "whole": 0}


class NotStreamableError(Exception):
    """A file that is not a plain list of objects and must be read as a whole."""


def stream_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a file that is one JSON list of objects.

    Raises NotStreamableError if the file has other content, perhaps after yielding some objects.
    """
    with _opened(path) as text:
        text.expect("[")
        yield from _objects(text)
        if text.peek():
            raise NotStreamableError


def first_character(path: Path) -> str:
    """Returns the first character of a document: ``[`` for a list, ``{`` for an object."""
    with _opened(path) as text:
        return text.peek()


def top_level_keys(path: Path) -> Iterator[str]:
    """Yields the keys of a document that is an object; values are passed over, not built.

    Raises NotStreamableError if the document is no object or is faulty.
    """
    with _opened(path) as text:
        for key in _keys(text):
            yield key
            text.skip_value()


def stream_table(path: Path, table: str) -> Iterator[dict[str, Any]]:
    """Yields the objects of the list under a top-level key; nothing if there is no such list.

    Raises NotStreamableError like ``top_level_keys``, or if the list holds other values.
    """
    with _opened(path) as text:
        for key in _keys(text):
            if key == table:
                if text.peek() == "[" and text.expect("[") and text.peek() != "]":
                    yield from _objects(text)
                return
            text.skip_value()


@contextmanager
def _opened(path: Path) -> Iterator["_Text"]:
    try:
        with open_json(path) as file:
            yield _Text(file)
    except OSError:
        raise NotStreamableError from None


def _objects(text: "_Text") -> Iterator[dict[str, Any]]:
    """Yields the objects of a list whose bracket was read, to its end."""
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
    while True:
        yield text.take("{", decoder)
        if text.expect(",]") == "]":
            return


def _keys(text: "_Text") -> Iterator[str]:
    """Yields each key of an object when its value is next; the caller reads or skips the value."""
    decoder = json.JSONDecoder()
    text.expect("{")
    while text.peek() != "}":
        key = text.take('"', decoder)
        text.expect(":")
        yield key
        if text.expect(",}") == "}":
            return


class _Text:
    """The buffered part of a file, with the position of the next character."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._position = 0
        self._ended = False

    def expect(self, wanted: str) -> str:
        """Reads one of the ``wanted`` characters, after optional white space."""
        character = self.peek()
        if character not in wanted or not character:
            raise NotStreamableError
        self._position += 1
        return character

    def take(self, first: str, decoder: json.JSONDecoder) -> Any:
        """Reads one value that begins with the character ``first``."""
        if self.peek() != first:
            raise NotStreamableError
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError:
                if self._ended:
                    raise NotStreamableError from None
                self._read_more()
            except (RecursionError, ValueError, DuplicateKeyError):
                raise NotStreamableError from None
            else:
                # a number may continue after the buffer: 1 as 12, 1.5 or 1e5
                if self._ended or self._text[end : end + 1] not in ".eE":
                    self._position = end
                    return value
                self._read_more()

    def skip_value(self) -> None:
        """Passes over one value without building it."""
        if self.peek() not in ("{", "[", '"'):
            self.take(self.peek(), json.JSONDecoder())
            return
        depth = 0
        while True:
            end = len(self._text)
            for token in _STRUCTURE.finditer(self._text, self._position):
                if token.lastgroup is None:  # a string that continues after the buffer
                    end = token.start()
                    break
                depth += _DEPTH[token.lastgroup]
                if depth == 0:
                    self._position = token.end()
                    return
            self._position = end
            if self._ended:
                raise NotStreamableError
            self._read_more()

    def peek(self) -> str:
        """Returns the next non-whitespace character, or an empty string at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._position)
            self._position = space.end() if space else self._position
            if self._position < len(self._text) or self._ended:
                return self._text[self._position : self._position + 1]
            self._read_more()

    def _read_more(self) -> None:
        """Reads at least twice the unparsed length, so that long objects need few attempts."""
        rest = self._text[self._position :]
        try:
            content = self._file.read(max(_CHUNK, 2 * len(rest)))
            self._ended = not content
            self._text = rest + self._decode.decode(content, self._ended)
        except (OSError, UnicodeDecodeError):
            raise NotStreamableError from None
        self._position = 0


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
