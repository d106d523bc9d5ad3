"""What leaves through the exporters: spans, log records and data points without secrets, otherwise as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from multiagents_otel import RedactingLogExporter, RedactingMetricExporter, RedactingSpanExporter
from multiagents_otel.processing import redaction
from multiagents_otel.processing.exporters import redact_exporters, redact_reader
from multiagents_otel.processing.redaction import REDACTED, Redactor

# Renamed in the SDK when log records became read-only.
_LogExporter: Any = getattr(log_export, "InMemoryLogRecordExporter", None) or getattr(
    log_export, "InMemoryLogExporter", None
)
ELSEWHERE = SpanContext(7, 8, True, TraceFlags(1))
PLACES = "multiagents.redacted"


class Spans:
    """A provider whose spans are kept twice: as they are, and as they leave."""

    def __init__(self, redactor: Redactor | None = None, **kwargs: Any) -> None:
        self.given, self.left = InMemorySpanExporter(), InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **kwargs)
        self.provider.add_span_processor(SimpleSpanProcessor(self.given))
        self.provider.add_span_processor(SimpleSpanProcessor(RedactingSpanExporter(self.left, redactor)))
        self.tracer = self.provider.get_tracer("app")

    @property
    def one(self) -> ReadableSpan:
        (span,) = self.left.get_finished_spans()
        return span


def test_a_span_without_a_secret_leaves_as_it_is() -> None:
    spans = Spans()
    with spans.tracer.start_as_current_span("GET /orders", links=[Link(ELSEWHERE, {"a": 1})]) as span:
        span.set_attributes({"author": "ann", "n": 7, "ratio": 0.5, "tags": ["a", "b"], "ok": True})
        span.add_event("paid", {"order": "4711"})
    assert spans.one is spans.given.get_finished_spans()[0]


def test_every_text_of_a_span_is_scrubbed_and_it_says_where() -> None:
    spans = Spans()
    with spans.tracer.start_as_current_span(
        "GET https://u:canary@h", links=[Link(ELSEWHERE, {"url": "?sig=canary"})]
    ) as span:
        span.set_attributes({"db.password": "canary", "numbers": [1, 4242424242424242], "body": '{"token": "canary"}'})
        span.add_event("failed: token=canary", {"exception.message": "password=canary", "n": 1})
        span.set_status(Status(StatusCode.ERROR, "api_key=canary"))
    given, left = spans.given.get_finished_spans()[0], spans.one
    assert "canary" not in left.to_json()
    assert json.loads(left.to_json()) == {
        **json.loads(given.to_json()),
        "name": f"GET https://{REDACTED}@h",
        "status": {"status_code": "ERROR", "description": f"api_key={REDACTED}"},
        "attributes": {
            "db.password": REDACTED,
            "numbers": REDACTED,
            "body": f'{{"token": "{REDACTED}"}}',
            PLACES: [
                "name", "status", "db.password", "numbers", "body", "events.name",
                f"events.failed: token={REDACTED}.exception.message", "links.url",
            ],
        },
        "events": [
            {
                **json.loads(given.to_json())["events"][0],
                "name": f"failed: token={REDACTED}",
                "attributes": {"exception.message": f"password={REDACTED}", "n": 1},
            }
        ],
        "links": [{**json.loads(given.to_json())["links"][0], "attributes": {"url": f"?sig={REDACTED}"}}],
    }  # fmt: skip


def test_a_scrubbed_span_still_tells_what_the_sdk_dropped() -> None:
    spans = Spans(span_limits=SpanLimits(max_attributes=1, max_events=1, max_links=1, max_event_attributes=1))
    with spans.tracer.start_as_current_span("x", links=[Link(ELSEWHERE, {"a": 1, "b": 2})] * 3) as span:
        span.set_attributes({"a": 1, "password": "x"})
        span.add_event("one")
        span.add_event("two", {"a": 1, "token": "x"})
    left, given = spans.one, spans.given.get_finished_spans()[0]
    assert REDACTED in left.to_json()
    dropped = ("dropped_attributes", "dropped_events", "dropped_links")
    assert [getattr(left, name) for name in dropped] == [getattr(given, name) for name in dropped] == [1, 1, 2]
    assert left.events[0].dropped_attributes == given.events[0].dropped_attributes == 1
    assert left.links[0].dropped_attributes == given.links[0].dropped_attributes


def test_baggage_that_a_processor_makes_attributes_of_is_scrubbed_like_any_other() -> None:
    class CopiesBaggage(SpanProcessor):
        def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
            span.set_attributes({key: str(value) for key, value in baggage.get_all(parent_context).items()})

    spans = Spans()
    spans.provider.add_span_processor(CopiesBaggage())
    carried = baggage.set_baggage("session_token", "canary", baggage.set_baggage("tenant", "shop"))
    spans.tracer.start_span("x", carried).end()
    assert dict(spans.one.attributes or {}) == {"tenant": "shop", "session_token": REDACTED, PLACES: ("session_token",)}


def test_the_redactor_in_force_when_it_exports_is_used_and_one_of_its_own_wins() -> None:
    spans, own = Spans(), Spans(Redactor(patterns=["own"]))
    redaction.use(Redactor(patterns=["theirs"]))
    try:
        for each in (spans, own):
            each.tracer.start_span("x", attributes={"a": "own theirs"}).end()
    finally:
        redaction.use(Redactor())
    assert (spans.one.attributes or {})["a"] == f"own {REDACTED}"
    assert (own.one.attributes or {})["a"] == f"{REDACTED} theirs"


def test_nothing_is_scrubbed_where_redaction_is_off() -> None:
    spans = Spans(Redactor(enabled=False))
    spans.tracer.start_span("x", attributes={"password": "x"}).end()
    assert spans.one is spans.given.get_finished_spans()[0]


class Broken(Redactor):
    """Fails at everything."""

    def text(self, text: str, limit: int = 0) -> str:
        raise RuntimeError(text)


@pytest.mark.faults
def test_what_can_not_be_scrubbed_leaves_without_its_texts() -> None:
    spans = Spans(Broken())
    with spans.tracer.start_as_current_span("canary", attributes={"a": "canary"}) as span:
        span.add_event("canary")
        span.set_status(Status(StatusCode.ERROR, "canary"))
    left, given = spans.one, spans.given.get_finished_spans()[0]
    assert "canary" not in left.to_json()
    assert (left.context, left.start_time, left.end_time) == (given.context, given.start_time, given.end_time)
    assert left.status.status_code is StatusCode.ERROR
    logs = Logs(Broken())
    logs.emit("canary", {"a": "canary"})
    assert (logs.one.body, dict(logs.one.attributes or {})) == (None, {})


class Logs:
    """A provider whose records are kept as they leave."""

    def __init__(self, redactor: Redactor | None = None) -> None:
        self.exporter = _LogExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(
            log_export.SimpleLogRecordProcessor(RedactingLogExporter(self.exporter, redactor))
        )

    def emit(self, body: Any, attributes: dict[str, Any]) -> None:
        self.provider.get_logger("app").emit(body=body, attributes=attributes, event_name="paid", timestamp=7)

    @property
    def one(self) -> Any:
        (item,) = self.exporter.get_finished_logs()
        return item.log_record


def test_a_log_record_without_a_secret_leaves_as_it_is() -> None:
    logs = Logs()
    logs.emit({"order": [4711, "a"]}, {"author": "ann"})
    assert (logs.one.body, dict(logs.one.attributes)) == ({"order": [4711, "a"]}, {"author": "ann"})


def test_body_and_attributes_of_a_log_record_are_scrubbed_and_it_says_where() -> None:
    logs = Logs()
    logs.emit({"user": {"password": "x"}}, {"headers": {"authorization": "x"}, "n": 1, "text": "token=x"})
    assert logs.one.body == {"user": {"password": REDACTED}}
    assert dict(logs.one.attributes) == {
        "headers": {"authorization": REDACTED},
        "n": 1,
        "text": f"token={REDACTED}",
        PLACES: ("body", "headers", "text"),
    }
    assert (logs.one.timestamp, logs.one.event_name) == (7, "paid")


class KeptMetrics(MetricExporter):
    """Keeps the last export."""

    def export(self, metrics_data: Any, timeout_millis: float = 0, **_kwargs: Any) -> MetricExportResult:
        self.data = metrics_data
        return MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 0, **_kwargs: Any) -> None: ...

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True


@pytest.fixture
def measured() -> Iterator[tuple[KeptMetrics, MeterProvider]]:
    exporter = KeptMetrics()
    reader = PeriodicExportingMetricReader(RedactingMetricExporter(exporter), 1e9)
    provider = MeterProvider(
        [reader],
        views=[View(instrument_name="dropped", attribute_keys=set())],
        exemplar_filter=AlwaysOnExemplarFilter(),
        shutdown_on_exit=False,
    )
    yield exporter, provider
    provider.shutdown()


def test_data_points_and_what_a_view_dropped_into_exemplars_are_scrubbed(
    measured: tuple[KeptMetrics, MeterProvider],
) -> None:
    exporter, provider = measured
    meter = provider.get_meter("app")
    meter.create_counter("kept").add(1, {"url": "?token=canary", "n": 1})
    meter.create_histogram("dropped").record(1, {"password": "canary"})
    provider.force_flush()
    told = exporter.data.to_json()
    assert "canary" not in told
    points = {
        metric.name: metric.data.data_points[0] for metric in exporter.data.resource_metrics[0].scope_metrics[0].metrics
    }
    assert dict(points["kept"].attributes) == {"url": f"?token={REDACTED}", "n": 1}
    assert dict(points["dropped"].exemplars[0].filtered_attributes) == {"password": REDACTED}


def test_metrics_without_a_secret_leave_as_they_are() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("app").create_counter("c").add(1, {"a": "b"})
    data = reader.get_metrics_data()
    exporter = KeptMetrics()
    RedactingMetricExporter(exporter).export(data)
    assert exporter.data is data


def test_what_a_reader_without_an_exporter_collects_is_scrubbed() -> None:
    reader = InMemoryMetricReader()
    redact_reader(reader)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("app").create_counter("c").add(1, {"token": "canary", "a": "b"})
    data = reader.get_metrics_data()
    assert data is not None
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert dict(point.attributes or {}) == {"token": REDACTED, "a": "b"}


def test_exporters_of_providers_that_somebody_else_built_are_put_behind_ours() -> None:
    spans, logs = InMemorySpanExporter(), _LogExporter()
    tracers, loggers = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(spans))
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers.add_log_record_processor(log_export.BatchLogRecordProcessor(logs))
    loggers.add_log_record_processor(log_export.SimpleLogRecordProcessor(logs))
    metrics = KeptMetrics()
    meters = MeterProvider([PeriodicExportingMetricReader(metrics, 1e9)], shutdown_on_exit=False)
    for provider in (tracers, loggers, meters, tracers):
        redact_exporters(provider)
    tracers.get_tracer("app").start_span("token=canary").end()
    loggers.get_logger("app").emit(body="token=canary")
    meters.get_meter("app").create_counter("c").add(1, {"token": "canary"})
    for provider in (tracers, loggers, meters):
        provider.force_flush()
        provider.shutdown()
    assert [span.name for span in spans.get_finished_spans()] == [f"token={REDACTED}"] * 2
    assert [item.log_record.body for item in logs.get_finished_logs()] == [f"token={REDACTED}"] * 2
    assert "canary" not in metrics.data.to_json()


def test_everything_else_is_the_exporters_own() -> None:
    class Exporter:
        endpoint = "http://collector:4318"

        def shutdown(self, timeout_millis: float) -> str:
            return f"within {timeout_millis}"

    wrapped: Any = RedactingSpanExporter(Exporter())
    assert wrapped.endpoint == "http://collector:4318"
    assert wrapped.shutdown(3) == "within 3"
    assert not hasattr(wrapped, "force_flush")
