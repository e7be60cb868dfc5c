"""Errors and values as shown in messages."""

import pytest

from vis_core.errors import first_line, last_line


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("one\n two \n"), "one", "two"),
        ("\none\ntwo", "one", "two"),
        (KeyError(), "KeyError", "KeyError"),
        (ValueError(" \n"), "ValueError", "ValueError"),
        ("", "", ""),
    ],
)
def test_the_first_and_the_last_line_of_an_error(
    error: Exception | str, first: str, last: str
) -> None:
    assert (first_line(error), last_line(error)) == (first, last)
