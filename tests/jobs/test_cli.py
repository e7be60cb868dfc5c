"""What the command line makes of signals."""

import argparse
import os
import signal
import sys
import types
from collections.abc import Callable

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
