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
        self.latest = later.latest

    @property
    def average(self) -> float:
        """The mean; 0.0 of no values."""
        return self.total / self.count if self.count else 0.0


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
        self._levels: tuple[deque[tuple[int, Totals]], ...] = tuple(
            deque(maxlen=math.ceil(min(longest, retention_seconds) / width) + 1) for width, longest in _LEVELS
        )

    def add(self, value: float) -> None:
        """A value, now."""
        now = time.monotonic()
        for (width, _longest), slots in zip(_LEVELS, self._levels, strict=True):
            number = int(now // width)
            if not slots or slots[-1][0] != number:
                slots.append((number, Totals()))
            slots[-1][1].add(value)

    def over(self, window_seconds: float) -> Totals:
        """The totals of a window that ends now."""
        window = min(window_seconds, self._retention)
        level = next(at for at, (_width, longest) in enumerate(_LEVELS) if window <= longest)
        first = int((time.monotonic() - window) // _LEVELS[level][0])
        within = Totals()
        for number, totals in self._levels[level]:
            if number >= first:
                within.merge(totals)
        return within
