"""Writes docs/commands.md: every verb with its options and examples, from the command line itself.

``python -m tests.commands`` writes it; ``tests/jobs/test_options.py`` fails when it is out of date.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.cli import VERBS
from jobs.command import VerbEntry, load_verb

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
HEAD = """# Commands

`python -m tests.commands` writes this page from the command line; `longtake VERB --help` prints
the same text for one verb.

- Exit codes: 0 done, 1 internal error, 2 bad input, 3 too many failed videos, 4 a service did not
  answer, 130 stopped with Ctrl-C, 143 stopped with SIGTERM.
- An error is one line on standard error. `--debug` logs more and shows tracebacks.
- With `--json`, standard output is one JSON document and nothing else.
- `longtake --install-completion` completes verbs, options, presets and tables in the shell.
- Former spellings of options remain valid: `--to` and `--zip` for `--out`, `--tracking` for
  `--tracking-uri`, `--plan` for `--dry-run`, and `--images` of `scenes` for `--num-images`.
"""


def page() -> str:
    """Returns the page: a section for each group, with one for each verb below it."""
    parts = [HEAD]
    for group in dict.fromkeys(verb.group for verb in VERBS.values()):
        parts.append(f"## {group}\n")
        parts += [_section(name, verb) for name, verb in VERBS.items() if verb.group == group]
    return "\n".join(parts)


def _section(name: str, verb: VerbEntry) -> str:
    command = load_verb(name, verb)
    details = command.help.partition("\n\n")[2].strip()
    params = [param for param in command.params if not param.hidden and param.name != "debug"]
    rows = [f"| {_spelling(param)} | {_text(param)} |" for param in params]
    lines = [f"### longtake {name}\n", f"{verb.summary}.\n", *([details + "\n"] if details else [])]
    lines += ["| option | |", "| --- | --- |", *rows, ""]
    examples = command.epilog.splitlines()[1:] if command.epilog else []
    lines += ["```sh", *(example.strip() for example in examples), "```", ""] if examples else []
    return "\n".join(lines)


def _spelling(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.metavar or param.name}`"
    kind = "" if param.is_flag else f" {param.metavar or '|'.join(param.type_descriptor.choices)}"
    return f"`{param.opts[0]}{kind}`".replace("|", "\\|")


def _text(param: Any) -> str:
    return " ".join(part.strip().replace("|", "\\|") for part in _parts(param) if part)


def _parts(param: Any) -> Iterator[str]:
    yield param.help or ""
    if param.required:
        yield "Required."
    elif isinstance(param.show_default, str):
        yield f"Default: {param.show_default}."
    elif param.show_default and param.default is not None and param.default is not False:
        yield f"Default: {param.default}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
