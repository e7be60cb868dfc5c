"""The command line: exit codes, signals, broken pipes, usage errors, start-up time."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from jobs.command import VerbEntry

LIBRARIES = "import typer, rich"


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Replaces ``longtake toy`` by a function."""

    def install(run: Callable[[], int]) -> None:
        module = types.ModuleType("toy_verb")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "toy_verb", module)
        monkeypatch.setitem(cli.VERBS, "toy", VerbEntry("toy_verb", "Toys", "Play"))

    return install


def test_sigterm_stops_in_order_with_an_exit_code_of_its_own(
    verb: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    tidied = []

    def run() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            return 0
        finally:
            tidied.append(True)

    verb(run)
    assert cli.main(["toy"]) == 143
    assert "longtake toy: stopped; the same command resumes from here" in capsys.readouterr().err
    assert tidied == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_verb_that_ends_in_order_by_itself_has_the_code_of_the_signal(
    verb: Callable[[Callable[[], int]], None],
) -> None:
    def run() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            return 130
        return 0

    verb(run)
    assert cli.main(["toy"]) == 143


def test_ctrl_c_keeps_its_code(verb: Callable[[Callable[[], int]], None]) -> None:
    def run() -> int:
        raise KeyboardInterrupt

    verb(run)
    assert cli.main(["toy"]) == 130


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"longtake {version('longtake')}\n"


@pytest.mark.parametrize(
    ("given", "hint"), [("anotate", "did you mean annotate? "), ("[red]x", "")]
)
def test_an_unknown_verb_is_named_and_the_nearest_one_too(
    given: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([given]) == 2
    printed = capsys.readouterr()
    wanted = f"longtake: unknown verb {given!r}; {hint}longtake --help lists them\n"
    assert (printed.out, printed.err) == ("", wanted)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("given", [["--help"], ["validate", "--help"]])
def test_a_reader_that_leaves_is_no_error(given: list[str], unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *given],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.usefixtures("capfd")
def test_another_pipe_that_breaks_is_an_error(
    verb: Callable[[Callable[[], int]], None],
) -> None:
    def run() -> int:
        raise BrokenPipeError

    verb(run)
    with pytest.raises(BrokenPipeError):
        cli.main(["toy"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pack", "--results", "[red]x", "--out", "y.zip"], "[red]x: expected a JSON file"),
        (["pack", "--results", "r"], "missing option '--out'"),
        (["split", "--gt"], "option '--gt' requires an argument"),
        (["evaluate", "--long-from", "x"], "--long-from: expected a valid integer"),
        (["evaluate", "--long-from", "0"], "--long-from: expected 1 or more, found '0'"),
        (["train", "--dry"], "no such option: --dry (Possible options: --dry-run"),
        (["config", "shew"], "'shew' is not one of 'show', 'schema'"),
        (["annotate", "v", "\x1b[31m", "--model", "m", "--out", "o"], "unexpected extra argument"),
    ],
)
def test_bad_input_is_one_plain_line_that_names_the_verb_and_the_option(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"longtake {words[0]}: ")
    assert message in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "\x1b" not in printed.err


def test_help_lists_every_verb_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    text = capsys.readouterr().out
    assert cli.main(["-h"]) == 0
    assert capsys.readouterr().out == text
    places = [
        text.index(f"\n{group}:\n")
        for group in dict.fromkeys(verb.group for verb in cli.VERBS.values())
    ]
    assert places == sorted(places)
    for name, verb in cli.VERBS.items():
        assert f"\n  {name} " in text
        assert verb.summary in text


def on_terminal(command: list[str]) -> str:
    """Returns the output of a program on a terminal."""
    main_end, program_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=program_end, env=environment)
    os.close(program_end)
    output = b""
    with suppress(OSError):  # Linux: the program has ended
        while block := os.read(main_end, 65536):
            output += block
    process.wait()
    os.close(main_end)
    return output.decode()


def test_help_has_panels_on_a_terminal_and_is_plain_in_a_pipe() -> None:
    command = [sys.executable, "-m", "jobs.cli", "--help"]
    colourful = on_terminal(command)
    assert "\x1b[" in colourful
    assert "─ Annotation ─" in re.sub(r"\x1b\[[0-9;]*m", "", colourful)
    plain = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert plain.isascii() and "\x1b" not in plain


def test_help_loads_no_verb_and_starts_about_as_fast_as_its_libraries() -> None:
    def seconds(*words: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    pairs = [(seconds("-m", "jobs.cli", "--help"), seconds("-c", LIBRARIES)) for _ in range(5)]
    assert min(ours for ours, _ in pairs) < 1.6 * min(theirs for _, theirs in pairs)
    code = "import sys; from jobs.cli import main; main(['--help']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    modules = set(loaded.split())
    assert not {"pydantic", "numpy", "torch", "ray", "mlflow"} & modules
    assert not {verb.module for verb in cli.VERBS.values()} & modules


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("longtake ann", ["annotate"]),
        ("longtake t", ["train", "tune", "tiny-weights"]),
        (
            "longtake export R --",
            ["--out", "--glob", "--params-hash", "--json", "--debug", "--help"],
        ),
        ("longtake train idol_r50_ytvis1", ["idol_r50_ytvis19"]),
        ("longtake ablate winner_", ["winner_1", "winner_2"]),
        ("longtake config s", ["show", "schema"]),
    ],
)
def test_a_shell_completes_verbs_options_and_values(line: str, completions: list[str]) -> None:
    variables = {
        "_LONGTAKE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == completions


def test_the_completion_script_is_printed_and_installed(tmp_path: Path) -> None:
    variables = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "jobs.cli"]
    options: Any = {"env": {**os.environ, **variables}, "capture_output": True, "text": True}
    shown = subprocess.run([*command, "--show-completion", "bash"], check=True, **options)
    assert "_LONGTAKE_COMPLETE=complete_bash" in shown.stdout
    subprocess.run([*command, "--install-completion", "bash"], check=True, **options)
    (script,) = tmp_path.rglob("longtake.sh")
    assert script.read_text().strip() == shown.stdout.strip()
    assert str(script) in (tmp_path / ".bashrc").read_text()
