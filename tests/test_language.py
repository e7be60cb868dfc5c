"""Plain English: how docstrings begin, and words that no text of the project uses.

A class docstring is a noun phrase; a function docstring begins with a verb ("Returns", "Reads").
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("vis_core", "pipelines", "jobs", "tests")
EXEMPT = (ROOT / "tests" / "golden", Path(__file__).resolve())  # this file lists the banned words
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = [path for path in MODULES if not any(path.is_relative_to(each) for each in EXEMPT)]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES += sorted(ROOT.glob("infra/**/*.md"))
OPENINGS = [
    "Is",
    "Are",
    "Gives",
    "Says",
    "Tells",
    "Lays",
    "Whether",
    "What",
    "Who",
    "Which",
    "Why",
    "When",
    "Where",
    "How",
    "Brings",
    "Goes",
    "Lets",
    "Has",
    "Knows",
    "Sees",
    "Looks",
    "Deals",
]
VERB = re.compile(r"[A-Z][a-z-]*s\b|\(|``|\d")  # or the shape or name of a returned value
BANNED = re.compile(
    r"\b(nobody|somebody|anybody|who|whoever|(is|are|was|be) told|what is|what was|patience|"
    r"goes on|go on|our fault)\b",
    re.IGNORECASE,
)


def docstrings(path: Path) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node, text


def comments(path: Path) -> Iterator[tuple[int, str]]:
    source = io.StringIO(path.read_text(encoding="utf-8"))
    for token in tokenize.generate_tokens(source.readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def is_property(node: ast.AST) -> bool:
    names = {ast.unparse(each) for each in getattr(node, "decorator_list", [])}
    return bool(names & {"property", "cached_property", "functools.cached_property"})


def problems_of(path: Path) -> Iterator[str]:
    """Lists the docstrings with a wrong opening, and docstrings and comments with banned words."""
    for node, text in docstrings(path):
        where = f"{path}:{getattr(node, 'lineno', 1)}"
        first = text.split()[0]
        if first.strip(":,.") in OPENINGS:
            yield f"{where}: begins with {first}: {text.splitlines()[0]}"
        elif isinstance(node, ast.FunctionDef) and not (is_property(node) or VERB.match(text)):
            yield f"{where}: begins with no verb: {text.splitlines()[0]}"
        if found := BANNED.search(text):
            yield f"{where}: has {found.group(0)!r}"
    for line, text in comments(path):
        if found := BANNED.search(text):
            yield f"{path}:{line}: has {found.group(0)!r}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_and_comments_are_plain(path: Path) -> None:
    assert list(problems_of(path)) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_are_plain(path: Path) -> None:
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    found = [f"{number}: {hit.group(0)}" for number, line in lines if (hit := BANNED.search(line))]
    assert found == []


@pytest.mark.parametrize(
    "program",
    [
        'class A:\n    """Is a thing."""',
        'def f():\n    """Gives a thing."""',
        'def f():\n    """The thing of the file."""',
        'def f():\n    """Reads what nobody wrote."""',
        "x = 1  # who wrote it",
    ],
)
def test_the_check_finds_its_faults(program: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(program)
    assert len(list(problems_of(path))) == 1
