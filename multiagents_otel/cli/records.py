"""What is read out of OTLP: the few fields of spans, log events and metric points that the command shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Union

Value = Union[str, bool, int, float, bytes, None, "tuple[Value, ...]"]
"""An attribute's value. Arrays are tuples and maps are tuples of pairs, so that every value can be hashed."""

Attributes = Mapping[str, Value]
Labels = tuple[tuple[str, Value], ...]
"""A metric point's attributes, sorted: with them a series is identified."""


@dataclass(frozen=True)
class Resource:
    """The process that something comes from. ``instance`` is empty where nothing tells processes apart."""

    service: str
    instance: str


@dataclass(frozen=True)
class SpanEvent:
    name: str
    time: int
    attributes: Attributes


@dataclass(frozen=True)
class Link:
    trace_id: str
    span_id: str


@dataclass(frozen=True)
class Span:
    """One span. Ids are lower-case hex, times ns since the epoch; ``end`` is 0 where the span has none."""

    resource: Resource
    trace_id: str
    span_id: str
    parent_id: str  # empty: a root
    name: str
    start: int
    end: int
    error: bool
    description: str
    attributes: Attributes
    events: tuple[SpanEvent, ...]
    links: tuple[Link, ...]

    @property
    def duration(self) -> int:
        """Nanoseconds, never negative (clocks of two machines may meet in one span)."""
        return max(0, self.end - self.start)


@dataclass(frozen=True)
class LogEvent:
    """A log record that is about a workflow. ``trace_id`` and ``span_id`` are empty where the record has none."""

    resource: Resource
    trace_id: str
    span_id: str
    sampled: bool
    name: str
    time: int
    severity: str
    attributes: Attributes


class Kind(Enum):
    """What a metric measures, and so how its points add up."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "updowncounter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Buckets:
    """Explicit buckets: ``counts`` has one more entry than ``bounds``. Both empty: none were recorded."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ExponentialBuckets:
    """Buckets (base**i, base**(i+1)] with base 2**(2**-scale); negative values mirrored."""

    scale: int
    zero: int
    zero_threshold: float
    positive: tuple[tuple[int, int], ...]  # index, count; only those that are not 0
    negative: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Distribution:
    """What a histogram's point says. ``total``, ``low`` and ``high`` are None where they are not recorded."""

    count: int
    total: float | None
    low: float | None
    high: float | None
    buckets: Buckets | ExponentialBuckets


@dataclass(frozen=True)
class Point:
    """One value of one series: a number, or a distribution for histograms."""

    labels: Labels
    start: int
    time: int
    value: float | Distribution


@dataclass(frozen=True)
class Metric:
    resource: Resource
    scope: str
    name: str
    unit: str
    kind: Kind
    delta: bool
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Batch:
    """What one line of a file holds. ``other_logs`` counts the log records that are not about a workflow's course."""

    spans: tuple[Span, ...] = ()
    logs: tuple[LogEvent, ...] = ()
    metrics: tuple[Metric, ...] = ()
    other_logs: int = 0
