"""Rolling windows: figures in slots of time, and their sums over the minutes that somebody asks for.

What is counted goes into the slot of the present 10 s. A closed slot stays for windows up to 10 minutes, and
is added to slots of a minute (windows up to 2 hours) and of an hour (longer ones). Sums can be added and taken
away, distributions too, so a window that has been asked for before is brought up to date by what came and what
left since. Time is the monotonic clock's: a wall clock that is set does no harm.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final

from multiagents_otel.monitors.figures import Figures, Table, add_table

_SLOT_SECONDS: Final = 10
_LEVELS: Final = ((_SLOT_SECONDS, 10.0), (60, 120.0))
"""Seconds of a slot, and up to how many minutes a window is made of such slots; beyond it: hours."""
_HOUR_SECONDS: Final = 3600
_SPARE: Final = 10
"""Slots that are kept beyond the longest window, so that a window not asked for of late can still be caught up."""
_CAUGHT_UP: Final = 60
_REMEMBERED: Final = 16
_MAX_HOURS: Final = 24 * 31


class _Level:
    """Closed slots of one length."""

    __slots__ = ("keep", "slots", "width")

    def __init__(self, width: int, minutes: float) -> None:
        self.width = width
        self.keep = math.ceil(minutes * 60 / width) + _SPARE
        self.slots: dict[int, Table] = {}

    def close(self, index: int, table: Table) -> None:
        """Take in a slot of 10 s; forget what is too old for any window."""
        index = index * _SLOT_SECONDS // self.width
        if self.width == _SLOT_SECONDS:
            self.slots[index] = table
        else:
            add_table(self.slots.setdefault(index, {}), table)
        for old in [old for old in self.slots if old < index - self.keep]:
            del self.slots[old]


class _Window:
    """The sums of closed slots over some minutes, kept from one question to the next."""

    __slots__ = ("level", "seconds", "start", "table", "upto")

    def __init__(self, minutes: float, level: _Level) -> None:
        self.seconds = minutes * 60
        self.level = level
        self.start = 0  # the first slot (of the level) that is in it
        self.upto = -1  # the first 10 s slot that is not in it yet
        self.table: Table = {}

    def catch_up(self, now: float, fine: _Level) -> Table:
        """The sums up to now, without the slot that is open."""
        level, current = self.level, int(now // _SLOT_SECONDS)
        start = int((now - self.seconds) // level.width)
        known = 0 <= current - self.upto <= _CAUGHT_UP and self.upto >= 0
        if known and self.start >= int(now // level.width) - level.keep:
            closed = self.upto * _SLOT_SECONDS // level.width
            for index in range(self.start, min(start, closed)):
                if (expired := level.slots.get(index)) is not None:
                    add_table(self.table, expired, -1)
            for index in range(self.upto, current):
                if index * _SLOT_SECONDS // level.width >= start and (came := fine.slots.get(index)) is not None:
                    add_table(self.table, came)
        else:
            self.table = {}
            for index, table in level.slots.items():
                if index >= start:
                    add_table(self.table, table)
        self.start, self.upto = start, current
        return self.table


class Windows:
    """Figures by name over any number of the last minutes.

    Args:
        hours: how far back they reach, at least.
        distribution: whether quantiles can be told.
    """

    def __init__(self, hours: float, *, distribution: bool = True) -> None:
        self._distribution = distribution
        self._max_minutes = 60.0 * min(max(hours, 24.0), _MAX_HOURS)
        levels = [_Level(width, minutes) for width, minutes in _LEVELS]
        self._levels = (*levels, _Level(_HOUR_SECONDS, self._max_minutes))
        self._windows: dict[float, _Window] = {}
        self._began = self._now = time.monotonic()
        self._index = int(self._now // _SLOT_SECONDS)
        self._until = (self._index + 1.0) * _SLOT_SECONDS
        self._open: Table = {}

    @property
    def now(self) -> float:
        """The time of what is being counted (monotonic seconds)."""
        return self._now

    @property
    def age(self) -> float:
        """Seconds since they were made."""
        return self._now - self._began

    def figures(self, name: str) -> Figures:
        """What is counted now goes in here."""
        figures = self._open.get(name)
        if figures is None:
            figures = self._open[name] = Figures()
        return figures

    def measure(self, figures: Figures, milliseconds: float) -> None:
        """Add a duration to what :meth:`figures` gave."""
        figures.measure(milliseconds, distribution=self._distribution)

    def take_back(self, name: str, figures: Figures, outcome: str) -> bool:
        """What was counted as finished in ``figures`` goes on after all; False if that was too long ago to tell."""
        if self._open.get(name) is not figures:  # its slot was closed, and added up, meanwhile
            fine, *coarser = self._levels
            index = next((index for index, table in fine.slots.items() if table.get(name) is figures), None)
            if index is None:
                return False
            less = Figures()
            setattr(less, outcome, -1)
            for level in coarser:
                level.slots[index * _SLOT_SECONDS // level.width][name].add(less)
            self._windows.clear()
        setattr(figures, outcome, getattr(figures, outcome) - 1)
        return True

    def forget(self, name: str) -> None:
        """A name is gone, and its figures with it."""
        tables = [table for level in self._levels for table in level.slots.values()]
        for table in (self._open, *tables, *(window.table for window in self._windows.values())):
            table.pop(name, None)

    def advance(self, now: float) -> None:
        """It is ``now`` (monotonic seconds): what comes next belongs there. Time does not go back."""
        if now > self._now:
            self._now = now
            if now >= self._until:
                self._turn()

    def _turn(self) -> None:
        if self._open:
            for level in self._levels:
                level.close(self._index, self._open)
            self._open = {}
        self._index = int(self._now // _SLOT_SECONDS)
        self._until = (self._index + 1.0) * _SLOT_SECONDS

    def minutes(self, asked: object) -> float:
        """The minutes of a window as somebody asked for them, as far as they can be that; else 60."""
        if isinstance(asked, (int, float)) and not isinstance(asked, bool) and 0 < asked < math.inf:
            return float(min(asked, self._max_minutes))
        return 60.0

    def window(self, minutes: float, names: Sequence[str] | None = None) -> Table:
        """The figures of the last ``minutes`` (as :meth:`minutes` gives them), of all names or of some."""
        window = self._windows.pop(minutes, None)
        if window is None:
            if len(self._windows) >= _REMEMBERED:
                del self._windows[next(iter(self._windows))]
            at = next((at for at, (_width, longest) in enumerate(_LEVELS) if minutes <= longest), len(_LEVELS))
            window = _Window(minutes, self._levels[at])
        self._windows[minutes] = window
        closed = window.catch_up(self._now, self._levels[0])
        wanted = closed.keys() | self._open.keys() if names is None else names
        told: Table = {}
        for name in wanted:
            figures, present = closed.get(name), self._open.get(name)
            if figures is not None:
                told[name] = figures.copy()
                if present is not None:
                    told[name].add(present)
            elif present is not None:
                told[name] = present.copy()
        return told
