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

from ddsketch import LogarithmicMapping

_SLOT_SECONDS: Final = 10
_LEVELS: Final = ((_SLOT_SECONDS, 10.0), (60, 120.0))
"""Seconds of a slot, and up to how many minutes a window is made of such slots; beyond it: hours."""
_HOUR_SECONDS: Final = 3600
_SPARE: Final = 10
"""Slots that are kept beyond the longest window, so that a window not asked for of late can still be caught up."""
_CAUGHT_UP: Final = 60
_REMEMBERED: Final = 16
_MAX_HOURS: Final = 24 * 31

# A value in a bin is within this of any other one in it: below 1 %, so that rounding does not lead beyond that.
_BINS: Final = LogarithmicMapping(0.0095)
_key_of: Final = _BINS.key
_LEAST: Final = 1e-9
_MOST: Final = 1e15
_ZERO: Final = -(1 << 30)
"""The bin of what is too small, or too large, to be a duration."""


class Figures:
    """Sums over some time, and the distribution of the durations among them.

    Attributes:
        seen: first seen in this time; ``success``, ``error`` (without timeouts) and ``timeout``: finished in it.
        count, total: number and sum of the durations (ms).
        bins: how many durations there are in each of ddsketch's logarithmic bins; most slots hit but a few, so that
            this takes a fraction of what a whole DDSketch does, and can be taken away again.
        sizes, size: number and sum of payload sizes (bytes).
    """

    __slots__ = ("bins", "count", "error", "seen", "size", "sizes", "success", "timeout", "total")

    def __init__(self) -> None:
        self.seen = self.success = self.error = self.timeout = self.count = self.sizes = self.size = 0
        self.total = 0.0
        self.bins: dict[int, int] = {}

    def measure(self, milliseconds: float, *, distribution: bool = True) -> None:
        """One duration, not negative."""
        self.count += 1
        self.total += milliseconds
        if distribution:
            bins = self.bins
            key = _key_of(milliseconds) if _LEAST <= milliseconds <= _MOST else _ZERO
            bins[key] = bins.get(key, 0) + 1

    def add(self, other: Figures, sign: int = 1) -> None:
        """Add other figures, or with ``sign=-1`` take them away again."""
        self.seen += sign * other.seen
        self.success += sign * other.success
        self.error += sign * other.error
        self.timeout += sign * other.timeout
        self.sizes += sign * other.sizes
        self.size += sign * other.size
        self.count += sign * other.count
        self.total = self.total + sign * other.total if self.count else 0.0
        bins = self.bins
        for key, number in other.bins.items():
            left = bins.get(key, 0) + sign * number
            if left:
                bins[key] = left
            else:
                del bins[key]

    @property
    def finished(self) -> int:
        """How many finished, one way or another."""
        return self.success + self.error + self.timeout

    @property
    def failed(self) -> int:
        """How many ended in an error; a timeout is one."""
        return self.error + self.timeout

    @property
    def average(self) -> float:
        """The mean duration (ms), exact; 0.0 if there is none."""
        return max(0.0, self.total / self.count) if self.count else 0.0

    @property
    def success_rate(self) -> float:
        """Percent of what finished; 0.0 if nothing did."""
        return 100.0 * self.success / self.finished if self.finished else 0.0

    @property
    def error_rate(self) -> float:
        """Percent of what finished; 0.0 if nothing did."""
        return 100.0 * self.failed / self.finished if self.finished else 0.0

    def quantiles(self, *shares: float) -> list[float]:
        """Nearest rank: the least duration that this share of all is not above, within 1 %; 0.0 if there is none."""
        number = sum(self.bins.values())
        if not number:
            return [0.0] * len(shares)
        found: list[float] = []
        keys = iter(sorted(self.bins))
        key, upto = _ZERO, 0
        for share in shares:  # ascending
            rank = max(1, math.ceil(share * number - 1e-9))
            while upto < rank:
                key = next(keys)
                upto += self.bins[key]
            found.append(0.0 if key == _ZERO else float(_BINS.value(key)))
        return found


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The same quantile of a few values, exact; 0.0 of none."""
    ranked = sorted(values)
    return ranked[max(1, math.ceil(share * len(ranked) - 1e-9)) - 1] if ranked else 0.0


Table = dict[str, Figures]
"""Figures by name: of an event's class, or of a worker."""


def _add(table: Table, other: Table, sign: int = 1) -> None:
    for name, figures in other.items():
        mine = table.get(name)
        if mine is None:
            mine = table[name] = Figures()
        mine.add(figures, sign)


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
            _add(self.slots.setdefault(index, {}), table)
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
                    _add(self.table, expired, -1)
            for index in range(self.upto, current):
                if index * _SLOT_SECONDS // level.width >= start and (came := fine.slots.get(index)) is not None:
                    _add(self.table, came)
        else:
            self.table = {}
            for index, table in level.slots.items():
                if index >= start:
                    _add(self.table, table)
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
            return min(float(asked), self._max_minutes)
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
        told: Table = {}
        for table in (closed, self._open):
            _add(told, table if names is None else {name: table[name] for name in names if name in table})
        return told


def sum_of(table: Table) -> Figures:
    """The figures of all names together."""
    whole = Figures()
    for figures in table.values():
        whole.add(figures)
    return whole
