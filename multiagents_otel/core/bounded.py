"""A map of a bounded size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(OrderedDict[K, V]):
    """A map in which a new entry takes the place of the oldest one, once it is full.

    It is an ``OrderedDict``: a plain dict whose first entries are removed takes ever longer to find its first entry.

    Args:
        limit: entries that it holds.
        evicted: called with each entry that had to go.
    """

    def __init__(self, limit: int, evicted: Callable[[K, V], object] | None = None) -> None:
        super().__init__()
        self._limit = limit
        self._evicted = evicted

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self._limit and key not in self:
            oldest = self.popitem(last=False)
            if self._evicted is not None:
                self._evicted(*oldest)
        super().__setitem__(key, value)
