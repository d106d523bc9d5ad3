"""The report's PromQL. It needs no recording rules, and nothing newer than Prometheus 2.42 has.

**Growth.** `increase()` alone is wrong here twice: it does not see what a counter already was when it was born (a
process starts, fails five times and is scraped: 5 is its first value), and it extrapolates, so that a process of three
scrapes counts half as much again. A process has series of its own (`service.instance.id`), so its counters normally
only grow: the growth is then the largest value minus the last one from before, and nothing before means 0. Where
an instance id is kept over a restart the counter is reset, and `increase()` is what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from multiagents_otel.semconv import COUNTER, HISTOGRAM, Instrument

SPIKE_ERRORS: Final = 10
SPIKE_SECONDS: Final = 300
"""The guide's error spike: more than 10 errors in 5 minutes."""

_UNSEEN: Final = 6 * 3600
"""Seconds for which Prometheus may have been blind without that a counter is taken for a new one."""
_UNIT_SUFFIX: Final = {"s": "_seconds", "By": "_bytes", "%": "_percent"}
_EVERYTHING: Final = "multiagents_.+_total"


def label(attribute: str) -> str:
    """Return an attribute's name as a Prometheus label."""
    return attribute.replace(".", "_")


def metric(instrument: Instrument) -> str:
    """Return an instrument's name in Prometheus, as the Collector's exporter makes it."""
    name = instrument.name.replace(".", "_") + _UNIT_SUFFIX.get(instrument.unit, "")
    return f"{name}_total" if instrument.kind == COUNTER else name


class Queries:
    """The queries for all services, or for some, by ``service.name``."""

    def __init__(self, services: Iterable[str] = ()) -> None:
        self._jobs = "|".join(map(_literally, services))

    def growth(self, instrument: Instrument, window: float, by: Iterable[str] = (), part: str = "") -> str:
        """By how much a counter, or a part of a histogram (``bucket``, ``sum``), has grown, summed by labels."""
        name = f"{metric(instrument)}_{part}" if instrument.kind == HISTOGRAM else metric(instrument)
        series, width = self._selector(name), _ms(window)
        before = max(window, _UNSEEN)
        grown = (
            f"max_over_time({series}[{width}]) - "
            f"(last_over_time({series}[{_ms(before)}] offset {width}) or 0 * max_over_time({series}[{width}]))"
        )
        steady = f"resets({series}[{_ms(window + before)}]) == 0"
        labels = ", ".join(map(label, by))
        return f"sum by ({labels}) ({grown} and {steady} or increase({series}[{width}]))"

    def reached(self, counter: Instrument) -> str:
        """What a counter has come to."""
        return f"sum({self._selector(metric(counter))})"

    def processes(self, window: float) -> str:
        """How many processes of each service have told something."""
        return f"count by (job) (count by (job, instance) (last_over_time({self._any()}[{_ms(window)}])))"

    def first_seen(self, window: float) -> str:
        """The samples by which one sees when Prometheus began to look: raw, a range selector."""
        return f'{{__name__=~"up|multiagents_events_total"}}[{_ms(window)}]'

    def seen(self) -> str:
        """Something wherever Prometheus has looked."""
        return 'count({__name__=~"up|multiagents_events_total"})'

    def ours(self) -> str:
        """Something wherever there was something of ours."""
        return f"count({self._any()})"

    def _any(self) -> str:
        return self._selector("", f'__name__=~"{_EVERYTHING}"')

    def _selector(self, name: str, *matchers: str) -> str:
        jobs = (f'job=~"{self._jobs}"',) if self._jobs else ()
        return f"{name}{{{', '.join((*matchers, *jobs))}}}"


def _ms(length: float) -> str:
    return f"{round(length * 1000)}ms"


def _literally(text: str) -> str:
    r"""Return a text as a regular expression that matches it alone, inside a PromQL string: `a.b` is `a\\.b`."""
    escaped = "".join(f"\\{each}" if each in r"\.+*?()|[]{}^$" else each for each in text)
    return escaped.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
