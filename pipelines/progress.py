"""Progress display for long steps, as a bar on a terminal and as plain lines in a log."""

import sys
import time
from collections.abc import Callable
from typing import Any, Self, TextIO

LINE_EVERY_S = 5.0  # often enough to show progress, rarely enough for a log file


class Progress:
    """A counter of finished items that shows the rate and the time left.

    Args:
        total: Number of items; None if unknown.
        unit: Plural name of the items ("videos").
        label: Name of the step ("annotate").
        stream: Stream to write to, which gets a bar if it is a terminal, otherwise lines.
        clock: Function that returns seconds since any fixed moment.
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
        """Counts ``amount`` more items as done; 0 only refreshes the display.

        Args:
            amount: Items finished since the last call.
            note: Short text to show next to the counts, such as a loss; None keeps the last one.
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
        """Shows the final state, unless the last line already showed it."""
        if self._bar is not None:
            self._bar.close()
        elif self._line_done != self.done:
            self._write_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> str:
        """Returns a line with the label, counts, rate, time left or taken, and note."""
        elapsed_s = self._clock() - self._start_s
        rate = self.done / elapsed_s if elapsed_s > 0 else 0.0
        done = str(self.done) if self._total is None else f"{self.done}/{self._total}"
        parts = [f"{self._label} {done} {self._unit}", f"{rate:.2f} {self._unit}/s"]
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
    """Formats a duration, for example as 42s, 3m05s or 2h14m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
