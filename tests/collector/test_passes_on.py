"""What the SDK's own exporters send arrives at the backend as if they had sent it there themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, Status, StatusCode, use_span

from tests.support.collectors import collector
from tests.support.receiver import OtlpReceiver

RESOURCE: Final = Resource({"service.name": "shop", "service.instance.id": "1"})


def _logs_in_memory() -> Any:
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]


def signals() -> tuple[Sequence[Any], Sequence[Any], Any]:
    """Spans, log records and metrics with all that they can have, as the SDK gives them to an exporter."""
    kept_spans, kept_logs, reader = InMemorySpanExporter(), _logs_in_memory(), InMemoryMetricReader()
    tracers, loggers = TracerProvider(resource=RESOURCE), LoggerProvider(RESOURCE)
    meters = MeterProvider([reader], RESOURCE)
    tracers.add_span_processor(SimpleSpanProcessor(kept_spans))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(kept_logs))
    meter = meters.get_meter("app", "1.0")
    tracer = tracers.get_tracer("app", "1.0")
    outer = tracer.start_span("outer", attributes={"n": 1, "list": ["a", "b"]})
    links = [Link(outer.get_span_context())]
    with use_span(outer, end_on_exit=True), tracer.start_as_current_span("inner", links=links) as inner:
        inner.record_exception(ValueError("declined"))
        inner.set_status(Status(StatusCode.ERROR, "declined"))
        loggers.get_logger("app").emit(
            body={"order": 4711, "lines": ["a"]},
            severity_number=SeverityNumber.WARN,
            event_name="order.late",
            attributes={"late": True},
        )
        meter.create_counter("orders").add(3, {"kind": "web"})
        meter.create_histogram("took", "s").record(0.25, {"kind": "web"})
        meter.create_up_down_counter("open").add(-2)
        meter.create_gauge("heat", "Cel").set(21.5)
    data = reader.get_metrics_data()
    meters.shutdown()
    return kept_spans.get_finished_spans(), kept_logs.get_finished_logs(), data


def export(endpoint: str, protocol: str, sent: tuple[Sequence[Any], Sequence[Any], Any]) -> None:
    exporters: tuple[Any, ...]
    if protocol == "grpc":
        exporters = tuple(exporter(endpoint=endpoint, insecure=True) for exporter in (GrpcSpans, GrpcLogs, GrpcMetrics))
    else:
        kinds = ((HttpSpans, "traces"), (HttpLogs, "logs"), (HttpMetrics, "metrics"))
        exporters = tuple(
            kind(endpoint=f"{endpoint}/v1/{signal}", compression=Compression.Gzip) for kind, signal in kinds
        )
    for exporter, batch in zip(exporters, sent, strict=True):
        assert exporter.export(batch).name == "SUCCESS"
        exporter.shutdown()


def complete(receiver: OtlpReceiver) -> bool:
    return (len(receiver.spans), len(receiver.logs), len(receiver.metrics)) == (2, 1, 4)


@pytest.mark.parametrize(("protocol", "exporter"), [("grpc", "otlp_http"), ("http/protobuf", "otlp_grpc")])
def test_all_signals_arrive_as_they_were_sent_by_either_protocol(tmp_path: Path, protocol: str, exporter: str) -> None:
    sent = signals()
    with OtlpReceiver() as direct, OtlpReceiver() as backend:
        export({"grpc": direct.grpc_endpoint}.get(protocol, direct.http_endpoint), protocol, sent)
        with collector(tmp_path, backend=backend, exporter=exporter) as running:
            export({"grpc": running.grpc}.get(protocol, running.http), protocol, sent)
            backend.wait_for(complete)
            assert running.complaints() == []
        direct.wait_for(complete)
        assert sorted(backend.spans, key=str) == sorted(direct.spans, key=str)
        assert backend.logs == direct.logs
        assert sorted(backend.metrics, key=str) == sorted(direct.metrics, key=str)
        assert {request.protocol for request in backend.requests} == {
            {"otlp_grpc": "grpc"}.get(exporter, "http/protobuf")
        }


def test_the_backend_has_the_guides_workflow_duration_beside_ours(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], RESOURCE)
    ours = meters.get_meter("app").create_histogram("multiagents.workflow.duration", "s")
    for seconds in (0.02, 1.5, 40.0):
        ours.record(seconds, {"workflow.id": "orders"})
    with OtlpReceiver() as backend, collector(tmp_path, backend=backend) as running:
        exporter = HttpMetrics(endpoint=f"{running.http}/v1/metrics")
        assert exporter.export(reader.get_metrics_data()).name == "SUCCESS"  # type: ignore[arg-type]
        exporter.shutdown()
        backend.wait_for(lambda seen: len(seen.metrics) == 2)
        points = {point.name: point for point in backend.metrics}
    meters.shutdown()
    seconds_, milliseconds = points["multiagents.workflow.duration"], points["multiagents_workflow_duration"]
    scaled = replace(
        seconds_,
        name="multiagents_workflow_duration",
        unit="",
        sum=41520.0,
        bounds=tuple(1000 * bound for bound in seconds_.bounds),
        exemplars=milliseconds.exemplars,
    )
    assert milliseconds == scaled
    assert (milliseconds.count, milliseconds.unit) == (3, "")


@pytest.mark.parametrize("exporter", ["otlp_http", "otlp_grpc"])
def test_the_backend_is_sent_the_headers_that_it_wants(tmp_path: Path, exporter: str) -> None:
    env = {"BACKEND_HEADERS": '{x-api-key: "k-1: 2", x-tenant: shop}'}
    with OtlpReceiver() as backend, collector(tmp_path, backend=backend, exporter=exporter, env=env) as running:
        export(running.grpc, "grpc", signals())
        backend.wait_for(complete)
        for request in backend.requests:
            assert (request.headers["x-api-key"], request.headers["x-tenant"]) == ("k-1: 2", "shop")
