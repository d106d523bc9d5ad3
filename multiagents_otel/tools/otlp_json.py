"""OTLP JSON to records: one request, as the OTLP JSON file exporter and the Collector's ``file`` exporter write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from multiagents_otel import semconv
from multiagents_otel.tools import json_fields as fields
from multiagents_otel.tools.json_fields import BadLineError, Json, JsonObject
from multiagents_otel.tools.otlp_metrics import read_metric
from multiagents_otel.tools.otlp_values import as_text, attributes, value_of
from multiagents_otel.tools.records import (
    Attributes,
    Batch,
    Labels,
    Link,
    LogEvent,
    Resource,
    Scope,
    Span,
    SpanEvent,
)

_SIGNALS = ("resourceSpans", "resourceMetrics", "resourceLogs")
_IGNORED_SIGNALS = ("resourceProfiles",)
_STATUS_CODES = ("STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR")
_ERROR_CODE = _STATUS_CODES.index("STATUS_CODE_ERROR")
_SAMPLED = 0x01

_Read = TypeVar("_Read")

WORKFLOW_LOGS = frozenset({semconv.LOG_WORKFLOW_STARTED, semconv.LOG_WORKFLOW_STALLED, semconv.LOG_WORKFLOW_RECOVERED})

# The conventions' names for what stands in for service.instance.id; this package does not emit them.
_HOST_NAME = "host.name"
_PROCESS_ID = "process.pid"
_UNKNOWN_SERVICE = "unknown_service"
# Where a log event's name stands if the record has no eventName (which OTLP got in 1.5).
_EVENT_NAME = "event.name"


def is_request(value: Json) -> bool:
    """Whether a JSON document is one of OTLP, by its fields; what they hold may be wrong."""
    return isinstance(value, dict) and any(fields.has(value, key) for key in (*_SIGNALS, *_IGNORED_SIGNALS))


def read_request(value: Json) -> Batch:
    """Return what one JSON document of a file holds. Raises BadLineError where any part of it can't be read."""
    document = fields.as_object(value)
    if document and not is_request(document):
        raise BadLineError(f"not OTLP: none of {', '.join(_SIGNALS)}")
    logs = [*_entries(document, "resourceLogs", "scopeLogs", "logRecords", _log)]
    metrics = _entries(document, "resourceMetrics", "scopeMetrics", "metrics", read_metric)
    events = tuple(log for log in logs if log is not None)
    return Batch(
        spans=tuple(_entries(document, "resourceSpans", "scopeSpans", "spans", _span)),
        logs=events,
        metrics=tuple(metric for metric in metrics if metric is not None),
        other_logs=len(logs) - len(events),
    )


def _entries(
    document: JsonObject, groups: str, scopes: str, entries: str, read: Callable[[Resource, Scope, JsonObject], _Read]
) -> Iterator[_Read]:
    """Return what ``read`` makes of the entries of one signal."""
    # Until version 0.19 of OTLP the scope was the instrumentation library, its fields the same.
    old_scopes = scopes.replace("scope", "instrumentationLibrary")

    def read_group(group: JsonObject) -> list[list[_Read]]:
        resource = _resource(group)

        def read_scope(entry: JsonObject) -> list[_Read]:
            scope = _scope(entry)
            return fields.objects(entry, entries, partial(read, resource, scope))

        return fields.objects(group, scopes, read_scope) + fields.objects(group, old_scopes, read_scope)

    for group in fields.objects(document, groups, read_group):
        for scope in group:
            yield from scope


def _resource(group: JsonObject) -> Resource:
    found = attributes(fields.object_at(group, "resource"))
    instance = found.get(semconv.SERVICE_INSTANCE_ID)
    if instance is None:
        instance = "/".join(as_text(found[key]) for key in (_HOST_NAME, _PROCESS_ID) if key in found)
    return Resource(as_text(found.get(semconv.SERVICE_NAME)) or _UNKNOWN_SERVICE, as_text(instance), Labels(found))


def _scope(group: JsonObject) -> Scope:
    scope = fields.object_at(group, "scope") or fields.object_at(group, "instrumentationLibrary")
    return Scope(fields.text(scope, "name"), fields.text(scope, "version"), Labels(attributes(scope)))


def _span(resource: Resource, _scope: Scope, entry: JsonObject) -> Span:
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
        events=tuple(fields.objects(entry, "events", _event)),
        links=tuple(fields.objects(entry, "links", _link)),
    )


def _event(entry: JsonObject) -> SpanEvent:
    return SpanEvent(fields.text(entry, "name"), fields.unsigned(entry, "timeUnixNano"), attributes(entry))


def _link(entry: JsonObject) -> Link:
    return Link(fields.hex_id(entry, "traceId", 16), fields.hex_id(entry, "spanId", 8))


def _log(resource: Resource, _scope: Scope, entry: JsonObject) -> LogEvent | None:
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
