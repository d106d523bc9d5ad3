"""The ledger: the one set of sums that instruments read when they are collected, and monitors later.

Counting is a dict update under a lock of our own, so that it is exact across threads and costs a
fraction of ``Counter.add``; nothing is aggregated until somebody looks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from multiagents_otel import semconv
from multiagents_otel.semconv import Instrument
from multiagents_otel.telemetry.event import utf8

Key = tuple[str, ...]

_LIMITS: Final = {"worker": 200, "workflow": 200, "step": 200, "error": 50, "event": 200}


class Bounded(dict[str, str]):
    """Lets the first ``limit`` names through; every further one is ``_OTHER``."""

    __slots__ = ("_limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, name: str) -> str:
        if len(self) >= self._limit:
            return semconv.OTHER
        return self.setdefault(name, utf8(name))

    __call__ = dict.__getitem__  # a name that is known costs no frame of Python


class Ledger:
    """Sums by instrument and attribute values, and the bounded names that may be such values."""

    def __init__(self) -> None:
        self.worker = Bounded(_LIMITS["worker"])
        self.workflow = Bounded(_LIMITS["workflow"])
        self.step = Bounded(_LIMITS["step"])
        self.error = Bounded(_LIMITS["error"])
        self.event = Bounded(_LIMITS["event"])
        # Reentrant: a signal's handler, or a coroutine that is collected as garbage, may count in the midst of a count.
        self._lock = threading.RLock()
        self._sums: dict[str, dict[Key, int]] = {row.name: {} for row in semconv.INSTRUMENTS}
        self._sums.update({row.name: {} for row in semconv.MESSAGING_INSTRUMENTS})

    def add(self, row: Instrument, key: Key, amount: int = 1) -> None:
        """Add to one sum. ``key`` holds the values of ``row.attributes`` in their order, bounded by the caller."""
        sums = self._sums[row.name]
        with self._lock:
            try:
                sums[key] += amount  # without a call in it, which is where a signal's handler gets its turn
            except KeyError:
                sums[key] = sums.setdefault(key, 0) + amount

    def register(self, row: Instrument, keys: Iterable[Key]) -> None:
        """Have these sums exported at 0 until something is counted: ``increase()`` cannot see a series born at 1."""
        sums = self._sums[row.name]
        with self._lock:
            for key in keys:
                sums.setdefault(key, 0)

    def sums(self, row: Instrument) -> dict[Key, int]:
        """A copy of an instrument's sums. ``dict.copy`` is atomic: a reader never holds the writers' lock."""
        return self._sums[row.name].copy()

    def after_fork(self) -> None:
        """In a forked child: counting starts at 0 under a lock that no thread of the parent can have held."""
        self._lock = threading.RLock()
        for sums in self._sums.values():
            for key in sums:
                sums[key] = 0
