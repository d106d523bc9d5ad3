"""Which time a report is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

_UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile("".join(rf"(?:(?P<{unit}>\d{{1,9}}){unit})?" for unit in _UNITS))
_LEAST: Final = 60
_MOST: Final = 366 * 86_400

_NICE: Final = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800)
_FEWEST_SLOTS: Final = 20
_MOST_SLOTS: Final = 40
_USUAL_SLOTS: Final = 24


@dataclass(frozen=True)
class Period:
    """From ``start`` (not included) to ``end`` (included), in seconds since the epoch."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start

    def before(self) -> Period:
        """Return the period of the same length that ends where this one starts."""
        return Period(self.start - self.length, self.start)

    def since(self, start: float) -> Period:
        """Return what is left of it after ``start``."""
        return Period(max(self.start, start), self.end)

    def slot(self) -> float:
        """Return the seconds of the parts in which it is drawn: a round length that divides it, where there is one."""
        return next(
            (float(each) for each in _NICE if self.length % each == 0 and _fits(self.length / each)),
            self.length / _USUAL_SLOTS,
        )


def _fits(slots: float) -> bool:
    return _FEWEST_SLOTS <= slots <= _MOST_SLOTS


def seconds(text: str) -> int:
    """Return the seconds of a duration as Prometheus writes it: ``24h``, ``7d``, ``1h30m``.

    ValueError if it is not one, or not from a minute to a year.
    """
    match = _DURATION.fullmatch(text.strip())
    found = {unit: int(number) for unit, number in match.groupdict().items() if number} if match else {}
    if not found:
        raise ValueError("not a duration such as 90m, 24h, 7d or 1d12h")
    length = sum(_UNITS[unit] * number for unit, number in found.items())
    if not _LEAST <= length <= _MOST:
        raise ValueError("must be from 1m to 366d")
    return length


def moment(text: str) -> float:
    """Return the seconds since the epoch of an ISO 8601 time, UTC where it names no zone. ValueError if it is none."""
    try:
        time = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise ValueError("not a time such as 2026-11-24T08:00 (UTC) or 2026-11-24T09:00+01:00") from None
    if not 1970 <= time.year < 9999:
        raise ValueError("must be from 1970 to 9998")
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def day_and_time(time: float) -> str:
    """Return ``2026-11-24 08:00``, in UTC."""
    return f"{datetime.fromtimestamp(time, timezone.utc):%Y-%m-%d %H:%M}"
