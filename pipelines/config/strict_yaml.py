"""A YAML parser that reads YAML 1.2 scalars and rejects custom tags, aliases and duplicate keys.

PyYAML's defaults read ``1e-4`` as text, ``on`` as true and ``010`` as 8, and silently keep the last
of two equal keys. PyYAML also parses an alias bomb at once, but its result can never be traversed.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from vis_core.errors import ConfigError, first_line

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 32


def _fault(problem: str, at: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, at.start_mark)


class _StrictLoader(yaml.SafeLoader):
    """A loader that rejects custom tags, aliases, duplicate keys and numbers that are too large."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise _fault("aliases are not allowed; write the value out", self.peek_event())
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _fault("nested too deep", self.peek_event())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise _fault(f"{node.value} is too large for a number", node)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault("a key must be a word", key)
            if key.value in seen:
                raise _fault(f"the key {key.value!r} appears twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.construct_yaml_float)

# The pattern and possible first characters of each kind of scalar.
_WORDS: dict[str, tuple[str, list[str | None]]] = {
    "null": (r"^(?:null|~|)$", ["n", "~", ""]),
    "bool": (r"^(?:true|false)$", ["t", "f"]),
    "int": (r"^[-+]?(?:0|[1-9][0-9]*)$", [*"-+0123456789"]),
    "float": (
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?$",
        [*"-+.0123456789"],
    ),
}
for _kind, (_pattern, _first) in _WORDS.items():
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), _first)


def parse_yaml(text: str, source: str) -> Any:
    """Parses one YAML document; errors name its ``source``, a file or an option.

    Raises ConfigError if the document is faulty; the message gives the line if it is known.
    """
    try:
        # safe: the loader builds mappings, lists and scalars only
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f"{source}, line {mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or first_line(error)
        raise ConfigError(f"{where}: {problem}") from error
    except ValueError as error:  # an integer with more digits than Python accepts
        raise ConfigError(f"{source}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deep") from error


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML file that contains one mapping.

    Raises ConfigError if the file is missing, too large, not UTF-8, not YAML or not a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    raw = path.read_bytes()
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: {len(raw)} bytes; a run file has at most {_MAX_BYTES}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error
    value = parse_yaml(text, str(path))
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise ConfigError(f"{path}: expected a mapping of keys at the top, found {found}")
    return value
