"""OTLP JSON to records: one line, as the OTLP JSON file exporter and the Collector's ``file`` exporter write it."""

from __future__ import annotations

from collections.abc import Iterator

from multiagents_otel import semconv
from multiagents_otel.cli import json_fields as fields
from multiagents_otel.cli.json_fields import BadLineError, JsonObject
from multiagents_otel.cli.otlp_metrics import read_metric
from multiagents_otel.cli.otlp_values import attributes, value_of
from multiagents_otel.cli.records import Attributes, Batch, Link, LogEvent, Metric, Resource, Span, SpanEvent

_SIGNALS = ("resourceSpans", "resourceMetrics", "resourceLogs")
_IGNORED_SIGNALS = ("resourceProfiles",)
_STATUS_CODES = ("STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR")
_ERROR_CODE = _STATUS_CODES.index("STATUS_CODE_ERROR")
_SAMPLED = 0x01

WORKFLOW_LOGS = frozenset({semconv.LOG_WORKFLOW_STARTED, semconv.LOG_WORKFLOW_STALLED, semconv.LOG_WORKFLOW_RECOVERED})

# The conventions' names for what stands in for service.instance.id; this package does not emit them.
_HOST_NAME = "host.name"
_PROCESS_ID = "process.pid"
_UNKNOWN_SERVICE = "unknown_service"
# Where a log event's name stands if the record has no eventName (which OTLP got in 1.5).
_EVENT_NAME = "event.name"


def read_line(data: bytes) -> Batch:
    """Return what one line of a file holds. Raises BadLineError where any part of it can't be read."""
    document = fields.parse(data)
    if document and not any(key in document for key in (*_SIGNALS, *_IGNORED_SIGNALS)):
        raise BadLineError(f"not OTLP: none of {', '.join(_SIGNALS)}")
    logs: list[LogEvent] = []
    other_logs = 0
    for entry in _logs(document):
        if entry is None:
            other_logs += 1
        else:
            logs.append(entry)
    return Batch(tuple(_spans(document)), tuple(logs), tuple(_metrics(document)), other_logs)


def _spans(document: JsonObject) -> Iterator[Span]:
    for group in fields.objects(document, "resourceSpans"):
        resource = _resource(group)
        for scope in fields.objects(group, "scopeSpans"):
            for entry in fields.objects(scope, "spans"):
                yield _span(resource, entry)


def _metrics(document: JsonObject) -> Iterator[Metric]:
    for group in fields.objects(document, "resourceMetrics"):
        resource = _resource(group)
        for scope in fields.objects(group, "scopeMetrics"):
            name = fields.text(fields.object_at(scope, "scope"), "name")
            for entry in fields.objects(scope, "metrics"):
                metric = read_metric(resource, name, entry)
                if metric is not None:
                    yield metric


def _logs(document: JsonObject) -> Iterator[LogEvent | None]:
    for group in fields.objects(document, "resourceLogs"):
        resource = _resource(group)
        for scope in fields.objects(group, "scopeLogs"):
            for entry in fields.objects(scope, "logRecords"):
                yield _log(resource, entry)


def _resource(group: JsonObject) -> Resource:
    found = attributes(fields.object_at(group, "resource"))
    instance = found.get(semconv.SERVICE_INSTANCE_ID)
    if instance is None:
        instance = "/".join(str(found[key]) for key in (_HOST_NAME, _PROCESS_ID) if key in found)
    return Resource(str(found.get(semconv.SERVICE_NAME) or _UNKNOWN_SERVICE), str(instance))


def _span(resource: Resource, entry: JsonObject) -> Span:
    trace_id, span_id = fields.hex_id(entry, "traceId", 16), fields.hex_id(entry, "spanId", 8)
    if not trace_id or not span_id:
        raise BadLineError("a span without traceId or spanId")
    status = fields.object_at(entry, "status")
    return Span(
        resource=resource,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=fields.hex_id(entry, "parentSpanId", 8),
        name=fields.text(entry, "name"),
        start=fields.unsigned(entry, "startTimeUnixNano"),
        end=fields.unsigned(entry, "endTimeUnixNano"),
        error=fields.enum(status, "code", _STATUS_CODES) == _ERROR_CODE,
        description=fields.text(status, "message"),
        attributes=attributes(entry),
        events=tuple(
            SpanEvent(fields.text(event, "name"), fields.unsigned(event, "timeUnixNano"), attributes(event))
            for event in fields.objects(entry, "events")
        ),
        links=tuple(
            Link(fields.hex_id(link, "traceId", 16), fields.hex_id(link, "spanId", 8))
            for link in fields.objects(entry, "links")
        ),
    )


def _log(resource: Resource, entry: JsonObject) -> LogEvent | None:
    found = attributes(entry)
    name = _event_name(entry, found)
    if name is None:
        return None
    return LogEvent(
        resource=resource,
        trace_id=fields.hex_id(entry, "traceId", 16),
        span_id=fields.hex_id(entry, "spanId", 8),
        sampled=bool(fields.unsigned(entry, "flags") & _SAMPLED),
        name=name,
        time=fields.unsigned(entry, "timeUnixNano") or fields.unsigned(entry, "observedTimeUnixNano"),
        severity=fields.text(entry, "severityText"),
        attributes=found,
    )


def _event_name(entry: JsonObject, found: Attributes) -> str | None:
    body = value_of(fields.object_at(entry, "body"))
    for name in (fields.text(entry, "eventName"), found.get(_EVENT_NAME), body):
        if isinstance(name, str) and name in WORKFLOW_LOGS:
            return name
    return None
