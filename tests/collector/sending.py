"""OTLP as others write it: requests built by hand, sent by hand."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from tests.support.collectors import Running
from tests.support.otlp import service_name


def value(of: Any) -> AnyValue:
    """The value as OTLP has it."""
    if isinstance(of, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=attributes(of)))
    if isinstance(of, list | tuple):
        return AnyValue(array_value=ArrayValue(values=map(value, of)))
    if isinstance(of, bool):
        return AnyValue(bool_value=of)
    if isinstance(of, int):
        return AnyValue(int_value=of)
    return AnyValue(double_value=of) if isinstance(of, float) else AnyValue(string_value=of)


def attributes(of: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes as OTLP has them."""
    return [KeyValue(key=key, value=value(each)) for key, each in of.items()]


def traces(*spans: Any, resource: Mapping[str, Any] | None = None, scope: str = "app") -> ExportTraceServiceRequest:
    """A request with these spans (dicts of a span's fields)."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(attributes(resource or {}))
    scoped = group.scope_spans.add()
    scoped.scope.name = scope
    for number, span in enumerate(spans, 1):
        scoped.spans.add(**{"trace_id": bytes(15) + b"\1", "span_id": number.to_bytes(8, "big"), **span})
    return request


def logs(*records: Any, resource: Mapping[str, Any] | None = None) -> ExportLogsServiceRequest:
    """A request with these records (dicts of a record's fields)."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(attributes(resource or {}))
    scoped = group.scope_logs.add()
    for record in records:
        scoped.log_records.add(**record)
    return request


def metrics(*points: Any, resource: Mapping[str, Any] | None = None) -> ExportMetricsServiceRequest:
    """A request with a gauge ``app.gauge`` of these points (dicts of a point's fields)."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(attributes(resource or {}))
    metric = group.scope_metrics.add().metrics.add(name="app.gauge")
    for point in points:
        metric.gauge.data_points.add(**{"as_int": 1, "time_unix_nano": 1, **point})
    return request


def post(running: Running, path: str, body: bytes, headers: Mapping[str, str] | None = None, **more: Any) -> int:
    """POST to the Collector: the status of the answer."""
    kind = {"Content-Type": "application/x-protobuf", **(headers or {})}
    base = more.pop("base", running.http)
    request = urllib.request.Request(f"{base}/v1/{path}", body, kind, method=more.pop("method", "POST"))
    try:
        with urllib.request.urlopen(request, timeout=20, **more) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def call(
    address: str,
    body: bytes,
    *,
    credentials: Any = None,
    headers: Mapping[str, str] | None = None,
    compression: Any = None,
) -> str:
    """Send a request for traces over gRPC: the name of the answer's status.

    Args:
        address: host and port.
        body: of the request, whatever bytes.
        credentials: of the channel; plain text without.
        headers: with small names.
        compression: of the body.
    """
    channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
    with channel:
        export = channel.unary_unary(f"/{service_name('traces')}/Export")
        try:
            export(body, timeout=20, metadata=tuple((headers or {}).items()), compression=compression)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"
