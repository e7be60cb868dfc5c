"""Keeps the README's tree true: one line a file, taken from the first line of each docstring.

``python -m tests.readme_tree`` rewrites it; ``test_house.py`` fails when it is out of date.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- tree: begin -->\n", "<!-- tree: end -->\n"
ROOMS = {
    "vis_core": "the science; runs without ray and mlflow",
    "pipelines": "vis_core on Ray, MLflow and storage",
    "jobs": "the command line, one module a verb; they hold no logic",
}


def tree() -> str:
    """Lists every module of the three rooms with what it says of itself."""
    lines = ["```"]
    for room, sentence in ROOMS.items():
        lines += [f"{room}/  {sentence}", *_modules(ROOT / room, 1)]
    return "\n".join([*lines, "```"]) + "\n"


def parts(readme: str) -> tuple[str, str, str]:
    """Splits the README before and after its tree."""
    before, rest = readme.split(BEGIN)
    inside, after = rest.split(END)
    return before, inside, after


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
    head, _, tail = parts(README.read_text(encoding="utf-8"))
    README.write_text(head + BEGIN + tree() + END + tail, encoding="utf-8")
