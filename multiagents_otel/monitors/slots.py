"""Totals over rolling windows: count, sum, least, greatest and latest, in a bounded number of slots."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Final

_LEVELS: Final = ((10.0, 600.0), (60.0, 7_200.0), (3_600.0, math.inf))
"""The widths of slots, and the longest window that each is for, in seconds."""


class Totals:
    """What a number of values come to."""

    __slots__ = ("count", "latest", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = -math.inf
        self.latest = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.count += 1
        self.total += value
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)
        self.latest = value

    def merge(self, later: Totals) -> None:
        """The values of another one, which came later."""
        self.count += later.count
        self.total += later.total
        self.minimum = min(self.minimum, later.minimum)
        self.maximum = max(self.maximum, later.maximum)
        self.latest = later.latest if later.count else self.latest

    @property
    def average(self) -> float:
        """The mean; 0.0 of no values."""
        return self.total / self.count if self.count else 0.0


class _Level:
    """Slots of one width; what the closed ones of the last window came to is kept for the next question."""

    __slots__ = ("_closed", "_known", "_slots", "longest", "width")

    def __init__(self, width: float, longest: float) -> None:
        self.width = width
        self.longest = longest
        self._slots: deque[tuple[int, Totals]] = deque(maxlen=math.ceil(longest / width) + 1)
        self._known = (-1, -1)
        self._closed = Totals()

    def add(self, value: float, now: float) -> None:
        number = int(now // self.width)
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append((number, Totals()))
        self._slots[-1][1].add(value)

    def since(self, start: float) -> Totals:
        first = int(start // self.width)
        within = Totals()
        if not self._slots or self._slots[-1][0] < first:
            return within
        last, still_open = self._slots[-1]
        if self._known != (first, last):
            self._known, self._closed = (first, last), Totals()
            for number, totals in self._slots:
                if first <= number < last:
                    self._closed.merge(totals)
        within.merge(self._closed)
        within.merge(still_open)
        return within


class Slots:
    """One figure's totals. A window begins at a slot's edge: up to a slot's width earlier than asked for.

    Slots of 10 s serve windows up to 10 minutes, of a minute up to 2 hours, of an hour all longer ones. The caller
    sees to it that nobody else is inside.

    Args:
        retention_seconds: the longest window.
    """

    __slots__ = ("_levels", "_retention")

    def __init__(self, retention_seconds: float) -> None:
        self._retention = retention_seconds
        self._levels = [_Level(width, min(longest, retention_seconds)) for width, longest in _LEVELS]

    def add(self, value: float) -> None:
        """A value, now."""
        now = time.monotonic()
        for level in self._levels:
            level.add(value, now)

    def over(self, window_seconds: float) -> Totals:
        """The totals of a window that ends now."""
        window = min(window_seconds, self._retention)
        level = next(level for level in self._levels if window <= level.longest)
        return level.since(time.monotonic() - window)
