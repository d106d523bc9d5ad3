"""What arrives over OTLP, decoded into small frozen values that tests can compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

Signal: TypeAlias = Literal["traces", "metrics", "logs"]
Attributes: TypeAlias = dict[str, Any]
Decoded: TypeAlias = "ReceivedSpan | ReceivedPoint | ReceivedLog"

SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics", "logs")


class ReceivedEvent(NamedTuple):
    """A span's event; compares equal to a plain ``(name, attributes)``."""

    name: str
    attributes: Attributes


class ReceivedLink(NamedTuple):
    """A span's link; compares equal to a plain ``(trace_id, span_id, attributes)``."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as a backend sees it: ids in hex, ``parent_id`` empty for a root."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    status: str
    status_description: str
    events: tuple[ReceivedEvent, ...]
    links: tuple[ReceivedLink, ...]
    resource: Attributes
    scope_name: str
    scope_version: str
    trace_state: str
    flags: int


class ReceivedExemplar(NamedTuple):
    """An exemplar; ``attributes`` are those that a View dropped from the stream."""

    trace_id: str
    span_id: str
    value: float
    attributes: Attributes


@dataclass(frozen=True)
class ReceivedPoint:
    """A metric's point: sums and gauges have ``value``, histograms the rest."""

    name: str
    kind: str
    unit: str
    description: str
    temporality: str
    monotonic: bool
    attributes: Attributes
    resource: Attributes
    scope_name: str
    start_ns: int
    time_ns: int
    value: float | None = None
    count: int | None = None
    sum: float | None = None
    bounds: tuple[float, ...] = ()
    bucket_counts: tuple[int, ...] = ()
    exemplars: tuple[ReceivedExemplar, ...] = ()

    @property
    def stream(self) -> str:
        """Identifies the stream: a later point of it replaces this one."""
        identity = (self.resource, self.scope_name, self.name, self.kind, self.attributes)
        return repr([sorted(part.items(), key=str) if isinstance(part, dict) else part for part in identity])


@dataclass(frozen=True)
class ReceivedLog:
    """A log record; ``severity`` is the number's name ("INFO"), whatever text came with it."""

    body: Any
    attributes: Attributes
    severity: str
    severity_text: str
    event_name: str
    trace_id: str
    span_id: str
    flags: int
    resource: Attributes
    scope_name: str
    time_ns: int


def decode(signal: Signal, body: bytes) -> list[Decoded]:
    """Decodes the body of an export request; raises ValueError when it is none."""
    decoders: Mapping[Signal, Any] = {"traces": _spans, "metrics": _points, "logs": _logs}
    try:
        return list(decoders[signal](body))
    except Exception as error:  # protobuf's DecodeError has another base in each implementation
        raise ValueError(f"not an OTLP {signal} request: {error}") from error


def encoded_response(signal: Signal, rejected: int = 0, message: str = "") -> bytes:
    """The body of the answer to a request that was accepted, but for some of its items."""
    responses: Mapping[Signal, Any] = {
        "traces": trace_service_pb2.ExportTraceServiceResponse,
        "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
        "logs": logs_service_pb2.ExportLogsServiceResponse,
    }
    response = responses[signal]()
    if rejected:
        [field] = [name for name in response.partial_success.DESCRIPTOR.fields_by_name if name.startswith("rejected_")]
        setattr(response.partial_success, field, rejected)
        response.partial_success.error_message = message
    return bytes(response.SerializeToString())


def service_name(signal: Signal) -> str:
    """The full name of the gRPC service that takes a signal."""
    modules = {"traces": trace_service_pb2, "metrics": metrics_service_pb2, "logs": logs_service_pb2}
    (service,) = modules[signal].DESCRIPTOR.services_by_name.values()
    return str(service.full_name)


def _value(value: AnyValue) -> Any:
    """Arrays become tuples, as the SDK's own spans have them."""
    field = value.WhichOneof("value")
    if field is None:
        return None
    if field == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    if field == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, field)


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _spans(body: bytes) -> Iterator[ReceivedSpan]:
    for group in trace_service_pb2.ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield ReceivedSpan(
                    name=span.name,
                    kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    status=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    status_description=span.status.message,
                    events=tuple(ReceivedEvent(event.name, _attributes(event.attributes)) for event in span.events),
                    links=tuple(
                        ReceivedLink(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes))
                        for link in span.links
                    ),
                    resource=resource,
                    scope_name=scoped.scope.name,
                    scope_version=scoped.scope.version,
                    trace_state=span.trace_state,
                    flags=span.flags,
                )


def _points(body: bytes) -> Iterator[ReceivedPoint]:
    for group in metrics_service_pb2.ExportMetricsServiceRequest.FromString(body).resource_metrics:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_metrics:
            for metric in scoped.metrics:
                yield from _points_of(metric, resource, scoped.scope.name)


def _points_of(metric: Metric, resource: Attributes, scope_name: str) -> Iterator[ReceivedPoint]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data: Any = getattr(metric, kind)
    has_temporality = kind not in ("gauge", "summary")
    for point in data.data_points:
        measured: dict[str, Any] = {}
        if kind in ("sum", "gauge"):
            measured["value"] = _number(point)
        else:
            measured["count"], measured["sum"] = point.count, point.sum
        if kind == "histogram":
            measured["bounds"] = tuple(point.explicit_bounds)
            measured["bucket_counts"] = tuple(point.bucket_counts)
        if kind != "summary":
            measured["exemplars"] = tuple(
                ReceivedExemplar(
                    exemplar.trace_id.hex(),
                    exemplar.span_id.hex(),
                    _number(exemplar),
                    _attributes(exemplar.filtered_attributes),
                )
                for exemplar in point.exemplars
            )
        yield ReceivedPoint(
            name=metric.name,
            kind=kind.upper(),
            unit=metric.unit,
            description=metric.description,
            temporality=_temporality(data.aggregation_temporality) if has_temporality else "",
            monotonic=kind == "sum" and data.is_monotonic,
            attributes=_attributes(point.attributes),
            resource=resource,
            scope_name=scope_name,
            start_ns=point.start_time_unix_nano,
            time_ns=point.time_unix_nano,
            **measured,
        )


def _number(point: Any) -> float:
    """An int stays one, so that counts compare and print as counts."""
    number: float = getattr(point, point.WhichOneof("value") or "as_int")
    return number


def _temporality(value: AggregationTemporality.ValueType) -> str:
    return str(AggregationTemporality.Name(value)).removeprefix("AGGREGATION_TEMPORALITY_")


def _logs(body: bytes) -> Iterator[ReceivedLog]:
    for group in logs_service_pb2.ExportLogsServiceRequest.FromString(body).resource_logs:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_logs:
            for record in scoped.log_records:
                yield ReceivedLog(
                    body=_value(record.body),
                    attributes=_attributes(record.attributes),
                    severity=SeverityNumber.Name(record.severity_number).removeprefix("SEVERITY_NUMBER_"),
                    severity_text=record.severity_text,
                    # The oldest protocol that we test with has no event name yet.
                    event_name=getattr(record, "event_name", ""),
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    flags=record.flags,
                    resource=resource,
                    scope_name=scoped.scope.name,
                    time_ns=record.time_unix_nano,
                )
