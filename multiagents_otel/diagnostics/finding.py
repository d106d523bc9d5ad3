"""What the doctor found: a sentence, and what to do about it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

FINE: Final = "fine"
WARNING: Final = "warning"
FAULT: Final = "fault"
"""Telemetry is lost or wrong, or the application's messages are: the doctor's exit status is 1."""


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: ``fine``, ``warning`` or ``fault``.
        topic: a word or two, the same for the same check.
        what: what was found, in the user's terms.
        advice: what to do; "" where nothing has to be done.
    """

    level: str
    topic: str
    what: str
    advice: str = ""


def from_json(value: Any) -> Finding:
    """The finding that another process wrote down.

    Raises:
        TypeError, ValueError: it is not one.
    """
    level, topic, what, advice = map(str, value)
    return Finding(level, topic, what, advice)
