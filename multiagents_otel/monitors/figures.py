"""Figures: counts and durations that can be added and taken away again, and their quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from ddsketch import LogarithmicMapping

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

    def copy(self) -> Figures:
        """The same figures, to add to."""
        made = Figures()
        for name in self.__slots__:
            setattr(made, name, getattr(self, name))
        made.bins = self.bins.copy()
        return made

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


def add_table(table: Table, other: Table, sign: int = 1) -> None:
    """Add figures name by name, or with ``sign=-1`` take them away again."""
    for name, figures in other.items():
        mine = table.get(name)
        if mine is None:
            mine = table[name] = Figures()
        mine.add(figures, sign)


def sum_of(table: Table) -> Figures:
    """The figures of all names together."""
    whole = Figures()
    for figures in table.values():
        whole.add(figures)
    return whole
