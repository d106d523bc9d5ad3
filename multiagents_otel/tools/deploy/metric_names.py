"""Rules that keep one sender's metric names from replacing another sender's metrics in Prometheus.

The Collector's Prometheus exporter serves one type for each name. A metric with the name of another one and another
type, or with the name that a series of a histogram has, replaces it for all processes. So a metric that has a known
name and another type gets a new name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from multiagents_otel import semconv

_OTHER: Final = "other"
"""Prefix of a name that is taken."""

_UNITS: Final = {"s": "_seconds", "By": "_bytes", "%": "_percent"}
"""What the exporter appends for the units of the contract."""

_HISTOGRAM: Final = (
    "(metric.type == METRIC_DATA_TYPE_HISTOGRAM or metric.type == METRIC_DATA_TYPE_EXPONENTIAL_HISTOGRAM)"
)
_MONOTONIC: Final = "(metric.type == METRIC_DATA_TYPE_SUM and metric.is_monotonic == true)"
_GAUGE: Final = (
    "(metric.type == METRIC_DATA_TYPE_GAUGE or metric.type == METRIC_DATA_TYPE_SUM and metric.is_monotonic == false)"
)

_TYPES: Final = {
    semconv.COUNTER: _MONOTONIC,
    semconv.HISTOGRAM: _HISTOGRAM,
    semconv.GAUGE: _GAUGE,
    semconv.UP_DOWN_COUNTER: _GAUGE,
}

_CUSTOM: Final = semconv.custom_metric("")

_NEIGHBOURS: Final = (
    "db.client.operation.duration",
    "gen_ai.client.operation.duration",
    "gen_ai.client.token.usage",
    "http.client.request.duration",
    "http.server.request.duration",
    "rpc.client.duration",
    "rpc.server.duration",
)
"""Histograms of OpenTelemetry's semantic conventions that instrumentations beside this one export."""

_SUFFIXES: Final = "seconds|milliseconds|microseconds|nanoseconds|minutes|hours|days|bytes|kibibytes|mebibytes"


_NAME: Final = 'metric.cache["name"]'
"""The name with the signs of a name in Prometheus, without what the exporter appends."""


def _one(names: Iterable[str]) -> str:
    return f"(?:{'|'.join(sorted(name.replace('.', '_') for name in names))})"


def _own(kind: str) -> str:
    """Condition: the metric has a name of the contract and its type."""
    rows = [row for row in semconv.INSTRUMENTS if _TYPES[row.kind] == _TYPES[kind]]
    names = _one(row.name for row in rows)
    if kind == semconv.HISTOGRAM:
        names = f"(?:{names}|{_one([_CUSTOM])}.+)"
    ends = {_UNITS[row.unit] for row in rows if row.unit in _UNITS} | ({"_total"} if kind == semconv.COUNTER else set())
    return f'{_TYPES[kind]} and IsMatch({_NAME}, "^{names}{_one(ends)}?$")'


def _histograms() -> list[str]:
    messaging = [row.name for row in semconv.MESSAGING_INSTRUMENTS if row.kind == semconv.HISTOGRAM]
    return [*messaging, *_NEIGHBOURS]


def statements() -> list[str]:
    """Make the statements of the transform processor, in the context ``metric``."""
    own = " or ".join(f"({_own(kind)})" for kind in (semconv.COUNTER, semconv.HISTOGRAM, semconv.GAUGE))
    rename = f'set(metric.name, Concat(["{_OTHER}", metric.name], "_"))'
    known = f'"^{_one(_histograms())}(?:_(?:{_SUFFIXES}))?(?:_(?:bucket|count|sum))?$"'
    parts = f'"(?:^|_)(?:bucket|sum|(?:{_SUFFIXES}|duration|latency)_count)$"'
    return [
        f"- '{line}'"
        for line in (
            f'{rename} where IsMatch({_NAME}, "^(?:multiagents(?:_.+)?)?$") and not ({own})',
            f"{rename} where not {_HISTOGRAM} and IsMatch({_NAME}, {known})",
            f'set(metric.name, Concat([metric.name, "gauge"], "_")) where {_GAUGE} and IsMatch({_NAME}, {parts})',
        )
    ]
