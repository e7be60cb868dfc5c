"""Tells a person how far a long step is: a bar on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable
from typing import Any, Self, TextIO

LINE_EVERY_S = 5.0  # often enough to see that it lives, seldom enough for a log that is kept


class Progress:
    """Counts what is done of a step and shows rate and time left.

    Args:
        total: How many there are to do, or None if that is not known.
        unit: What is counted, in the plural ("videos").
        label: What is being done ("annotate").
        stream: Where it is shown; a terminal gets a bar, anything else lines.
        clock: Gives seconds from any start.
        line_every_s: Seconds between two lines.
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        label: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        line_every_s: float = LINE_EVERY_S,
    ) -> None:
        self.done = 0
        self._total, self._unit, self._label = total, unit, label
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._line_every_s = line_every_s
        self._start_s = self._line_s = clock()
        self._note = ""
        self._line = ""
        self._line_done = -1
        self._bar = self._new_bar() if self._stream.isatty() else None

    def update(self, amount: int = 1, note: str | None = None) -> None:
        """Counts ``amount`` more as done; 0 only refreshes what is shown.

        Args:
            amount: What was done since the last call.
            note: A few words to show beside it, such as a loss; None keeps those before.
        """
        self.done += amount
        if note is not None:
            self._note = note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(amount)
        elif self._clock() - self._line_s >= self._line_every_s:
            self._write_line()

    def close(self) -> None:
        """Shows the last state, unless the last line said it already."""
        if self._bar is not None:
            self._bar.close()
        elif self._line_done != self.done:
            self._write_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> str:
        """One line: label, done of total, rate, time left or taken, note."""
        elapsed_s = self._clock() - self._start_s
        rate = self.done / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{self._label} {self.done}"]
        if self._total is not None:
            parts[0] += f"/{self._total}"
        parts[0] += f" {self._unit}"
        parts.append(f"{rate:.2f} {self._unit}/s")
        if self._total is None or self.done >= self._total:
            parts.append(f"took {in_words(elapsed_s)}")
        elif rate > 0:
            parts.append(f"left {in_words((self._total - self.done) / rate)}")
        else:
            parts.append(f"running {in_words(elapsed_s)}")
        return "  ".join([*parts, self._note] if self._note else parts)

    def _write_line(self) -> None:
        self._line_s = self._clock()
        line = self.describe()
        if line != self._line:
            self._line, self._line_done = line, self.done
            self._stream.write(line + "\n")
            self._stream.flush()

    def _new_bar(self) -> Any:
        from tqdm import tqdm

        return tqdm(
            total=self._total,
            unit=f" {self._unit}",
            desc=self._label,
            file=self._stream,
            dynamic_ncols=True,
        )


def in_words(seconds: float) -> str:
    """Writes a duration as 42s, 3m05s or 2h14m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
