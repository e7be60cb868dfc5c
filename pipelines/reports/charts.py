"""Line charts for HTML pages; lines are SVG, but text is HTML, so that phones show it well.

A chart has no script and no colours of its own. The page's style sheet defines ``--series-1`` to
``--series-8`` for light and dark mode.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_POINTS = 600  # per line; more would not be visible, so neighbours are averaged
_COLOURS = 8
_SMOOTHING = 0.85  # weight of the past in the exponential mean of a line
_TICKS = 5

_Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str  # in the legend
    x: tuple[float, ...]  # ascending
    y: tuple[float, ...]  # non-finite values are skipped
    smooth: bool = True  # draws the exponential mean over faint values


@dataclass(frozen=True)
class Mark:
    """A labelled vertical line, such as the start of a stage."""

    x: float
    name: str


def line_chart(
    series: Sequence[Series], *, label: str, x_label: str, marks: Sequence[Mark] = ()
) -> str:
    """Draws lines as HTML; returns an empty string if no series has a finite value.

    The exponential mean restarts at every mark. The vertical axis runs from 0 to a tick above the
    highest smoothed value. Raw values above that tick are cut off, so that a single spike does not
    flatten everything else. ``label`` is for screen readers; ``marks`` are in ascending order.
    """
    lines = [line for line in (_cut(each, marks) for each in series) if line.strong]
    if not lines:
        return ""
    frame, y_ticks = _axes(lines, marks)
    paths = "".join(
        f'<path class="{kind} s{number % _COLOURS + 1}" d="{"".join(map(frame.path, segments))}"/>'
        for number, line in enumerate(lines)
        for kind, segments in (("raw", line.faint), ("mean", line.strong))
        if segments
    )
    return (
        f'<figure class="chart" role="img" aria-label="{escape(label, quote=True)}">'
        f"{_legend(lines)}"
        f'<div class="plot"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none" '
        f'aria-hidden="true">{frame.grid(y_ticks, marks)}{paths}</svg>'
        f"{_axis_labels(frame, y_ticks, marks)}</div>"
        f'<figcaption class="axis">{escape(x_label)}</figcaption></figure>'
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """Chooses ticks that cover a range and are 1, 2, 2.5 or 5 times a power of ten apart."""
    raw = max(high - low, 1e-12) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def short_number(value: float) -> str:
    """Formats a number for an axis, for example 1200 as 1.2k and 0.250 as 0.25."""
    return f"{value / 1000:.4g}k" if abs(value) >= 1000 else f"{value:.4g}"


@dataclass(frozen=True)
class _Frame:
    """The mapping from values to the 1000 x 1000 units of the drawing."""

    x_low: float
    x_high: float
    y_high: float

    def x(self, value: float) -> float:
        return 1000 * (value - self.x_low) / (self.x_high - self.x_low)

    def y(self, value: float) -> float:
        return 1000 * (1 - value / self.y_high)

    def path(self, points: _Points) -> str:
        steps = " ".join(f"{self.x(x):.1f} {min(max(self.y(y), -50), 1050):.1f}" for x, y in points)
        return f"M{steps}" if len(points) > 1 else f"M{steps} h0.1"

    def grid(self, y_ticks: Sequence[float], marks: Sequence[Mark]) -> str:
        lines = [f'<path class="grid" d="M0 {self.y(tick):.1f}H1000"/>' for tick in y_ticks]
        lines += [
            f'<path class="mark" d="M{self.x(mark.x):.1f} 0V1000"/>'
            for mark in marks
            if self.x_low < mark.x < self.x_high
        ]
        return "".join(lines)


@dataclass(frozen=True)
class _Line:
    """A line's segments between marks; ``strong`` is the running mean, or the unsmoothed line."""

    name: str
    faint: list[_Points]
    strong: list[_Points]


def _cut(line: Series, marks: Sequence[Mark]) -> _Line:
    """Cuts a line at the marks, drops non-finite values and averages neighbours."""
    starts = [mark.x for mark in marks]
    groups: dict[int, _Points] = {}
    for x, y in zip(line.x, line.y, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            groups.setdefault(sum(start < x for start in starts), []).append((x, y))
    segments = [_thinned(groups[key]) for key in sorted(groups)]
    if not line.smooth:
        return _Line(line.name, [], segments)
    return _Line(line.name, segments, [_smoothed(segment) for segment in segments])


def _axes(lines: Sequence[_Line], marks: Sequence[Mark]) -> tuple["_Frame", list[float]]:
    """Chooses the range of both axes; returns it with the ticks of the vertical axis."""
    points = [point for line in lines for segment in line.strong for point in segment]
    places = [*(x for x, _ in points), *(mark.x for mark in marks)]
    low, high = min(places), max(places)
    peak = max(y for _, y in points)
    y_ticks = nice_ticks(0.0, peak * 1.05 if peak > 0 else 1.0)
    return _Frame(low, high if high > low else low + 1, y_ticks[-1]), y_ticks


def _thinned(points: _Points) -> _Points:
    size = math.ceil(len(points) / _POINTS)
    if size <= 1:
        return points
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def _smoothed(points: _Points) -> _Points:
    """Computes the exponential mean, with Adam's bias correction."""
    total, weight, smooth = 0.0, 0.0, []
    for x, y in points:
        total = _SMOOTHING * total + (1 - _SMOOTHING) * y
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smooth.append((x, total / weight))
    return smooth


def _legend(lines: Sequence[_Line]) -> str:
    items = "".join(
        f'<li><span class="swatch s{number % _COLOURS + 1}"></span>{escape(line.name)} '
        f"<b>{short_number(line.strong[-1][-1][1])}</b></li>"
        for number, line in enumerate(lines)
    )
    return f'<ul class="legend">{items}</ul>'


def _axis_labels(frame: _Frame, y_ticks: Sequence[float], marks: Sequence[Mark]) -> str:
    """Places axis numbers and mark names over the drawing."""
    labels = [
        f'<span class="tick y" style="top:{frame.y(tick) / 10:.2f}%">{short_number(tick)}</span>'
        for tick in y_ticks
    ]
    for tick in nice_ticks(frame.x_low, frame.x_high):
        if frame.x_low <= tick <= frame.x_high:
            place = f'style="left:{frame.x(tick) / 10:.2f}%"'
            labels.append(f'<span class="tick x" {place}>{short_number(tick)}</span>')
    for mark in marks:
        if mark.x < frame.x_high:
            place = f'style="left:{max(frame.x(mark.x), 0) / 10:.2f}%"'
            labels.append(f'<span class="name" {place}>{escape(mark.name)}</span>')
    return "".join(labels)
