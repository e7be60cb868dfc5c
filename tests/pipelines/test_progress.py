"""The progress of a long step."""

import io

import pytest

from pipelines.progress import Progress, in_words
from tests.helpers.waiting import Clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_one_line_in_each_interval_and_one_at_the_end():
    clock, log = Clock(), io.StringIO()
    progress = Progress(20, "videos", "annotate", stream=log, clock=clock, line_every_s=5)
    for _ in range(12):
        clock.now += 1
        progress.update()
    progress.close()
    assert log.getvalue().splitlines() == [
        "annotate 5/20 videos  1.00 videos/s  left 15s",
        "annotate 10/20 videos  1.00 videos/s  left 10s",
        "annotate 12/20 videos  1.00 videos/s  left 8s",
    ]


def test_a_finished_step_says_how_long_it_took():
    clock, log = Clock(), io.StringIO()
    with Progress(2, "steps", "train", stream=log, clock=clock) as progress:
        clock.now += 130
        progress.update(2, note="loss 0.5")
    assert log.getvalue() == "train 2/2 steps  0.02 steps/s  took 2m10s  loss 0.5\n"


def test_a_step_that_does_not_advance_still_speaks():
    clock, log = Clock(), io.StringIO()
    progress = Progress(None, "frames", "decode", stream=log, clock=clock)
    clock.now += 6
    progress.update(0, note="waiting")
    assert log.getvalue() == "decode 0 frames  0.00 frames/s  took 6s  waiting\n"


def test_a_terminal_gets_a_bar():
    terminal = Terminal()
    with Progress(3, "videos", "annotate", stream=terminal) as progress:
        progress.update(3, note="1 failed")
    assert "annotate" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "1 failed" in terminal.getvalue()


@pytest.mark.parametrize(
    "seconds, words", [(0, "0s"), (59.4, "59s"), (60, "1m00s"), (8040, "2h14m")]
)
def test_durations_are_written_in_words(seconds, words):
    assert in_words(seconds) == words
