"""Writes docs/tree.md: one line per file, the first line of its docstring.

``python -m tests.tree`` writes it; ``test_layout.py`` fails when it is out of date.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tree.md"
BEGIN = "```\n"
ROOMS = {
    "vis_core": "the science; runs without Ray and MLflow",
    "pipelines": "vis_core on Ray, MLflow and storage",
    "jobs": "the command line, one module per command",
}


def tree() -> str:
    """Lists every module of the three packages with the first line of its docstring."""
    lines = ["```"]
    for room, sentence in ROOMS.items():
        lines += [f"{room}/  {sentence}", *_modules(ROOT / room, 1)]
    return "\n".join([*lines, "```"]) + "\n"


def _modules(folder: Path, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for path in sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name)):
        if path.is_dir() and any(path.glob("*.py")):
            yield f"{indent}{path.name}/"
            yield from _modules(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"{indent}{path.name}  {_first_line(path)}"


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].replace("\n", " ").replace("``", "")


if __name__ == "__main__":
    head = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    PAGE.write_text(head + tree(), encoding="utf-8")
