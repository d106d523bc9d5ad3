"""Transactions' traces: what happened to the events of each, stage by stage, bounded in every direction."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple

from opentelemetry.trace import SpanContext

from multiagents_otel.monitors.tracked import Tracked

_MAX_ENTRIES: Final = 500_000
"""Of all transactions together: 10,000 of 50 stages each."""


class Entry(NamedTuple):
    """One stage of one event.

    Attributes:
        at: when, ns by ``perf_counter_ns``.
        duration: ms; queue time of what was received, latency of what is finished.
        error: scrubbed.
    """

    at: int
    event: Tracked
    stage: str
    duration: float | None
    error: str | None
    trace_id: int
    span_id: int
    size: int | None


class _Trace:
    __slots__ = ("entries", "offset", "touched")

    def __init__(self, longest: int) -> None:
        self.entries: deque[Entry] = deque(maxlen=longest)
        # Times within a transaction go by the monotonic clock, from the wall clock's time at its first entry.
        self.offset = time.time_ns() - time.perf_counter_ns()
        self.touched = time.monotonic()


class Traces:
    """The newest transactions, and the newest entries of each.

    Args:
        transactions: how many transactions are kept.
        longest: how many entries of each.
        retention: seconds after which an entry is forgotten.
        interval: seconds between two looks for transactions that are older than that.
    """

    def __init__(self, transactions: int, longest: int, retention: float, interval: float) -> None:
        self._transactions = transactions
        self._longest = longest
        self._retention = retention
        self._interval = interval
        self._traces: dict[str, _Trace] = {}  # the one that nothing has happened to for the longest time comes first
        self._entries = 0
        self._cleaned = time.monotonic()

    def __len__(self) -> int:
        return len(self._traces)

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return self._entries

    def add(
        self,
        event: Tracked,
        stage: str,
        at: int | None = None,
        duration: float | None = None,
        error: str | None = None,
        span: SpanContext | None = None,
        size: int | None = None,
    ) -> None:
        """A stage of an event, told once however often it comes; ``duration`` in ms."""
        transaction = event.transaction_id
        if transaction is None or stage in event.stages:
            return
        event.stages = (*event.stages, stage)
        now = time.monotonic()
        if now - self._cleaned >= self._interval:
            self.clean()
        trace = self._traces.pop(transaction, None)
        if trace is None:
            trace = _Trace(self._longest)
        self._traces[transaction] = trace
        trace.touched = now
        if len(trace.entries) < self._longest:
            self._entries += 1
        trace_id, span_id = (span.trace_id, span.span_id) if span is not None and span.is_valid else (0, 0)
        entry = Entry(
            time.perf_counter_ns() if at is None else at, event, stage, duration, error, trace_id, span_id, size
        )
        trace.entries.append(entry)
        while len(self._traces) > self._transactions or (self._entries > _MAX_ENTRIES and len(self._traces) > 1):
            self._drop(next(iter(self._traces)))

    def _drop(self, transaction: str) -> None:
        self._entries -= len(self._traces.pop(transaction).entries)

    def clean(self) -> None:
        """Forget the transactions that nothing has happened to for longer than the retention."""
        now = self._cleaned = time.monotonic()
        while self._traces:
            oldest = next(iter(self._traces))
            if now - self._traces[oldest].touched <= self._retention:
                break
            self._drop(oldest)

    def of(self, transaction: object) -> list[dict[str, Any]]:
        """A transaction's entries as the guide shows them, by time; [] for one that is not known."""
        self.clean()
        trace = self._traces.get(transaction) if isinstance(transaction, str) else None
        if trace is None:
            return []
        return [_told(entry, trace.offset) for entry in self._sorted(trace)]

    def of_event(self, event: Tracked) -> tuple[list[Entry], int]:
        """The entries of one event by time, and what makes ns since the epoch of their times."""
        trace = self._traces.get(event.transaction_id or "")
        if trace is None:
            return [], 0
        return [entry for entry in self._sorted(trace) if entry.event is event], trace.offset

    def events(self, transaction: object) -> list[Tracked]:
        """The events of a transaction, in the order in which they came."""
        trace = self._traces.get(transaction) if isinstance(transaction, str) else None
        return list(dict.fromkeys(entry.event for entry in self._sorted(trace))) if trace is not None else []

    def _sorted(self, trace: _Trace) -> list[Entry]:
        oldest = time.perf_counter_ns() - int(self._retention * 1e9)
        return sorted((entry for entry in trace.entries if entry.at >= oldest), key=lambda entry: entry.at)


def iso(ns: int) -> str:
    """A time in ns since the epoch as ISO 8601 in UTC, microseconds always."""
    moment = datetime.fromtimestamp(ns // 1_000_000_000, timezone.utc).replace(microsecond=ns // 1000 % 1_000_000)
    return moment.isoformat(timespec="microseconds")


def _told(entry: Entry, offset: int) -> dict[str, Any]:
    event = entry.event
    told: dict[str, Any] = {
        "timestamp": iso(entry.at + offset),
        "event_type": event.kind,
        "stage": entry.stage,
        "event_id": event.id,
        "name": event.name,
        "worker": event.worker,
        "correlation_id": event.correlation_id,
        "duration_ms": entry.duration,
        "error": entry.error,
        "trace_id": f"{entry.trace_id:032x}" if entry.trace_id else None,
        "span_id": f"{entry.span_id:016x}" if entry.span_id else None,
    }
    if entry.size is not None:
        told["size_bytes"] = entry.size
    return told
