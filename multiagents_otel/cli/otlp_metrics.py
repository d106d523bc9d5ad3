"""OTLP JSON's metrics to records."""

from __future__ import annotations

from collections.abc import Callable

from multiagents_otel.cli import json_fields as fields
from multiagents_otel.cli.json_fields import BadLineError, Json, JsonObject
from multiagents_otel.cli.otlp_values import attributes
from multiagents_otel.cli.records import (
    Buckets,
    Distribution,
    ExponentialBuckets,
    Kind,
    Labels,
    Metric,
    Point,
    Resource,
)

_TEMPORALITIES = (
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
)
_DELTA = _TEMPORALITIES.index("AGGREGATION_TEMPORALITY_DELTA")
_NO_RECORDED_VALUE = 0x01
_SCALES = range(-10, 21)  # what SDKs produce; beyond it a bucket's bounds are no numbers


def read_metric(resource: Resource, scope: str, entry: JsonObject) -> Metric | None:
    """Return a metric with its points, None for a kind that is not known here. Raises BadLineError."""
    for key, read in _READERS.items():
        if entry.get(key) is None:
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
    return None


def _kind(key: str, data: JsonObject) -> Kind:
    if key == "gauge":
        return Kind.GAUGE
    if key == "sum":
        return Kind.COUNTER if data.get("isMonotonic") is True else Kind.UP_DOWN_COUNTER
    return Kind.HISTOGRAM


def _points(data: JsonObject, read: Callable[[JsonObject], float | Distribution]) -> list[Point]:
    return [
        Point(
            labels=_labels(entry),
            start=fields.unsigned(entry, "startTimeUnixNano"),
            time=fields.unsigned(entry, "timeUnixNano"),
            value=read(entry),
        )
        for entry in fields.objects(data, "dataPoints")
        if not fields.unsigned(entry, "flags") & _NO_RECORDED_VALUE
    ]


def _labels(entry: JsonObject) -> Labels:
    return tuple(sorted(attributes(entry).items(), key=lambda item: item[0]))


def _number(entry: JsonObject) -> float:
    if "asInt" in entry:
        return fields.whole(entry, "asInt")
    value = fields.optional_number(entry, "asDouble")
    return 0 if value is None else value


def _histogram(entry: JsonObject) -> Distribution:
    bounds = tuple(fields.as_number(bound, "explicitBounds") for bound in _list(entry, "explicitBounds"))
    counts = tuple(fields.as_whole(count, "bucketCounts") for count in _list(entry, "bucketCounts"))
    if counts and len(counts) != len(bounds) + 1:
        raise BadLineError("bucketCounts and explicitBounds do not fit together")
    return _distribution(entry, Buckets(bounds if counts else (), counts))


def _exponential(entry: JsonObject) -> Distribution:
    scale = fields.whole(entry, "scale")
    if scale not in _SCALES:
        raise BadLineError("scale is out of range")
    return _distribution(
        entry,
        ExponentialBuckets(
            scale=scale,
            zero=fields.unsigned(entry, "zeroCount"),
            zero_threshold=fields.optional_number(entry, "zeroThreshold") or 0.0,
            positive=_indexed(fields.object_at(entry, "positive")),
            negative=_indexed(fields.object_at(entry, "negative")),
        ),
    )


def _summary(entry: JsonObject) -> Distribution:
    # Summaries come from Prometheus receivers only; their quantiles can't be merged, so count and sum must do.
    return _distribution(entry, Buckets((), ()))


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
    counts = (fields.as_whole(count, "bucketCounts") for count in _list(buckets, "bucketCounts"))
    return tuple((offset + index, count) for index, count in enumerate(counts) if count)


def _list(owner: JsonObject, key: str) -> list[Json]:
    value = owner.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadLineError(f"{key} is not a list")
    return value


_READERS: dict[str, Callable[[JsonObject], float | Distribution]] = {
    "sum": _number,
    "gauge": _number,
    "histogram": _histogram,
    "exponentialHistogram": _exponential,
    "summary": _summary,
}
