"""OTLP JSON's metrics to records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from multiagents_otel.tools import json_fields as fields
from multiagents_otel.tools.json_fields import BadLineError, JsonObject
from multiagents_otel.tools.otlp_values import attributes
from multiagents_otel.tools.records import (
    Buckets,
    Distribution,
    ExponentialBuckets,
    Kind,
    Labels,
    Metric,
    Point,
    Resource,
    Scope,
)

_TEMPORALITIES = (
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
)
_DELTA = _TEMPORALITIES.index("AGGREGATION_TEMPORALITY_DELTA")
_NO_RECORDED_VALUE = 0x01
_OLD_KINDS = ("intGauge", "doubleGauge", "intSum", "doubleSum", "intHistogram", "doubleHistogram", "doubleSummary")

_ReadValue = Callable[[JsonObject], float | Distribution | None]


def read_metric(resource: Resource, scope: Scope, entry: JsonObject) -> Metric | None:
    """Return a metric with its points, None for a kind that is not known here. Raises BadLineError."""
    for key, read in _READERS.items():
        if fields.get(entry, key) is None:
            continue
        data = fields.object_at(entry, key)
        return Metric(
            resource=resource,
            scope=scope,
            name=fields.text(entry, "name"),
            unit=fields.text(entry, "unit"),
            kind=_kind(key, data),
            delta=fields.enum(data, "aggregationTemporality", _TEMPORALITIES) == _DELTA,
            points=tuple(_points(data, read)),
        )
    for key in _OLD_KINDS:
        if fields.get(entry, key) is not None:
            raise BadLineError(f"{key} is of OTLP before 0.9, whose metrics can't be read")
    return None


def _kind(key: str, data: JsonObject) -> Kind:
    if key == "gauge":
        return Kind.GAUGE
    if key == "sum":
        return Kind.COUNTER if fields.boolean(data, "isMonotonic") else Kind.UP_DOWN_COUNTER
    return Kind.HISTOGRAM


def _points(data: JsonObject, read: _ReadValue) -> Iterator[Point]:
    def read_point(entry: JsonObject) -> Point | None:
        value = None if fields.unsigned(entry, "flags") & _NO_RECORDED_VALUE else read(entry)
        if value is None:
            return None
        return Point(
            labels=Labels(attributes(entry)),
            start=fields.unsigned(entry, "startTimeUnixNano"),
            time=fields.unsigned(entry, "timeUnixNano"),
            value=value,
        )

    return (point for point in fields.objects(data, "dataPoints", read_point) if point is not None)


def _number(entry: JsonObject) -> float | None:
    value = fields.get(entry, "asInt")
    return fields.optional_number(entry, "asDouble") if value is None else fields.as_whole(value, "asInt")


def _histogram(entry: JsonObject) -> Distribution:
    bounds = tuple(fields.as_number(bound, "explicitBounds") for bound in fields.array(entry, "explicitBounds"))
    counts = tuple(fields.as_unsigned(count, "bucketCounts") for count in fields.array(entry, "bucketCounts"))
    if counts and len(counts) != len(bounds) + 1:
        raise BadLineError("bucketCounts and explicitBounds do not fit together")
    return _distribution(entry, Buckets(bounds if counts else (), counts))


def _exponential(entry: JsonObject) -> Distribution:
    return _distribution(
        entry,
        ExponentialBuckets(
            scale=fields.whole(entry, "scale"),
            zero=fields.unsigned(entry, "zeroCount"),
            zero_threshold=fields.optional_number(entry, "zeroThreshold") or 0.0,
            positive=_indexed(fields.object_at(entry, "positive")),
            negative=_indexed(fields.object_at(entry, "negative")),
        ),
    )


def _summary(entry: JsonObject) -> Distribution:
    # Summaries come from Prometheus receivers only; their quantiles can't be merged, so count and sum must do.
    # Unlike a histogram's, the sum is always recorded: it is left out in JSON where it is 0.
    return replace(_distribution(entry, Buckets((), ())), total=fields.optional_number(entry, "sum") or 0.0)


def _distribution(entry: JsonObject, buckets: Buckets | ExponentialBuckets) -> Distribution:
    return Distribution(
        count=fields.unsigned(entry, "count"),
        total=fields.optional_number(entry, "sum"),
        low=fields.optional_number(entry, "min"),
        high=fields.optional_number(entry, "max"),
        buckets=buckets,
    )


def _indexed(buckets: JsonObject) -> tuple[tuple[int, int], ...]:
    offset = fields.whole(buckets, "offset")
    counts = (fields.as_unsigned(count, "bucketCounts") for count in fields.array(buckets, "bucketCounts"))
    return tuple((offset + index, count) for index, count in enumerate(counts) if count)


_READERS: dict[str, _ReadValue] = {
    "sum": _number,
    "gauge": _number,
    "histogram": _histogram,
    "exponentialHistogram": _exponential,
    "summary": _summary,
}
