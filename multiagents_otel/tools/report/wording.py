"""A report's numbers as people read them."""

from __future__ import annotations

import math

from multiagents_otel.tools.distributions import Estimate
from multiagents_otel.tools.quantities import duration
from multiagents_otel.tools.report.figures import Timed

NOTHING = "-"


def length(seconds: float) -> str:
    """Return a length of time without what is 0 in it: ``24h``, ``7d``, ``1h 30m``, ``2m 30s``."""
    rest = round(seconds) if seconds < 3600 else round(seconds / 60) * 60
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if unit == "d" and rest < 2 * size:
            continue  # 24h and 36h are read more easily
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return " ".join(parts) or f"{seconds:.1f}s"


def number(value: float) -> str:
    """Return a whole number with thousands marked."""
    return f"{round(value):,}"


def percent(part: float | None) -> str:
    """Return a share, from 0 to 1: ``98.3 %``, ``99.98 %``. Never 100 % or 0 % where that is not wholly true."""
    if part is None:
        return NOTHING
    if part in (0, 1):
        return f"{part:.0%}".replace("%", " %")
    places = 2 if part >= 0.99 or part < 0.01 else 1
    scale = 10**places
    # Towards the worse: 99.996 % is no 100.00 %. A billionth, since 0.983 * 1000 is 982.999... to a computer.
    whole = math.floor(part * 100 * scale + 1e-9) if part >= 0.5 else max(1, round(part * 100 * scale))
    return f"{whole / scale:.{places}f} %"


def estimate(value: Estimate | None) -> str:
    """Return a percentile; ``>10m 00s`` where it lies in the last bucket, which has no upper end."""
    if value is None:
        return NOTHING
    return f"{'>' if value.beyond else ''}{duration(value.value)}"


def percentiles(timed: Timed, *wanted: float) -> tuple[str, ...]:
    """Return some percentiles of what was timed."""
    return tuple(estimate(timed.percentile(each)) for each in wanted)
