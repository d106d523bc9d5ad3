"""Plots as SVG: no script, no size to speak of, sharp on paper, and drawn in the page's colours by its style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from itertools import groupby
from typing import Final

Values = Sequence["float | None"]
"""One value for each part of the time; None: there is nothing to tell."""

_WIDTH: Final = 640
_HEIGHT: Final = 210
_LEFT: Final = 60
_RIGHT: Final = 8
_TOP: Final = 10
_BOTTOM: Final = 24
_TICKS: Final = 4
_TIME_TICKS: Final = 6
_MINUTE: Final = 60
_TWO_DAYS: Final = 2 * 86_400

_ROW: Final = 24
_LABELS: Final = 180
_VALUES: Final = 130
_LONGEST_LABEL: Final = 26

_STRIP: Final = 10


@dataclass(frozen=True)
class Series:
    """One line, or one part of each column; ``look`` is the class that the style sheet colours."""

    name: str
    look: str
    values: Values


@dataclass(frozen=True)
class Bar:
    """A horizontal bar, and what is written beside it."""

    label: str
    value: float
    text: str


@dataclass(frozen=True)
class Time:
    """The axis: when each part starts, in seconds since the epoch, and how long each is."""

    starts: Sequence[float]
    slot: float

    def name(self, index: int) -> str:
        """Return a part's start, as the axis has it."""
        return self._start(index, self._clock() if self.slot * len(self.starts) <= _TWO_DAYS else "%d %b")

    def when(self, index: int) -> str:
        """Return a part's start in full."""
        return self._start(index, f"%d %b {self._clock()} UTC")

    def _clock(self) -> str:
        return "%H:%M" if self.slot >= _MINUTE else "%H:%M:%S"

    def _start(self, index: int, pattern: str) -> str:
        return datetime.fromtimestamp(self.starts[index], timezone.utc).strftime(pattern)


def columns(title: str, time: Time, parts: Sequence[Series], line: Series | None) -> str:
    """Return stacked columns of counts, with a line over them if given."""
    heights = [sum(part.values[index] or 0 for part in parts) for index in range(len(time.starts))]
    plot = _Plot(
        time, _round_up([*heights, *(line.values if line else ())], least=_TICKS), lambda value: f"{value:,.0f}"
    )
    drawn = [plot.column(index, parts) for index in range(len(time.starts))]
    return plot.figure(title, [*parts, *([line] if line else [])], [*drawn, *(plot.line(line) if line else ())])


def lines(
    title: str,
    time: Time,
    series: Sequence[Series],
    say: Callable[[float], str],
    *,
    ends: tuple[float, float] | None = None,
) -> str:
    """Return lines over time, broken where there is nothing to tell. ``ends`` are the axis's, where not 0 is best."""
    low, high = ends or (0.0, _round_up(value for each in series for value in each.values))
    plot = _Plot(time, high, say, low)
    return plot.figure(title, series, [part for each in series for part in plot.line(each)])


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Return horizontal bars, their labels before and their values after them."""
    height = _ROW * len(rows) + 4
    most = max((row.value for row in rows), default=0) or 1
    room = _WIDTH - _LABELS - _VALUES
    drawn = []
    for index, row in enumerate(rows):
        y = index * _ROW + 2
        width = max(1.0, room * row.value / most)
        drawn.append(
            f'<text class="label" x="{_LABELS - 8}" y="{y + 15}" text-anchor="end">{escape(_cut(row.label))}</text>'
            f'<rect class="bar" x="{_LABELS}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 8}">'
            f"<title>{escape(f'{row.label}: {row.text}')}</title></rect>"
            f'<text x="{_LABELS + width + 6:.1f}" y="{y + 15}">{escape(row.text)}</text>'
        )
    return _figure(title, _svg(title, height, drawn), ())


def strip(values: Values, told: str) -> str:
    """Return a small heat strip: a cell for each part, the darker the more. ``told`` is what it says, in words."""
    most = max((value for value in values if value), default=1)
    width = len(values) * _STRIP
    cells = (_cell(index, value or 0, most) for index, value in enumerate(values))
    opened = f'<svg class="strip" viewBox="0 0 {width} 16" width="{width}" height="16" role="img"'
    return f'{opened} aria-label="{escape(told)}">{"".join(cells)}</svg>'


def _cell(index: int, value: float, most: float) -> str:
    look = f'class="heat" style="opacity:{0.25 + 0.75 * value / most:.2f}"' if value else 'class="cold"'
    return f'<rect {look} x="{index * _STRIP}" width="{_STRIP - 1}" height="16"/>'


class _Plot:
    """The area of a plot over time: its scales, axes and what is drawn in it."""

    def __init__(self, time: Time, top: float, say: Callable[[float], str], bottom: float = 0.0) -> None:
        self._time = time
        self._bottom, self._top = bottom, top
        self._say = say
        self._step = (_WIDTH - _LEFT - _RIGHT) / len(time.starts)

    def figure(self, title: str, series: Sequence[Series], drawn: Iterable[str]) -> str:
        return _figure(title, _svg(title, _HEIGHT, [*self._axes(), *drawn]), series)

    def column(self, index: int, parts: Sequence[Series]) -> str:
        base, drawn, told = 0.0, [], []
        for part in parts:
            count = part.values[index] or 0
            if count:
                drawn.append(
                    f'<rect class="{part.look}" x="{self._x(index) + self._step * 0.08:.1f}" '
                    f'y="{self._y(base + count):.1f}" width="{self._step * 0.84:.1f}" '
                    f'height="{self._y(base) - self._y(base + count):.1f}"/>'
                )
                told.append(f"{part.name} {self._say(count)}")
            base += count
        words = f"{self._time.when(index)}: {', '.join(told) or 'none'}"
        return f"<g><title>{escape(words)}</title>{''.join(drawn)}</g>"

    def line(self, series: Series) -> Iterator[str]:
        known = [(index, value) for index, value in enumerate(series.values) if value is not None]
        # What lies side by side makes one line: then index minus place in the list stays the same.
        for _, group in groupby(enumerate(known), lambda each: each[1][0] - each[0]):
            points = [point for _, point in group]
            path = " ".join(f"{self._middle(index):.1f},{self._y(value):.1f}" for index, value in points)
            yield f'<polyline class="line {series.look}" points="{path}"/>'
            for index, value in points:
                words = f"{self._time.when(index)}: {series.name} {self._say(value)}"
                yield (
                    f'<circle class="{series.look}" cx="{self._middle(index):.1f}" cy="{self._y(value):.1f}" r="2.4">'
                    f"<title>{escape(words)}</title></circle>"
                )

    def _axes(self) -> Iterator[str]:
        for number in range(_TICKS + 1):
            value = self._bottom + (self._top - self._bottom) * number / _TICKS
            y = self._y(value)
            yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(self._say(value))}</text>'
        count = len(self._time.starts)
        for index in range(0, count, max(1, math.ceil(count / _TIME_TICKS))):
            yield f'<text x="{self._x(index):.1f}" y="{_HEIGHT - 6}">{escape(self._time.name(index))}</text>'

    def _x(self, index: int) -> float:
        return _LEFT + index * self._step

    def _middle(self, index: int) -> float:
        return self._x(index) + self._step / 2

    def _y(self, value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - min(1.0, (value - self._bottom) / (self._top - self._bottom)))


def _round_up(values: Iterable[float | None], least: float = 0.0) -> float:
    """Return an end for an axis: a value, not below these, that can be divided by four and still be read."""
    most = max([least, *(value for value in values if value)])
    if not most:
        return 1.0
    decade = 10.0 ** math.floor(math.log10(most))
    return float(next(step * decade for step in (1, 2, 4, 6, 8, 10) if step * decade >= most))


def _svg(title: str, height: float, drawn: Iterable[str]) -> str:
    inside = "".join(drawn)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">{inside}</svg>'


def _figure(title: str, svg: str, series: Sequence[Series]) -> str:
    legend = "".join(f'<span><i class="{each.look}"></i>{escape(each.name)}</span>' for each in series)
    legend = f'<p class="legend">{legend}</p>' if legend else ""
    return f'<figure><figcaption>{escape(title)}</figcaption>{legend}<div class="plot">{svg}</div></figure>'


def _cut(label: str) -> str:
    return (
        label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL // 2]}…{label[-_LONGEST_LABEL // 2 + 1 :]}"
    )
