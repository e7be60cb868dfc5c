"""The options of all verbs: one spelling, examples that parse, old names, an up-to-date page."""

import json
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import VERBS, command_line, main
from jobs.command import load_verb, spelled_out
from jobs.options import OLD_SPELLINGS, SEVERAL_VALUES
from tests import commands

LOADED = {name: load_verb(name, verb) for name, verb in VERBS.items()}
EXAMPLES = [
    shlex.split(line)[1:]
    for command in LOADED.values()
    for line in (command.epilog or "").splitlines()[1:]
]


def options() -> list[tuple[str, Any]]:
    """Returns every option of every verb, with the verb's name."""
    pairs = [(name, param) for name, command in LOADED.items() for param in command.params]
    return [(name, param) for name, param in pairs if param.param_type_name == "option"]


def test_an_option_has_one_help_one_type_and_one_spelling_over_all_verbs() -> None:
    forms: dict[str, set[Any]] = defaultdict(set)
    spellings: dict[str, set[str]] = defaultdict(set)
    for _, option in options():
        assert len(option.opts) == 1, f"{option.opts}: old spellings belong to OLD_SPELLINGS"
        form = (option.help, option.metavar, option.bare_type(), option.multiple, option.min)
        forms[option.opts[0]].add(form)
        spellings[option.help].add(option.opts[0])
    assert {name: found for name, found in forms.items() if len(found) > 1} == {}
    assert {text: names for text, names in spellings.items() if len(names) > 1} == {}
    assert set(OLD_SPELLINGS.values()) | set(SEVERAL_VALUES) <= set(forms)


def test_help_texts_are_sentences_without_markup() -> None:
    texts = [verb.summary + "." for verb in VERBS.values()]
    texts += [param.help for command in LOADED.values() for param in command.params]
    texts += [command.help for command in LOADED.values()]
    for text in texts:
        assert text.strip().endswith("."), text
        assert "[" not in text, "rich reads brackets as markup"


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_every_example_parses(words: list[str]) -> None:
    verb, *arguments = words[: words.index(">")] if ">" in words else words
    root = command_line().make_context("longtake", [verb], resilient_parsing=True)
    LOADED[verb].make_context(verb, arguments, parent=root)


def test_every_verb_has_an_example() -> None:
    assert {words[0] for words in EXAMPLES} == set(VERBS)


def test_old_spellings_and_several_values_become_todays_form() -> None:
    def today(verb: str, line: str) -> str:
        return " ".join(spelled_out(line.split(), LOADED[verb].params))

    assert today("export", "R --to D --glob --to") == "R --out D --glob --out"
    assert today("pack", "--results r --zip=z.zip") == "--results r --out=z.zip"
    assert today("register", "m --tracking sqlite:///x") == "m --tracking-uri sqlite:///x"
    assert today("annotate", "v --plan --json") == "v --dry-run --json"
    assert today("scenes", "--images 4") == "--num-images 4"
    assert today("validate", "f --images d") == "f --images d"
    line = "--inputs a b c --out d -- --to x"
    assert today("ensemble", line) == "--inputs a --inputs b --inputs c --out d -- --to x"
    assert today("ablate", "t --seeds=3 --seeds 0 -1") == "t --seeds=3 --seeds 0 --seeds -1"


def test_data_verbs_follow_one_another_as_in_their_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in EXAMPLES:
        if words[0] in ("scenes", "split") or words[:2] == ["validate", "scenes/coco"]:
            assert main(words) == 0, words
    capsys.readouterr()
    check = ["split", "--gt", "parts/train.json", "--check", "parts/holdout.json", "--json"]
    assert main(check) == 0
    assert json.loads(capsys.readouterr().out)["leaks"] == 0
    assert main(["validate", "parts/train.json", "parts/holdout.json", "--json"]) == 0
    assert [row["errors"] for row in json.loads(capsys.readouterr().out)] == [[], []]


def test_the_page_of_commands_is_true() -> None:
    page = commands.PAGE.read_text(encoding="utf-8")
    assert page == commands.page(), "python -m tests.commands writes it"
