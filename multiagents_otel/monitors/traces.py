"""Transactions' traces: what happened to the events of each, stage by stage, bounded in every direction."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from datetime import datetime, timezone
from operator import itemgetter
from typing import Any, Final, TypeAlias

from opentelemetry.trace import SpanContext

from multiagents_otel.monitors.tracked import Names, Tracked

_MAX_ENTRIES: Final = 500_000
"""Of all transactions together: 10,000 of 50 stages each."""


Entry: TypeAlias = "tuple[int, Names, str, float | None, str | None, int, int, int | None]"
"""One stage of one event: when (ns by ``perf_counter_ns``), the event's names, the stage, ms of queue time (of what was
received) or latency (of what is finished), the error's text, scrubbed, trace id, span id, bytes."""


class _Trace:
    __slots__ = ("entries", "offset", "touched")

    def __init__(self, longest: int, now: int) -> None:
        self.entries: deque[Entry] = deque(maxlen=longest)
        # Times within a transaction go by the monotonic clock, from the wall clock's time at its first entry.
        self.offset = time.time_ns() - now
        self.touched = now


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
        self._retention = int(retention * 1e9)
        self._interval = int(interval * 1e9)
        # The one that nothing has happened to for the longest time comes first.
        self._traces: OrderedDict[str, _Trace] = OrderedDict()
        self._newest: str | None = None
        self._entries = 0
        self._cleaned = time.perf_counter_ns()

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
        transaction, stages = event.transaction_id, event.stages
        if transaction is None or stage in stages:
            return
        event.stages = (*stages, stage)
        now = time.perf_counter_ns()
        trace = self._traces[transaction] if transaction == self._newest else self._touched(transaction, now)
        trace.touched = now
        entries = trace.entries
        if len(entries) < self._longest:
            self._entries += 1
        trace_id, span_id = (span.trace_id, span.span_id) if span is not None else (0, 0)
        entries.append((now if at is None else at, event.names, stage, duration, error, trace_id, span_id, size))

    def _touched(self, transaction: str, now: int) -> _Trace:
        if now - self._cleaned >= self._interval:
            self.clean()
        trace = self._traces.get(transaction)
        if trace is None:
            trace = self._traces[transaction] = _Trace(self._longest, now)
        else:
            self._traces.move_to_end(transaction)
        self._newest = transaction
        while len(self._traces) > self._transactions or (self._entries > _MAX_ENTRIES and len(self._traces) > 1):
            self._drop(next(iter(self._traces)))
        return trace

    def _drop(self, transaction: str) -> None:
        self._entries -= len(self._traces.pop(transaction).entries)
        if transaction == self._newest:
            self._newest = None

    def clean(self) -> None:
        """Forget the transactions that nothing has happened to for longer than the retention."""
        now = self._cleaned = time.perf_counter_ns()
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

    def events(self, transaction: object) -> dict[Names, list[Entry]]:
        """The entries of each event of a transaction, in the order of the first ones; times are ns since the epoch."""
        trace = self._traces.get(transaction) if isinstance(transaction, str) else None
        events: dict[Names, list[Entry]] = {}
        if trace is not None:
            for entry in self._sorted(trace):
                events.setdefault(entry[1], []).append((entry[0] + trace.offset, *entry[1:]))
        return events

    def _sorted(self, trace: _Trace) -> list[Entry]:
        oldest = time.perf_counter_ns() - self._retention
        return sorted((entry for entry in trace.entries if entry[0] >= oldest), key=itemgetter(0))


def iso(ns: int) -> str:
    """A time in ns since the epoch as ISO 8601 in UTC, microseconds always."""
    moment = datetime.fromtimestamp(ns // 1_000_000_000, timezone.utc).replace(microsecond=ns // 1000 % 1_000_000)
    return moment.isoformat(timespec="microseconds")


def _told(entry: Entry, offset: int) -> dict[str, Any]:
    at, names, stage, duration, error, trace_id, span_id, size = entry
    kind, name, event_id, worker, correlation_id = names
    told: dict[str, Any] = {
        "timestamp": iso(at + offset),
        "event_type": kind,
        "stage": stage,
        "event_id": event_id,
        "name": name,
        "worker": worker,
        "correlation_id": correlation_id,
        "duration_ms": duration,
        "error": error,
        "trace_id": f"{trace_id:032x}" if trace_id else None,
        "span_id": f"{span_id:016x}" if span_id else None,
    }
    if size is not None:
        told["size_bytes"] = size
    return told
