"""Spans of the contract's shape that no operation of this process has told of, as events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from multiagents_otel import semconv
from multiagents_otel.monitors.event_book import EventBook, error_text
from multiagents_otel.telemetry.event import Event, text

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


def count(book: EventBook, span: ReadableSpan) -> None:
    """Count a ``send`` or ``process`` span; any other one is passed over."""
    attributes: dict[str, Any] = dict(span.attributes or {})
    operation, event_id = attributes.get(semconv.MESSAGING_OPERATION_TYPE), attributes.get(semconv.MESSAGING_MESSAGE_ID)
    if semconv.EVENT_TYPE not in attributes or text(event_id) is None:
        return
    event, at = _event(span, attributes), _monotonic(span.start_time)
    failed = span.status.status_code is StatusCode.ERROR
    error = error_text(span.status.description) or text(attributes.get(semconv.ERROR_TYPE)) if failed else None
    success = semconv.SUCCESS if event.kind not in (semconv.COMMAND_EVENT, semconv.ERROR_EVENT) else None
    verdict = semconv.ERROR if event.kind == semconv.ERROR_EVENT else success
    if operation == semconv.SEND:
        undelivered = attributes.get(semconv.ERROR_TYPE) == semconv.UNDELIVERED
        lost = (semconv.UNDELIVERED if undelivered else semconv.ERROR) if failed else None
        book.published(event.id, event, verdict, error, at=at, span=span.context, lost=lost)
    elif operation == semconv.PROCESS:
        known = book.events.find(event.id)
        latency = None
        if known is not None and known.published is not None:
            latency = (_monotonic(span.end_time) - known.published) * 1e-6
        book.received(event.id, event, verdict, error, at=at, span=span.context)
        timeout = failed and attributes.get(semconv.ERROR_TYPE) == semconv.TIMEOUT
        outcome = semconv.TIMEOUT if timeout else semconv.ERROR if failed else verdict or semconv.SUCCESS
        book.finished(event.id, event, outcome, error, latency=latency, span=span.context)


def _event(span: ReadableSpan, attributes: dict[str, Any]) -> Event:
    name = span.name.partition(" ")[2] or span.name
    ids = {
        "transaction_id": attributes.get(semconv.TRANSACTION_ID),
        "correlation_id": attributes.get(semconv.MESSAGING_CONVERSATION_ID),
    }
    kind, event_id = attributes[semconv.EVENT_TYPE], attributes.get(semconv.MESSAGING_MESSAGE_ID)
    return Event(name, {"id": event_id, "type": kind, "metadata": ids})


def _monotonic(wall_ns: int | None) -> int:
    """A span's time by ``perf_counter_ns``."""
    return time.perf_counter_ns() - (time.time_ns() - (wall_ns or time.time_ns()))
