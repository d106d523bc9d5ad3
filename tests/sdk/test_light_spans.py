"""Light spans beside the spans of the tracer's own ``start_span``: the same to everything that sees them."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from multiagents_otel.telemetry.identity import Identity
from multiagents_otel.telemetry.light_span import LightSpan
from multiagents_otel.telemetry.starting import Starter

Call = tuple[str, tuple[Any, ...]]


class Counting(IdGenerator):
    """Ids in order."""

    def __init__(self) -> None:
        self._next = 0

    def generate_span_id(self) -> int:
        self._next += 1
        return self._next

    def generate_trace_id(self) -> int:
        return (self.generate_span_id() << 64) | 1

    def is_trace_id_random(self) -> bool:
        return self._next % 2 == 0


class Adding(Sampler):
    """Adds attributes and a trace state, and records without sampling every second time."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        _context, trace_id, name, kind, attributes = args[:5]
        self.asked.append((trace_id, name, kind, dict(attributes or {})))
        decision = Decision.RECORD_ONLY if len(self.asked) % 2 else Decision.RECORD_AND_SAMPLE
        added = {**(attributes or {}), "sampler.rule": ["a", "b"], "sampler.rate": 0.5}
        return SamplingResult(decision, added, TraceState([("vendor", "1")]))

    def get_description(self) -> str:
        return "Adding"


class Intrusive(SpanProcessor):
    """Notes each call, and reads and changes the span in each of them."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        parent = trace.get_current_span(parent_context).get_span_context().span_id
        self.calls.append(("start", span.name, dict(span.attributes or {}), parent, span.is_recording()))
        span.set_attribute("by.processor", "started")

    def _on_ending(self, span: sdk.Span) -> None:
        self.calls.append(("ending", span.name, dict(span.attributes or {}), span.end_time))
        span.set_attribute("too.late", True)

    def on_end(self, span: ReadableSpan) -> None:
        self.calls.append(("end", type(span), look(span)))


# --- generated use --------------------------------------------------------------------------------

plain_values = st.one_of(
    st.text(max_size=8), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans()
)
values = st.one_of(
    plain_values,
    st.none(),
    st.binary(max_size=4),
    st.lists(st.text(max_size=3), max_size=3),
    st.lists(st.one_of(st.integers(0, 9), st.text(max_size=2)), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(0, 9), max_size=2),
    st.just(object),
)
keys = st.one_of(st.sampled_from(["", "a", "b", "c", "d", "messaging.system"]), st.text(max_size=3), st.integers(0, 3))
attribute_sets = st.dictionaries(keys, values, max_size=5)
contexts = st.builds(
    SpanContext,
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3), TraceFlags(0xFF)]),
    st.sampled_from([None, TraceState([("a", "1")])]),
)
times = st.integers(1, 2**62)

calls: st.SearchStrategy[Call] = st.one_of(
    st.tuples(st.just("set_attribute"), st.tuples(keys, values)),
    st.tuples(st.just("set_attributes"), st.tuples(attribute_sets)),
    st.tuples(st.just("set_attributes"), st.tuples(st.dictionaries(st.sampled_from("abcd"), plain_values, max_size=4))),
    st.tuples(st.just("add_event"), st.tuples(st.text(max_size=3), attribute_sets, times)),
    st.tuples(st.just("add_link"), st.tuples(contexts, attribute_sets)),
    st.tuples(st.just("update_name"), st.tuples(st.text(max_size=3))),
    st.tuples(st.just("set_status"), st.tuples(st.sampled_from(StatusCode), st.one_of(st.none(), st.text(max_size=3)))),
    st.tuples(
        st.just("set_status"), st.tuples(st.builds(Status, st.sampled_from(StatusCode)), st.sampled_from([None, "x"]))
    ),
    st.tuples(
        st.just("record_exception"), st.tuples(st.builds(ValueError, st.text(max_size=3)), attribute_sets, times)
    ),
    st.tuples(st.just("end"), st.tuples(times)),
    st.tuples(st.just("start"), st.tuples(times)),
    st.tuples(st.just("look"), st.tuples()),
    st.tuples(st.just("snapshot"), st.tuples()),
    st.tuples(st.just("use"), st.tuples()),
)

starts = st.tuples(
    st.text(max_size=4),
    st.one_of(st.none(), contexts),
    st.sampled_from(SpanKind),
    st.one_of(st.dictionaries(st.text(min_size=1, max_size=2), plain_values, max_size=6), attribute_sets),
    st.one_of(st.none(), st.lists(st.tuples(contexts, attribute_sets), max_size=2)),
    times,
)
providers = st.fixed_dictionaries(
    {
        "sampler": st.sampled_from(
            [
                lambda: None,
                lambda: ALWAYS_ON,
                lambda: ALWAYS_OFF,
                lambda: DEFAULT_ON,
                lambda: ParentBased(TraceIdRatioBased(0.5)),
                Adding,
            ]
        ),
        "limits": st.sampled_from(
            [
                {},
                {"max_span_attributes": 0},
                {"max_span_attributes": 3},
                {"max_attribute_length": 2},
                {"max_events": 1, "max_links": 1, "max_event_attributes": 1, "max_link_attributes": 1},
                {"max_attributes": SpanLimits.UNSET},
            ]
        ),
        "intrusive": st.booleans(),
        "forced": st.sampled_from([None, "kept", "identity", "dropped"]),
    }
)


def look(span: Any) -> Any:
    """All that is public of a span."""
    if not isinstance(span, ReadableSpan):
        return span.get_span_context(), span.is_recording()
    return (
        without_addresses(repr(span)),
        outcome_of(span.to_json),
        span.get_span_context(),
        span.context,
        span.parent,
        span.kind,
        span.status.status_code,
        dict(span.attributes or {}),
        list(span.attributes or {}),
        [(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events],
        [(link.context, dict(link.attributes or {})) for link in span.links],
        (span.dropped_attributes, span.dropped_events, span.dropped_links),
        (span.start_time, span.end_time),
        span.instrumentation_scope,
        span.resource,
    )


def without_addresses(text: str) -> str:
    return text.partition(" at 0x")[0]


def outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error)


def apply(span: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    if name == "look":
        return look(span)
    if name == "snapshot":
        return look(span._readable_span()) if isinstance(span, sdk.Span) else None
    if name == "use":
        with trace.use_span(span):
            return trace.get_current_span() is span
    if name == "start" and not isinstance(span, sdk.Span):
        return None
    return getattr(span, name)(*arguments)


def play(light: bool, starting_with: Any, calls: Sequence[Call], given_provider: Any, caplog: Any) -> Any:
    """Everything that is seen of one span: results, log lines, processors' calls, the sampler's, the OTLP bytes."""
    exporter, intrusive = InMemorySpanExporter(), Intrusive()
    sampler = given_provider["sampler"]()
    provider = TracerProvider(
        sampler=sampler,
        resource=Resource({"service.name": "shop"}),
        shutdown_on_exit=False,
        id_generator=Counting(),
        span_limits=SpanLimits(**given_provider["limits"]),
    )
    if given_provider["intrusive"]:
        provider.add_span_processor(intrusive)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("scope", "1", "https://example.org/schema")
    name, parent, kind, attributes, links, start_ns = starting_with
    context = Context()
    if parent is not None:
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
    forced = given_provider["forced"]
    identity = None
    if forced in ("identity", "dropped"):
        decision = Decision.RECORD_AND_SAMPLE if forced == "identity" else Decision.DROP
        identity = Identity(SpanContext(7, 8, False, TraceFlags(1), TraceState([("i", "1")])), decision, {"more": 1})
    starter = Starter(tracer)
    if light:
        assert starter._light is not None
    else:
        starter._light = None
    caplog.clear()
    given_links = None if links is None else [Link(context, dict(more)) for context, more in links]
    span = outcome_of(
        lambda: starter.start(name, context, kind, attributes, given_links, start_ns, identity, kept=forced == "kept")
    )
    seen: list[Any] = [look(span) if not isinstance(span, type) else span]
    if not isinstance(span, type):
        below_another = identity is not None and parent is not None and parent.is_valid  # the tracer's own way
        assert isinstance(span, LightSpan) == (light and span.is_recording() and not below_another)
        used = [*calls, ("end", (start_ns + 1,)), ("look", ())]
        seen += [outcome_of(partial(apply, span, *call)) for call in used]
    lines = [(line.name, line.levelno, without_addresses(line.getMessage())) for line in caplog.records]
    exported = exporter.get_finished_spans()
    encoded = outcome_of(lambda: encode_spans(exported).SerializeToString(deterministic=True))
    return {
        "seen": seen,
        "lines": lines,
        "processor": intrusive.calls,
        "sampler": getattr(sampler, "asked", None),
        "exported": [(type(each), look(each)) for each in exported],
        "bytes": encoded,
    }


def both_ways_are_equal(starting_with: Any, calls: Sequence[Call], provider: Any, caplog: Any) -> None:
    light, ordinary = (play(way, starting_with, calls, provider, caplog) for way in (True, False))
    for what, seen in light.items():
        assert seen == ordinary[what], what


quick = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.generate),  # a failure is shown as it was found: shrinking takes minutes
    max_examples=150,
    derandomize=True,
    database=None,
)


@quick
@given(starts, st.lists(calls, max_size=6), providers)
def test_any_use_of_a_span_is_the_same(
    caplog: pytest.LogCaptureFixture, starting_with: Any, calls: list[Call], provider: Any
) -> None:
    both_ways_are_equal(starting_with, calls, provider, caplog)


@pytest.mark.slow
@settings(quick, max_examples=20_000, derandomize=False)
@given(starts, st.lists(calls, max_size=12), providers)
def test_any_use_of_a_span_is_the_same_20000_times(
    caplog: pytest.LogCaptureFixture, starting_with: Any, calls: list[Call], provider: Any
) -> None:
    both_ways_are_equal(starting_with, calls, provider, caplog)


# --- single cases ---------------------------------------------------------------------------------


def tracer_and_exporter(**given: Any) -> tuple[Any, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, **given)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("scope"), exporter


def start(tracer: Any, **attributes: Any) -> Any:
    return Starter(tracer).start("name", Context(), SpanKind.INTERNAL, attributes, None, 1)


def test_a_light_span_is_a_span_of_the_sdk_in_every_check_of_type() -> None:
    tracer, _exporter = tracer_and_exporter()
    span = start(tracer)
    assert isinstance(span, LightSpan)
    for kind in (sdk.Span, ReadableSpan, trace.Span):
        assert isinstance(span, kind)
    assert (type(span).__name__, type(span).__module__) == ("_Span", type(tracer.start_span("x")).__module__)
    assert weakref.ref(span)() is span
    assert [name for name in vars(tracer.start_span("x")) if not hasattr(span, name)] == []


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    tracer, _exporter = tracer_and_exporter()
    for span in (start(tracer), tracer.start_span("name")):
        with pytest.raises(AttributeError, match="'_Span' object has no attribute '_nothing'"):
            _ = span._nothing


def test_a_span_can_be_copied_as_the_sdks_can() -> None:
    tracer, exporter = tracer_and_exporter()
    copies = []
    for span in (start(tracer, a=1), tracer.start_span("name", attributes={"a": 1}, start_time=1)):
        twin = copy.copy(span)
        twin.set_attribute("b", 2)  # the attributes are one object
        copies.append((dict(span.attributes), dict(twin.attributes)))
        with pytest.raises(Exception, match="pickle"):
            pickle.dumps(span)
        with pytest.raises(TypeError, match="pickle"):
            copy.deepcopy(span)
        span.end(5)
    assert copies[0] == copies[1]
    light, ordinary = exporter.get_finished_spans()
    assert copy.copy(light).to_json() == light.to_json()
    assert copy.copy(ordinary).to_json() == ordinary.to_json()


def test_a_processor_that_is_added_later_sees_the_spans() -> None:
    tracer, _exporter = tracer_and_exporter()
    starter, intrusive = Starter(tracer), Intrusive()
    tracer.span_processor.add_span_processor(intrusive)
    starter.start("name", Context(), SpanKind.INTERNAL, {}, None, 1).end(2)
    assert [call[0] for call in intrusive.calls if call[0] != "ending"] == ["start", "end"]


def test_what_a_processor_raises_is_raised() -> None:
    class Raising(SpanProcessor):
        def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
            raise RuntimeError("on_start")

    tracer, _exporter = tracer_and_exporter()
    tracer.span_processor.add_span_processor(Raising())
    with pytest.raises(RuntimeError, match="on_start"):
        start(tracer)


def test_a_tracer_whose_resource_changes_makes_spans_with_the_new_one() -> None:
    tracer, exporter = tracer_and_exporter()
    starter = Starter(tracer)
    before: Any = starter.start("name", Context(), SpanKind.INTERNAL, {}, None, 1)
    tracer.resource = Resource({"service.instance.id": "child"})
    starter.start("name", Context(), SpanKind.INTERNAL, {}, None, 1).end(2)
    before.end(2)
    child, parent = exporter.get_finished_spans()
    assert child.resource.attributes["service.instance.id"] == "child"
    assert parent.resource is before.resource is not child.resource


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_the_resource_of_the_sdk() -> None:
    tracer, exporter = tracer_and_exporter()
    starter = Starter(tracer)
    starter.start("name", Context(), SpanKind.INTERNAL, {}, None, 1).end(2)
    child = os.fork()
    if child == 0:
        try:
            starter.start("light", Context(), SpanKind.INTERNAL, {}, None, 1).end(2)
            tracer.start_span("ordinary", start_time=1).end(2)
            light, ordinary = exporter.get_finished_spans()[-2:]
            os._exit(0 if light.resource == ordinary.resource else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_disabled_tracer_records_nothing_until_it_is_enabled() -> None:
    tracer, exporter = tracer_and_exporter()
    if not hasattr(tracer, "_set_tracer_config"):
        assert not hasattr(tracer, "_is_enabled")  # an SDK without this
        return
    starter = Starter(tracer)
    for enabled in (False, True):
        tracer._set_tracer_config(sdk._TracerConfig(is_enabled=enabled))
        starter.start("name", Context(), SpanKind.INTERNAL, {}, None, 1, kept=True).end(2)
    assert len(exporter.get_finished_spans()) == 1


def test_an_sdk_that_counts_its_spans_counts_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    reader = InMemoryMetricReader()
    if "meter_provider" not in inspect.signature(TracerProvider.__init__).parameters:
        assert not hasattr(tracer_and_exporter()[0], "_tracer_metrics")  # an SDK without this
        return
    tracer, _exporter = tracer_and_exporter(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    start(tracer).end(2)
    data = reader.get_metrics_data()
    assert data is not None
    points = {
        metric.name: [point.value for point in metric.data.data_points]  # type: ignore[union-attr]
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name.startswith("otel.sdk.span.")
    }
    assert points == {"otel.sdk.span.started": [1], "otel.sdk.span.live": [0]}


def test_a_start_span_that_another_library_has_replaced_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    original = sdk.Tracer.start_span

    def noting(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        names.append(name)
        return original(self, name, *args, **kwargs)

    monkeypatch.setattr(sdk.Tracer, "start_span", noting)
    tracer, _exporter = tracer_and_exporter()
    start(tracer)
    assert names == ["name"]


def test_threads_that_change_and_end_a_span_lose_nothing_and_end_it_once() -> None:
    tracer, exporter = tracer_and_exporter()
    starter = Starter(tracer)
    rounds, threads = 150, 4
    for _ in range(rounds):
        span = starter.start("name", Context(), SpanKind.INTERNAL, {"a": 1}, None, 1)
        barrier = threading.Barrier(threads + 1)

        def change(number: int, span: Any = span, barrier: Any = barrier) -> None:
            barrier.wait()
            span.set_attribute(f"plain.{number}", number)
            span.set_attribute(f"list.{number}", [number])
            span.add_event(f"event.{number}")

        workers = [threading.Thread(target=change, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        barrier.wait()
        for worker in workers:
            worker.join()
        enders = [threading.Thread(target=span.end) for _ in range(threads)]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
    spans = exporter.get_finished_spans()
    assert len(spans) == rounds
    for ended in spans:
        assert len(ended.attributes or {}) == 1 + 2 * threads
        assert len(ended.events) == threads


def test_an_identity_below_another_trace_is_as_the_tracer_makes_it(caplog: pytest.LogCaptureFixture) -> None:
    provider: Any = {"sampler": lambda: None, "limits": {}, "intrusive": True, "forced": "identity"}
    starting_with: Any = ("name", SpanContext(5, 6, True, TraceFlags(3)), SpanKind.SERVER, {"a": 1}, [], 7)
    both_ways_are_equal(starting_with, [], provider, caplog)


def test_a_kept_span_is_sampled_and_marked() -> None:
    tracer, exporter = tracer_and_exporter(sampler=ALWAYS_OFF)
    starter = Starter(tracer)
    starter.start("name", Context(), SpanKind.INTERNAL, {"a": 1}, None, 1, kept=True).end(2)
    starter.start("name", Context(), SpanKind.INTERNAL, {"a": 1}, None, 1).end(2)
    (kept,) = exporter.get_finished_spans()
    assert dict(kept.attributes or {}) == {"a": 1, "multiagents.sampling.keep": True}
