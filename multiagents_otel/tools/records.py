"""What is read out of OTLP: the few fields of spans, log events and metric points that the command shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Union

Value = Union[str, bool, int, float, bytes, None, "tuple[Value, ...]"]
"""An attribute's value. Arrays are tuples and maps are Pairs, so that every value can be hashed."""


class Pairs(tuple[tuple[str, Value], ...]):
    """The entries of a map."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Pairs{super().__repr__()}"


Attributes = Mapping[str, Value]


class Labels:
    """The attributes by which a series, a resource or a scope is identified, sorted.

    Two are equal if their values are of one type too: 1, 1.0 and true are different values, and NaN is equal to itself.
    """

    __slots__ = ("_identity", "items")

    def __init__(self, attributes: Attributes) -> None:
        self.items = tuple(sorted(attributes.items(), key=lambda item: item[0]))
        self._identity = repr(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        return f"Labels({self._identity})"


@dataclass(frozen=True)
class Resource:
    """The process that something comes from, identified by all of its attributes.

    ``instance`` is the one that names the process; empty where none does.
    """

    service: str
    instance: str
    attributes: Labels


@dataclass(frozen=True)
class Scope:
    """The library that has recorded something."""

    name: str
    version: str
    attributes: Labels


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
    """One span. Ids are lower-case hex, times ns since the epoch, 0 where they are not recorded."""

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
        return max(0, self.end - self.start) if self.start else 0


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
    scope: Scope
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
