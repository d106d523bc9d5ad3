"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTE_STEPS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def duration(seconds: float) -> str:
    """Return a length of time in up to 8 columns: ``830 ns``, ``12.3 ms``, ``1.24 s``, ``2m 05s``, ``1h 02m``."""
    if math.isnan(seconds) or math.isinf(seconds):
        return plain(seconds)
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds == 0:
        return "0 s"
    if seconds < 59.95:
        # Rounded to three digits before the unit is chosen: 999.9 ms is 1.00 s.
        digits = float(f"{seconds:.3g}")
        unit, size = next(
            ((name, size) for name, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)) if digits >= size), ("ns", 1e-9)
        )
        return f"{sign}{_three_digits(digits / size)} {unit}"
    whole = round(seconds)
    if whole < 3600:
        return f"{sign}{whole // 60}m {whole % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{sign}{minutes // 60}h {minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{sign}{hours // 24}d {hours % 24:02d}h"


def nanoseconds(value: int) -> str:
    """Return a length of time that is given in nanoseconds."""
    return duration(value / 1e9)


def clock(time: int) -> str:
    """Return a time in ns since the epoch as ``2026-11-24 07:58:12.123 UTC``."""
    try:
        moment = _EPOCH + timedelta(microseconds=time // 1000)
    except OverflowError:
        return f"{time} ns"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def quantity(value: float, unit: str) -> str:
    """Return a metric's value in its unit, where it is one that people read: seconds, bytes, per cent."""
    if unit in _SECONDS:
        return duration(value * _SECONDS[unit])
    if unit == "By":
        return _bytes(value)
    return f"{plain(value)} %" if unit == "%" else plain(value)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 span`` or ``2 spans``; ``plural`` where it is not made with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def plain(value: float) -> str:
    """Return a number: whole ones in full, others to four digits."""
    if isinstance(value, int) or (not math.isinf(value) and value == round(value, 0) and abs(value) < 1e15):
        return f"{int(value)}"
    return f"{value:.4g}"


def _bytes(value: float) -> str:
    size, step = value, 0
    while abs(size) >= 1024 and step < len(_BYTE_STEPS) - 1:
        size /= 1024
        step += 1
    return f"{plain(size) if step == 0 else _three_digits(size)} {_BYTE_STEPS[step]}"


def _three_digits(value: float) -> str:
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{decimals}f}"
