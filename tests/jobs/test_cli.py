"""What the command line makes of signals, of its version and of verbs that it does not have."""

import argparse
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.metadata import version

import pytest

from jobs import cli


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Lets ``longtake toy`` run a function."""

    def install(run: Callable[[], int]) -> None:
        module = types.ModuleType("toy_verb")
        module.add_arguments = lambda parser: None  # type: ignore[attr-defined]  # noqa: ARG005

        def run_it(_: argparse.Namespace) -> int:
            return run()

        module.run = run_it  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "toy_verb", module)
        monkeypatch.setitem(cli.VERBS, "toy", ("toy_verb", "a toy"))

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
    assert "longtake toy: stopped; the same command goes on from here" in capsys.readouterr().err
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
    ("given", "hint"), [("anotate", "did you mean annotate? "), ("xyzzy", ""), ("--verbose", "")]
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
