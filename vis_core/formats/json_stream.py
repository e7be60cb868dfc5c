"""Reads a long JSON list of objects entry by entry, so that memory does not grow with the file.

Only what is beyond doubt is streamed. Whatever else a file holds ends the stream with
``NotStreamableError``, and the caller reads it whole, which finds the words for what is wrong.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from vis_core.formats.strict_json import KeyTwiceError, unique_keys

_CHUNK = 1 << 20  # bytes
_SPACE = re.compile(r"[ \t\r\n]*")


class NotStreamableError(Exception):
    """The file is not a plain list of objects; read it whole."""


def stream_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a file that is one JSON list of objects.

    Raises:
        NotStreamableError: If the file is anything else, also after some objects were yielded.
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
    try:
        opened = path.open("rb")
    except OSError:
        raise NotStreamableError from None
    with opened as file:
        text = _Text(file)
        text.expect("[")
        while True:
            yield text.take_object(decoder)
            if text.expect(",]") == "]":
                break
        text.expect_end()


class _Text:
    """Is the part of a file that is in memory, with a place up to which it is read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._place = 0
        self._ended = False

    def expect(self, wanted: str) -> str:
        """Reads one character out of ``wanted``, with the space before it."""
        found = self._peek()
        if found not in wanted or not found:
            raise NotStreamableError
        self._place += 1
        return found

    def expect_end(self) -> None:
        """Reads space up to the end of the file."""
        if self._peek():
            raise NotStreamableError

    def take_object(self, decoder: json.JSONDecoder) -> dict[str, Any]:
        """Reads one object."""
        if self._peek() != "{":
            raise NotStreamableError
        while True:
            try:
                value, self._place = decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if self._ended:
                    raise NotStreamableError from None
                self._read_on()
            except (RecursionError, ValueError, KeyTwiceError):
                raise NotStreamableError from None
            else:
                return value

    def _peek(self) -> str:
        """The next character that is not space; empty at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._place)
            self._place = space.end() if space else self._place
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._read_on()

    def _read_on(self) -> None:
        """Reads on, twice as much as what is left: an object is tried only a few times."""
        rest = self._text[self._place :]
        try:
            content = self._file.read(max(_CHUNK, 2 * len(rest)))
            self._ended = not content
            self._text = rest + self._decode.decode(content, self._ended)
        except (OSError, UnicodeDecodeError):
            raise NotStreamableError from None
        self._place = 0


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
