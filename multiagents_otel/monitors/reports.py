"""What monitors answer: plain dicts that JSON can hold, with the guide's keys and the framework's."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any, Final

from multiagents_otel import semconv
from multiagents_otel.monitors.event_book import OUTCOMES, PUBLISHED, RECEIVED, EventBook
from multiagents_otel.monitors.figures import Figures, sum_of
from multiagents_otel.monitors.traces import Entry, iso
from multiagents_otel.monitors.tracked import Names
from multiagents_otel.telemetry.event import Event

CUSTOM_EVENT: Final = "CustomEvent"

_STATUSES: Final = {semconv.SUCCESS: "completed", semconv.ERROR: "failed", semconv.TIMEOUT: "timeout"}
"""The framework's words for outcomes."""


class Told(dict[str, Any]):
    """A dict that can be read by attributes too, as the framework's own objects are."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """A plain dict."""
        return dict(self)


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return iso(time.time_ns())


def event_metrics(book: EventBook, asked: Any, *, sizes: bool) -> dict[str, Any]:
    """``get_event_metrics``."""
    windows = book.windows
    minutes = windows.minutes(asked)
    table = windows.window(minutes)
    table.pop(CUSTOM_EVENT, None)
    whole = sum_of(table)
    told = _counted(whole, minutes, asked)
    span = max(1.0, min(minutes * 60, windows.age))
    told |= {
        "total_events": whole.seen,
        "throughput_per_minute": whole.seen * 60.0 / span,
        "pending": book.events.pending,
        "events_by_type": {kind: figures.seen for kind, figures in sorted(table.items()) if figures.seen},
        "events_by_status": {
            semconv.SUCCESS: whole.success,
            semconv.ERROR: whole.error,
            semconv.TIMEOUT: whole.timeout,
            "pending": book.events.pending,
        },
        "average_processing_time": whole.average / 1e3,
        "metrics_collected_at": now(),
    }
    if sizes:
        told["avg_payload_bytes"] = whole.size / whole.sizes if whole.sizes else 0.0
    return told


def event_type_metrics(book: EventBook, event_type: Any, asked: Any) -> dict[str, Any]:
    """``get_event_type_metrics``."""
    windows = book.windows
    minutes = windows.minutes(asked)
    kind = _kind(event_type)
    table = windows.window(minutes)
    figures = table.get(kind) or Figures()
    total = sum(other.seen for name, other in table.items() if name != CUSTOM_EVENT)
    share = 100.0 * figures.seen / total if total and kind != CUSTOM_EVENT else 0.0
    return {"event_type": kind, "count": figures.seen, "percentage": share, **_counted(figures, minutes, asked)}


def _kind(event_type: Any) -> str:
    if event_type == CUSTOM_EVENT or event_type == semconv.EVENT:
        return str(event_type)
    kind = Event("", {"type": event_type}).kind
    if kind != semconv.EVENT:
        return kind
    return str(event_type.value if isinstance(event_type, Enum) else event_type)


def _counted(figures: Figures, minutes: float, asked: Any) -> dict[str, Any]:
    median, p95, p99 = figures.quantiles(0.5, 0.95, 0.99)
    return {
        "time_window_minutes": asked if asked == minutes else minutes,
        "success_count": figures.success,
        "error_count": figures.failed,
        "timeout_count": figures.timeout,
        "success_rate": figures.success_rate,
        "error_rate": figures.error_rate,
        "avg_latency_ms": figures.average,
        "p50_latency_ms": median,
        "p95_latency_ms": p95,
        "p99_latency_ms": p99,
    }


def event_trace(transaction_id: str | None, names: Names, entries: list[Entry]) -> Told:
    """``get_event_trace``: the fields of the framework's ``EventTrace.to_dict()``, from the event's stages."""
    kind, name, event_id, worker, correlation_id = names
    at = {stage: when for when, _names, stage, *_more in entries}
    last = next((stage for stage in reversed(at) if stage in OUTCOMES), None)
    dispatched, picked_up, completed = at.get(PUBLISHED), at.get(RECEIVED), at[last] if last is not None else None
    status = "picked_up" if picked_up is not None else "dispatched"
    if last is not None:
        status = _STATUSES.get(OUTCOMES[last], status)

    def moment(ns: int | None) -> str | None:
        return iso(ns) if ns is not None else None

    def seconds(start: int | None, end: int | None) -> float | None:
        return max(0, end - start) * 1e-9 if start is not None and end is not None else None

    return Told(
        event_id=event_id,
        event_type=kind,
        name=name,
        transaction_id=transaction_id,
        correlation_id=correlation_id,
        status=status,
        worker_type=worker,
        worker_instance=worker,
        dispatched_at=moment(dispatched),
        picked_up_at=moment(picked_up),
        processing_started_at=moment(picked_up),
        completed_at=moment(completed),
        total_duration=seconds(dispatched, completed),
        pickup_duration=seconds(dispatched, picked_up),
        processing_duration=seconds(picked_up, completed),
        error_message=next((error for *_more, error, _trace, _span, _size in entries if error), None),
        error_details={},
        metadata={},
    )
