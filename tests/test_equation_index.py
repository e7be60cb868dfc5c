"""The index of equations in docs/equations.md: every address exists and cites its equation."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(
    r"^\| (?P<paper>[^|`]+) \| [^|]+ \| `(?P<file>[\w/]+\.py)::(?P<name>[\w.]+)` \|$", re.M
)
ROWS = [match.groups() for match in ROW.finditer((ROOT / "docs" / "equations.md").read_text())]


def docstring_of(file: str, name: str) -> str:
    """Joins the docstrings along a dotted name: the module's, its classes' and its own."""
    node: ast.AST = ast.parse((ROOT / "vis_core" / file).read_text())
    found = [ast.get_docstring(node) or ""]
    for part in name.split("."):
        named = {child.name: child for child in node.body if hasattr(child, "name")}
        assert part in named, f"{file}: no {part}"
        node = named[part]
        found.append(ast.get_docstring(node) or "")
    return " ".join(" ".join(found).split())


def test_the_index_is_read() -> None:
    assert len(ROWS) > 10


@pytest.mark.parametrize("paper, file, name", ROWS, ids=lambda value: value.replace(" ", "_"))
def test_an_address_names_its_equation(paper: str, file: str, name: str) -> None:
    source, place = re.fullmatch(r"(.+?) (?:Eq\. )?([\w.]+(?:-\d+)?)", paper).groups()
    text = docstring_of(file, name)
    assert source.split(" ")[0] in text, f"{file}::{name} does not name {source}"
    assert re.search(rf"\b{re.escape(place)}\b", text), f"{file}::{name} does not name {place}"
