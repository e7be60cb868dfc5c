"""Reading and writing of run files, and overrides by dotted key."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.config.run import RunConfig
from pipelines.config.strict_yaml import parse_yaml, read_yaml_mapping
from vis_core.config.section import Section
from vis_core.config.segmentors import BackboneName
from vis_core.config.systems import CtvisConfig, IdolConfig, MinvisConfig, StcConfig
from vis_core.errors import ConfigError

SectionT = TypeVar("SectionT", bound=Section)
_SYSTEM_KEYS = {
    key
    for system in (CtvisConfig, MinvisConfig, IdolConfig, StcConfig)
    for key in system.model_fields
}
_ALTERNATIVES = {"steps": "epochs", "epochs": "steps"}  # an override of one replaces the other
_NAMED = f"literal[{','.join(map(repr, get_args(BackboneName)))}]"
_UNION_MEMBERS = {
    "size": ("short_side", "fixed"),
    "crop_size": ("fraction", "pixels"),
    "segmentor": ("mask2former", "deformable_detr"),
    "backbone": (_NAMED, "OwnBackbone"),
}
_PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]*@")


def load_run_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a run file and applies ``dotted.key=value`` overrides.

    In a key, a list item is named by its number or name, or ``*`` for all; null removes an item.
    Raises ConfigError if a value is faulty; the message names its file, its key and the expected
    value.
    """
    values = read_yaml_mapping(path)
    for override in overrides:
        _apply(values, override)
    return parse_run_config(values, str(path))


def parse_run_config(values: Mapping[str, Any], source: str) -> RunConfig:
    """Validates plain values strictly against the schema, without converting any."""
    return _parse_section(RunConfig, values, source)


def parse_overrides(model: type[SectionT], section: str, overrides: Sequence[str]) -> SectionT:
    """Builds one section from its defaults and ``section.key=value`` overrides, without a run file.

    Raises ConfigError if an override names another section or does not fit the schema.
    """
    values: dict[str, Any] = {section: {}}
    for override in overrides:
        if not override.startswith(f"{section}."):
            raise ConfigError(
                f"--set {override}: expected a key of {section}.…; no other section "
                "can be changed here"
            )
        _apply(values, override)
    return _parse_section(model, values[section], "--set", section)


def _parse_section(
    model: type[SectionT], values: Mapping[str, Any], source: str, *parents: str
) -> SectionT:
    _refuse_secrets(values, source, parents)
    try:
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        # unknown and wrong keys come before missing ones
        findings = sorted(error.errors(), key=lambda finding: finding["type"] == "missing")
        faulty = {f["loc"][:end] for f in findings for end in range(len(f["loc"]))}
        findings = [f for f in findings if not _is_untrue(f, faulty)]
        lines = [line for finding in findings[:20] for line in _lines(model, finding, parents)]
        raise ConfigError("\n".join(f"{source}: {line}" for line in lines)) from error


def flatten(model: BaseModel) -> dict[str, Any]:
    """Returns every setting by its dotted key, as used in run files, sweeps and MLflow."""
    return dict(_leaves(model.model_dump(mode="json", by_alias=True), ()))


def digest(*parts: Any) -> str:
    """Returns a digest of plain values and settings sections, as 12 hexadecimal digits."""
    plain = [
        part.model_dump(mode="json", by_alias=True) if isinstance(part, BaseModel) else part
        for part in parts
    ]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def to_yaml(config: RunConfig) -> str:
    """Returns all settings of a run as YAML, including defaults."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, (*path, str(key)))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, str(index)))
    else:
        yield ".".join(path), value


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override}: expected dotted.key=value")
    *parents, last = key.strip().split(".")
    nodes: list[Any] = [values]
    for parent in parents:
        nodes = [child for node in nodes for child in _children(node, parent, override)]
    for node in nodes:
        value = parse_yaml(text, f"--set {key}")  # each node gets its own copy
        if isinstance(node, list) and value is None:
            chosen = _chosen(node, last, override)
            node[:] = [item for place, item in enumerate(node) if place not in chosen]
        elif isinstance(node, dict):
            if last in _ALTERNATIVES:
                node.pop(_ALTERNATIVES[last], None)
            node[last] = value
        else:
            raise ConfigError(f"--set {override}: {last!r} is not a key of a section")


def _children(node: Any, part: str, override: str) -> list[Any]:
    """Returns the sections or lists below ``node`` that one part of a dotted key selects."""
    if isinstance(node, list):
        children = [node[place] for place in _chosen(node, part, override)]
    else:
        children = [node.setdefault(part, {})]
    if not all(isinstance(child, dict | list) for child in children):
        raise ConfigError(f"--set {override}: {part!r} holds a value, not a section")
    return children


def _chosen(items: list[Any], part: str, override: str) -> list[int]:
    """Returns the indices of the items whose number or name is ``part``; ``*`` selects all."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    chosen = [place for place, name in enumerate(names) if part in ("*", str(place), name)]
    if not chosen:
        raise ConfigError(f"--set {override}: {part!r} is not an item of a list")
    return chosen


def _refuse_secrets(values: Mapping[str, Any], source: str, parents: tuple[str, ...]) -> None:
    """Raises if a URL has a password, since configs are logged, stored and sent to the cluster."""
    for key, value in _leaves(values, parents):
        if isinstance(value, str) and _PASSWORD_IN_URL.search(value):
            raise ConfigError(
                f"{source}: {key} holds a password; give secrets through the environment "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
            )


def _lines(model: type[BaseModel], finding: Any, parents: tuple[str, ...]) -> Iterator[str]:
    """Yields message lines for a pydantic error, each with the dotted key and the fault."""
    path = _dotted((*parents, *finding["loc"]))
    if finding["type"] == "extra_forbidden":
        near = get_close_matches(str(finding["loc"][-1]), sorted(_known_keys(model)), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        if near == [finding["loc"][-1]]:
            hint = "; only another section or another segmentor has this key"
        for key, _ in _leaves(finding["input"], tuple(path.split("."))):
            yield f"unknown key {key!r}{hint}"
    else:
        found = "" if finding["type"] == "missing" else f", found {finding['input']!r:.80}"
        yield f"{path}: {finding['msg'].lower()}{found}"


def _is_untrue(finding: Any, faulty: Collection[tuple[str | int, ...]]) -> bool:
    """Returns whether a finding only follows from others, which are inside of ``faulty``.

    Pydantic does not count a list's faulty items, and reads a backbone as a name and as a section.
    """
    if finding["type"] == "too_short":
        return finding["loc"] in faulty
    other = _NAMED if isinstance(finding["input"], dict) else "OwnBackbone"
    return finding["loc"][-1:] == (other,)


def _dotted(location: tuple[str | int, ...]) -> str:
    """Returns the dotted key of a location, without the union members that pydantic adds."""
    parts = [str(part) for part in location]
    if parts[:1] == ["system"] and parts[1:2] and parts[1] not in _SYSTEM_KEYS:
        del parts[1]
    parents = ["", *parts]
    named = zip(parents, parts, strict=False)
    kept = [part for parent, part in named if part not in _UNION_MEMBERS.get(parent, ())]
    return ".".join(kept) or "(the whole file)"


def _known_keys(model: type[BaseModel]) -> set[str]:
    """Returns every key in the schema, for suggesting the key that was meant."""
    keys: set[str] = set()
    queue: list[Any] = [model.model_json_schema()]
    while queue:
        node = queue.pop()
        if isinstance(node, dict):
            keys |= set(node.get("properties", {}))
            queue.extend(node.values())
        elif isinstance(node, list):
            queue.extend(node)
    return keys
