"""Histograms in bulk: values wait in a list and are added to the SDK's aggregations many at a time.

The SDK spends several microseconds on each ``Histogram.record``, most of it on the way to the aggregation. A series
(one histogram, one set of attributes) records its first value by that public way, which creates the aggregations.
Later values are appended to a list, and added at once: before each collection, and whenever the list is long.
Sums, counts, extremes and exemplars are those that the SDK would have.

Bulk is possible where every aggregation of the series is the SDK's explicit-bucket histogram or drops the values,
no view removes attributes, and the exemplar filter and reservoirs are the SDK's. Else each value is recorded alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from math import inf
from threading import Lock
from time import time_ns
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext

from multiagents_otel.core.trace_context import flags_of, span_of
from multiagents_otel.telemetry import sdk_internals
from multiagents_otel.telemetry.sdk_internals import MetricClasses

_LONGEST: Final = 256
"""Values that wait in one series."""
_ALL: Final = 16_384
"""Values that wait in all series of a meter."""
_SERIES: Final = 2_000
"""Series that are kept; further ones are recorded alone."""


class Series:
    """One histogram with one set of attributes."""

    def __init__(
        self, bulk: BulkHistograms, classes: MetricClasses | None, histogram: Any, attributes: Mapping[str, str]
    ) -> None:
        self._bulk = bulk
        self._classes = classes
        self._histogram = histogram
        self._attributes = attributes
        self._consumer: Any = None
        self._is_enabled: Any = None
        self._storages: Any = None
        self._aggregations: list[Any] | None = None  # None: every value is recorded alone
        self._sampled_only = True
        self._exemplars = False
        self._pending: list[Any] = []  # a value, or a value with the span context and the time of its exemplar
        self._lock = Lock()
        if classes is not None:
            self._consumer = histogram._measurement_consumer
            self._is_enabled = sdk_internals.instrument_is_enabled(histogram)

    def record(self, value: float, context: Context) -> None:
        """Record a value as ``Histogram.record`` does."""
        if (
            self._aggregations is None
            or self._consumer._reader_storages is not self._storages  # a reader was added or removed
            or not 0 <= value < inf  # the SDK's to refuse
        ):
            self._record_alone(value, context)
            return
        if self._is_enabled is not None and not self._is_enabled():
            return
        pending = self._pending
        if self._exemplars:
            span = span_of(context) if context else trace.get_current_span()
            span_context = span.get_span_context()
            if flags_of(span_context) & 1:
                pending.append((value, span_context, time_ns()))
            elif self._sampled_only:
                pending.append(value)
            else:
                pending.append((value, span_context if span is not INVALID_SPAN else None, time_ns()))
        else:
            pending.append(value)
        # Where another thread adds values just now, it is enough that the next record adds these.
        if len(pending) >= self._bulk.longest and self._lock.acquire(blocking=False):
            try:
                self._add_pending()
            finally:
                self._lock.release()

    def fold(self) -> None:
        """Add all that waits to the SDK's aggregations."""
        if self._pending:
            with self._lock:
                self._add_pending()

    def clear(self) -> None:
        """Forget what waits, in a forked child: the parent exports it."""
        self._pending.clear()
        self._lock = Lock()

    def _record_alone(self, value: float, context: Context) -> None:
        self.fold()
        self._histogram.record(value, self._attributes, context)
        if self._classes is not None and self._consumer._reader_storages is not self._storages:
            self._find(self._classes)

    def _find(self, classes: MetricClasses) -> None:
        """Find the aggregations that the value before this has created, if bulk is possible."""
        storages = self._consumer._reader_storages
        exemplar_filter = type(self._consumer._sdk_config.exemplar_filter)
        exemplars = exemplar_filter is not classes.always_off_filter
        possible = exemplar_filter in (
            classes.always_off_filter, classes.always_on_filter, classes.trace_based_filter
        )  # fmt: skip
        found: list[Any] = []
        for storage in storages.values():
            matches = storage._instrument_view_instrument_matches.get(self._histogram)
            if matches is None:
                return  # the SDK has ignored the value: look again at the next one
            for match in matches:
                if type(match._aggregation) is classes.drop:
                    continue
                # The last one is nearly always the one that was just created.
                created = reversed(list(match._attributes_aggregation.values()))
                own = next((each for each in created if dict(each._attributes or {}) == self._attributes), None)
                possible = possible and type(own) is classes.explicit_bucket
                found.append(own)
        if exemplars:
            possible = possible and all(type(each._reservoir) is classes.aligned_reservoir for each in found)
        self._sampled_only = exemplar_filter is classes.trace_based_filter
        self._exemplars = exemplars
        self._aggregations = found if possible else None
        self._storages = storages

    def _add_pending(self) -> None:
        pending = self._pending
        count = len(pending)
        entries = pending[:count]
        del pending[:count]  # what other threads append meanwhile stays
        aggregations = self._aggregations
        if aggregations is None:  # not possible any more: a reader was added
            for entry in entries:
                value, span_context = entry[:2] if type(entry) is tuple else (entry, None)
                self._histogram.record(value, self._attributes, _context_of(span_context))
            return
        values = [entry[0] if type(entry) is tuple else entry for entry in entries]
        for aggregation in aggregations:
            boundaries = aggregation._boundaries
            buckets = [bisect_left(boundaries, value) for value in values]
            with aggregation._lock:
                if aggregation._value is None:
                    aggregation._value = [0] * (len(boundaries) + 1)
                counts, total = aggregation._value, aggregation._sum
                for bucket, value in zip(buckets, values, strict=True):
                    counts[bucket] += 1
                    total += value  # one by one: the sum of floats depends on the order
                aggregation._sum = total
                if aggregation._record_min_max:
                    aggregation._min = min(aggregation._min, *values)
                    aggregation._max = max(aggregation._max, *values)
            if self._exemplars:
                self._offer(aggregation._reservoir, buckets, entries)

    def _offer(self, reservoir: Any, buckets: Iterable[int], entries: Iterable[Any]) -> None:
        """Offer the exemplars that the reservoir would keep, the last of each bucket."""
        last: dict[int, Any] = {}
        last_with_span: dict[int, Any] = {}
        for bucket, entry in zip(buckets, entries, strict=True):
            if type(entry) is tuple:
                last[bucket] = entry
                if entry[1] is not None:
                    last_with_span[bucket] = entry
        for bucket, entry in last.items():
            # The reservoir keeps the span of an earlier value if the last one has none.
            offered = (entry,) if entry[1] is not None else (last_with_span.get(bucket), entry)
            for value, span_context, time in filter(None, offered):
                reservoir.offer(value, time, self._attributes, _context_of(span_context))


def _context_of(span_context: SpanContext | None) -> Context:
    span = INVALID_SPAN if span_context is None else NonRecordingSpan(span_context)
    return trace.set_span_in_context(span, Context())


class BulkHistograms:
    """The series of one meter's histograms.

    Attributes:
        longest: values that may wait in one series, fewer where there are many series.
    """

    def __init__(self) -> None:
        self.longest = _LONGEST
        self._series: list[Series] = []
        self._lock = Lock()
        self._classes: MetricClasses | None = None
        self._checked = False

    def series(self, histogram: Any, attributes: Mapping[str, str]) -> Series | None:
        """Create a series; None where there are too many."""
        histogram = getattr(histogram, "_real_instrument", None) or histogram  # the API's proxy for a later provider
        classes = self._known(histogram) if sdk_internals.is_sdk_histogram(histogram) else None
        with self._lock:
            if len(self._series) >= _SERIES:
                return None
            series = Series(self, classes, histogram, attributes)
            self._series.append(series)
            self.longest = max(1, min(_LONGEST, _ALL // len(self._series)))
        return series

    def fold(self) -> None:
        """Add all that waits to the SDK's aggregations."""
        for series in list(self._series):
            series.fold()

    def after_fork(self) -> None:
        """In a forked child: what waited is the parent's."""
        self._lock = Lock()
        for series in list(self._series):
            series.clear()

    def _known(self, histogram: Any) -> MetricClasses | None:
        if not self._checked:
            known = sdk_internals.is_known(
                "histograms",
                sdk_internals.METRIC_INTERNALS,
                histogram,
                lambda: differs(sdk_internals.metric_classes()),
                "histograms are recorded one value at a time",
            )
            self._classes = sdk_internals.metric_classes() if known else None
            self._checked = True
        return self._classes


def differs(classes: MetricClasses) -> str | None:
    """Name the first difference between values in bulk and one by one."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], Resource({}), classes.trace_based_filter(), shutdown_on_exit=False)
    meter = provider.get_meter("multiagents_otel")
    alone, bulk = (
        meter.create_histogram(name, explicit_bucket_boundaries_advisory=[1.0, 2.0]) for name in ("alone", "bulk")
    )
    series = Series(BulkHistograms(), classes, bulk, {"key": "value"})
    for number, value in enumerate((0.5, 1.5, 0.25, 7.0, 1.0), start=1):
        context = _context_of(SpanContext(1, number, False, trace.TraceFlags(number % 2)))
        alone.record(value, {"key": "value"}, context)
        series.record(value, context)
    if len(series._pending) != 4:
        return "opentelemetry.sdk.metrics._internal: aggregations"
    series.fold()
    data = reader.get_metrics_data()
    points = [
        {
            **{
                name: getattr(point, name)
                for name in ("count", "sum", "min", "max", "bucket_counts", "explicit_bounds")
            },
            "attributes": dict(point.attributes or {}),
            "exemplars": [(each.value, each.span_id, each.filtered_attributes) for each in point.exemplars],
        }
        for scope in (data.resource_metrics[0].scope_metrics if data is not None else ())
        for metric in scope.metrics
        for point in metric.data.data_points
        if scope.scope.name == "multiagents_otel"
    ]
    if len(points) != 2 or points[0] != points[1]:
        return "opentelemetry.sdk.metrics._internal.aggregation: points with other contents"
    return None
