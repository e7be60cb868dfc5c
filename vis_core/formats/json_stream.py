"""Entry-by-entry reading of a long JSON list of objects, with constant memory.

Only a plain list of valid objects is streamed. Anything else raises ``NotStreamableError``; the
caller then reads the whole file, which reports the fault precisely.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from vis_core.formats.strict_json import DuplicateKeyError, unique_keys

_CHUNK = 1 << 20  # bytes
_SPACE = re.compile(r"[ \t\r\n]*")


class NotStreamableError(Exception):
    """A file that is not a plain list of objects and must be read as a whole."""


def stream_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a file that is one JSON list of objects.

    Raises NotStreamableError if the file has other content, perhaps after yielding some objects.
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
    try:
        file = path.open("rb")
    except OSError:
        raise NotStreamableError from None
    with file:
        text = _Text(file)
        text.expect("[")
        while True:
            yield text.take_object(decoder)
            if text.expect(",]") == "]":
                break
        if text.peek():
            raise NotStreamableError


class _Text:
    """The buffered part of a file, with the position of the next character."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")()
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

    def take_object(self, decoder: json.JSONDecoder) -> dict[str, Any]:
        """Reads one object."""
        if self.peek() != "{":
            raise NotStreamableError
        while True:
            try:
                value, self._position = decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError:
                if self._ended:
                    raise NotStreamableError from None
                self._read_more()
            except (RecursionError, ValueError, DuplicateKeyError):
                raise NotStreamableError from None
            else:
                return value

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
