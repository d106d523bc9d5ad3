"""Histograms in bulk beside ``Histogram.record`` for each value: the same points, at the same times, to the byte."""

from __future__ import annotations

import importlib
import math
import os
import random
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Histogram,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics._internal.exemplar import AlignedHistogramBucketExemplarReservoir
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext, TraceFlags

from multiagents_otel import semconv
from multiagents_otel.telemetry.instruments import Instruments

_TIMED: Final = (
    "opentelemetry.sdk.metrics._internal.instrument",
    "opentelemetry.sdk.metrics._internal.measurement_consumer",
    "opentelemetry.sdk.metrics._internal.metric_reader_storage",
    "opentelemetry.sdk.metrics._internal._view_instrument_match",
    "multiagents_otel.telemetry.bulk_histogram",
)
_ROWS: Final[tuple[Any, ...]] = (
    (semconv.EVENT_DURATION, [("command",), ("result",)]),
    (semconv.STEP_DURATION, [("orders", "charge"), ("orders", "ship")]),
    (semconv.EVENT_SIZE, [("command",)]),
)


class Clock:
    """The clock of the SDK's metrics and of bulk histograms."""

    def __init__(self) -> None:
        self.now = 10**18

    def __enter__(self) -> Clock:
        self._real = [(module, module.time_ns) for module in map(importlib.import_module, _TIMED)]
        for module, _real in self._real:
            module.time_ns = lambda: self.now  # type: ignore[attr-defined]
        return self

    def __exit__(self, *_exc: object) -> None:
        for module, real in self._real:
            module.time_ns = real  # type: ignore[attr-defined]


class OwnReservoir(AlignedHistogramBucketExemplarReservoir):
    """A user's own, of any aggregation."""

    def __init__(self, boundaries: Sequence[float] = (), **kwargs: Any) -> None:
        super().__init__(boundaries, **{key: value for key, value in kwargs.items() if key != "size"})


def own_reservoir(_kind: Any) -> Any:
    return OwnReservoir


class OwnFilter(TraceBasedExemplarFilter):
    """A user's own: every second millisecond."""

    def should_sample(self, value: float, *args: Any, **kwargs: Any) -> bool:
        return math.isfinite(value) and int(value * 1000) % 2 == 0


VIEWS: Final[dict[str, Any]] = {
    "none": list,
    "drop": lambda: [View(instrument_name="*.duration", aggregation=DropAggregation())],
    "rename": lambda: [View(instrument_name=semconv.EVENT_DURATION.name, name="renamed")],
    "keys": lambda: [View(instrument_name="*", attribute_keys={semconv.STEP_DURATION.attributes[0]})],
    "exponential": lambda: [View(instrument_name="*.duration", aggregation=ExponentialBucketHistogramAggregation())],
    "sum": lambda: [View(instrument_name="*.duration", aggregation=SumAggregation())],
    "buckets": lambda: [View(instrument_name="*", aggregation=ExplicitBucketHistogramAggregation((1, 2)))],
    "no buckets": lambda: [
        View(instrument_name="*", aggregation=ExplicitBucketHistogramAggregation((), record_min_max=False))
    ],
    "two": lambda: [
        View(
            instrument_name=semconv.EVENT_DURATION.name,
            name="one",
            aggregation=ExplicitBucketHistogramAggregation([0.1]),
        ),
        View(instrument_name=semconv.EVENT_DURATION.name, name="two"),
    ],
    "reservoir": lambda: [View(instrument_name="*", exemplar_reservoir_factory=own_reservoir)],
}
FILTERS: Final = (TraceBasedExemplarFilter, AlwaysOnExemplarFilter, AlwaysOffExemplarFilter, OwnFilter)
READERS: Final[dict[str, Any]] = {
    "cumulative": dict,
    "delta": lambda: {"preferred_temporality": {Histogram: AggregationTemporality.DELTA}},
    "exponential": lambda: {"preferred_aggregation": {Histogram: ExponentialBucketHistogramAggregation()}},
}

values = st.one_of(
    st.floats(0, 20), st.integers(0, 3000), st.sampled_from([0.1, 0.2, 0.3, 1.0, 0, -0.0, math.nan, math.inf, -1])
)
spans = st.one_of(st.sampled_from(["none", "invalid"]), st.tuples(st.integers(1, 9), st.sampled_from([0, 1, 3])))
records = st.sampled_from(_ROWS).flatmap(
    lambda row: st.tuples(st.just("record"), st.just(row[0]), st.sampled_from(row[1]), values, spans, spans)
)
steps = st.lists(
    st.one_of(
        records,
        records,
        records,
        st.tuples(st.just("collect"), st.integers(0, 2)),
        st.tuples(st.just("add reader"), st.sampled_from(sorted(READERS))),
        st.tuples(st.just("remove reader"), st.integers(0, 2)),
        st.tuples(st.just("enable"), st.booleans()),
    ),
    max_size=40,
)
set_ups = st.tuples(
    st.sampled_from(sorted(VIEWS)), st.sampled_from(FILTERS), st.lists(st.sampled_from(sorted(READERS)), max_size=2)
)


def context_of(span: Any) -> Context:
    if span == "none":
        return Context()
    if span == "invalid":
        return trace.set_span_in_context(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT), Context())
    number, flags = span
    return trace.set_span_in_context(
        trace.NonRecordingSpan(SpanContext(1, number, False, TraceFlags(flags))), Context({"more": 1})
    )


def collected(reader: InMemoryMetricReader) -> bytes:
    try:
        data = reader.get_metrics_data()
        return b"" if data is None else encode_metrics(data).SerializeToString(deterministic=True)
    except Exception as error:
        return repr(error).encode()


def play(set_up: Any, steps: Sequence[Any], *, bulk: bool, longest: int) -> list[bytes]:
    """What is exported, in OTLP, by each collection; the clock goes on with each step."""
    views, exemplar_filter, readers = set_up
    given_readers = [InMemoryMetricReader(**READERS[kind]()) for kind in readers]
    provider = MeterProvider(
        list(given_readers), Resource({}), exemplar_filter(), shutdown_on_exit=False, views=VIEWS[views]()
    )
    exports = []
    random.seed(1)  # the SDK's other reservoir draws lots
    with Clock() as clock:
        instruments = Instruments(provider.get_meter(semconv.SCOPE_NAME), messaging=False)
        instruments.settle()
        if not bulk:
            instruments._bulk.series = lambda *_args: None  # type: ignore[method-assign]
        instruments._bulk.longest = longest
        for what, *arguments in steps:
            clock.now += 1_000
            if what == "record":
                row, key, value, span, current = arguments
                token = attach(context_of(current))
                try:
                    instruments.record(row, value, key, context_of(span))
                except Exception as error:  # the oldest SDK takes what is not finite, and fails later
                    exports.append(repr(error).encode())
                detach(token)
                instruments._bulk.longest = longest
            elif what == "collect" and arguments[0] < len(given_readers):
                exports.append(collected(given_readers[arguments[0]]))
            elif what == "add reader" and hasattr(provider, "add_metric_reader"):
                given_readers.append(InMemoryMetricReader(**READERS[arguments[0]]()))
                provider.add_metric_reader(given_readers[-1])
            elif what == "remove reader" and hasattr(provider, "remove_metric_reader"):
                if arguments[0] < len(given_readers):
                    provider.remove_metric_reader(given_readers.pop(arguments[0]))
            elif what == "enable" and hasattr(instruments.meter, "_set_meter_config"):
                config = importlib.import_module("opentelemetry.sdk.metrics._internal")._MeterConfig
                instruments._bulk.fold()
                instruments.meter._set_meter_config(config(is_enabled=arguments[0]))
    return exports


def both_ways_are_equal(set_up: Any, steps: Sequence[Any], longest: int) -> None:
    steps = [*steps, *(("collect", number) for number in range(3))]
    bulk, alone = (play(set_up, steps, bulk=way, longest=longest) for way in (True, False))
    assert bulk == alone


quick = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
    max_examples=60,
    derandomize=True,
    database=None,
)


@quick
@given(set_ups, steps, st.sampled_from([1, 3, 256]))
def test_any_use_of_histograms_is_the_same(set_up: Any, steps: Sequence[Any], longest: int) -> None:
    both_ways_are_equal(set_up, steps, longest)


@pytest.mark.slow
@settings(quick, max_examples=5_000, derandomize=False)
@given(set_ups, steps, st.sampled_from([1, 3, 256]))
def test_any_use_of_histograms_is_the_same_5000_times(set_up: Any, steps: Sequence[Any], longest: int) -> None:
    both_ways_are_equal(set_up, steps, longest)


@pytest.mark.parametrize("views", sorted(VIEWS))
@pytest.mark.parametrize("exemplar_filter", FILTERS)
def test_each_view_and_filter_gives_the_same_points(views: str, exemplar_filter: type) -> None:
    steps: list[Any] = []
    for number in range(40):
        row, keys = _ROWS[number % 3]
        span: Any = ("none", "invalid", (1 + number % 9, 0), (1 + number % 9, 1))[number % 4]
        steps.append(("record", row, keys[number % len(keys)], number * 0.17, span, "none"))
        if number % 13 == 0:
            steps.append(("collect", number % 2))
    both_ways_are_equal((views, exemplar_filter, ["cumulative", "delta"]), steps, 5)


# --- single cases ---------------------------------------------------------------------------------


def made(*readers: InMemoryMetricReader, **given: Any) -> tuple[MeterProvider, Instruments]:
    provider = MeterProvider(readers, Resource({}), shutdown_on_exit=False, **given)
    instruments = Instruments(provider.get_meter(semconv.SCOPE_NAME), messaging=False)
    instruments.settle()
    return provider, instruments


def record(instruments: Instruments, value: float, kind: str = "command") -> None:
    instruments.record(semconv.EVENT_DURATION, value, (kind,), Context())


def counts(reader: InMemoryMetricReader) -> dict[str, int]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        next(iter(dict(point.attributes or {}).values()), ""): point.count  # type: ignore[union-attr, misc]
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == semconv.EVENT_DURATION.name
        for point in metric.data.data_points
    }


def waiting(instruments: Instruments) -> int:
    return sum(len(series._pending) for series in instruments._bulk._series)


def test_values_wait_for_the_collection() -> None:
    reader = InMemoryMetricReader()
    _provider, instruments = made(reader)
    for _ in range(10):
        record(instruments, 0.1)
    assert waiting(instruments) == 9
    assert counts(reader) == {"command": 10}
    assert waiting(instruments) == 0


def test_few_values_wait_in_one_series_and_in_all() -> None:
    _provider, instruments = made(InMemoryMetricReader())
    for number in range(1_000):
        record(instruments, number)
        assert waiting(instruments) < 256
    for number in range(3_000):
        for _ in range(12):
            instruments.record(semconv.EVENT_DURATION, 0.1, (str(number),), Context())
    assert len(instruments._bulk._series) == 2_000
    assert len(instruments._series) == 2_000
    assert waiting(instruments) <= 20_000


def test_series_beyond_the_bound_are_recorded() -> None:
    reader = InMemoryMetricReader()
    _provider, instruments = made(reader)
    for number in range(2_100):
        for _ in range(2):
            record(instruments, 0.1, str(number))
    assert counts(reader) == {str(number): 2 for number in range(2_100)}


def test_the_end_of_a_provider_loses_nothing() -> None:
    reader = InMemoryMetricReader()
    collected = []
    provider, instruments = made(reader)
    for _ in range(7):
        record(instruments, 0.1)
    provider.force_flush()
    collected.append(reader._metrics_data)
    provider.shutdown()
    assert waiting(instruments) == 0
    record(instruments, 0.1)  # no exception after the shutdown
    assert collected[0] is not None


def test_what_waits_is_exported_after_the_instrumentation_is_removed() -> None:
    reader = InMemoryMetricReader()
    _provider, instruments = made(reader)
    for _ in range(3):
        record(instruments, 0.1)
    instruments.active = False
    assert counts(reader) == {"command": 3}


def test_a_provider_that_is_set_later_gets_the_values() -> None:
    proxy = metrics._internal._ProxyMeter(semconv.SCOPE_NAME)
    instruments = Instruments(proxy, messaging=False)
    assert not instruments.settle()
    record(instruments, 0.1)
    reader = InMemoryMetricReader()
    proxy.on_set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    assert instruments.settle()
    for _ in range(3):
        record(instruments, 0.1)
    assert waiting(instruments) == 2
    assert counts(reader) == {"command": 3}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_export_what_waits_in_its_parent() -> None:
    reader = InMemoryMetricReader(preferred_temporality={Histogram: AggregationTemporality.DELTA})
    _provider, instruments = made(reader)
    record(instruments, 0.1)
    counts(reader)
    for _ in range(3):
        record(instruments, 0.1)
    child = os.fork()
    if child == 0:
        try:
            record(instruments, 0.1)
            os._exit(0 if counts(reader) == {"command": 1} else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert counts(reader) == {"command": 3}


def test_threads_that_record_and_collect_lose_nothing() -> None:
    readers = InMemoryMetricReader(), InMemoryMetricReader()
    _provider, instruments = made(*readers)
    threads, each = 4, 3_000
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:

        def run() -> None:
            for number in range(each):
                record(instruments, number % 7, f"kind {number % 3}")

        workers = [threading.Thread(target=run) for _ in range(threads)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            counts(readers[0])
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    expected = {f"kind {kind}": threads * each // 3 for kind in range(3)}
    assert counts(readers[0]) == counts(readers[1]) == expected


def test_a_record_that_another_library_has_replaced_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    monkeypatch.setattr(Histogram, "record", lambda _self, value, *_args: recorded.append(value))
    _provider, instruments = made(InMemoryMetricReader())
    for value in (1, 2):
        record(instruments, value)
    assert recorded == [1, 2]


def test_an_exporter_that_blocks_delays_no_record() -> None:
    """The collecting thread holds no lock of ours while the reader is given the points."""
    entered, leave = threading.Event(), threading.Event()

    class Blocking(InMemoryMetricReader):
        def _receive_metrics(self, *args: Any, **kwargs: Any) -> None:
            entered.set()
            assert leave.wait(60)
            super()._receive_metrics(*args, **kwargs)

    reader = Blocking()
    _provider, instruments = made(reader)
    record(instruments, 0.1)
    collector = threading.Thread(target=counts, args=(reader,))
    collector.start()
    assert entered.wait(60)
    for _ in range(600):
        record(instruments, 0.1)
    leave.set()
    collector.join()
    assert counts(reader) == {"command": 601}
