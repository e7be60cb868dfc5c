"""The code blocks of the README and the docs run: Python is executed, commands are parsed."""

import re
import shlex
from pathlib import Path

import pytest

from jobs.cli import VERBS
from jobs.command import load_verb
from tests.helpers.toy_system import square_frames
from vis_core.media.video_writer import write_video

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "infra" / "README.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Lists (page, text) of all blocks in a language."""
    return [
        (page.name, text)
        for page in PAGES
        for found, text in BLOCK.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


def commands() -> list[tuple[str, str]]:
    """Lists (page, command) of all lines that call longtake or make."""
    found = []
    for page, text in blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.partition(" > ")[0], comments=True)
            words = [word for word in words if not word.startswith("$")]
            if words and words[0] in ("longtake", "make"):
                found.append((page, shlex.join(words)))
    return found


@pytest.mark.parametrize("page, program", blocks("python"))
def test_python_blocks_run(
    page: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vis_core").symlink_to(ROOT / "vis_core")
    images = [frame.image for frame in square_frames(6, 96, 128, labels=(0, 1))]
    write_video(tmp_path / "clip.mp4", images, 10)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, page, "exec"), {})


def test_there_are_python_blocks_and_commands() -> None:
    assert blocks("python")
    assert len(commands()) > 30


@pytest.mark.parametrize("page, command", commands())
def test_commands_are_understood(page: str, command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words[1:] if "=" not in word][0] in targets, page
        return
    name, *arguments = words[1:]
    if not name.startswith("-"):
        load_verb(name, VERBS[name]).make_context(name, arguments)


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
