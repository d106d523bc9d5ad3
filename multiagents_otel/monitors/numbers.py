"""Numbers that come from outside: whatever they are, something sensible comes of them."""

from __future__ import annotations

import math


def number(value: object, default: float, *, least: float = 0.0) -> float:
    """A number of ``least`` or more; anything else is the default."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < math.inf:
        return value
    return default


def milliseconds(value: object) -> float | None:
    """A duration; None for what can be none."""
    told = number(value, -1.0)
    return float(told) if told >= 0 else None
