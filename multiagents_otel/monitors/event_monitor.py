"""``EventMonitor``: what happened to the events of this process."""

from __future__ import annotations

from enum import Enum
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from multiagents_otel import semconv
from multiagents_otel.core.scope import LAST_COMMAND
from multiagents_otel.monitors import event_spans, reports
from multiagents_otel.monitors.event_book import (
    CUSTOM,
    OUTCOMES,
    PUBLISHED,
    RECEIVED,
    STALE,
    VERDICTS,
    EventBook,
    by_hand,
    error_text,
    reader_of,
    since,
    verdict_of,
)
from multiagents_otel.monitors.monitor import Monitor, harmless, harmless_async, in_operation, nothing
from multiagents_otel.monitors.numbers import number
from multiagents_otel.monitors.traces import Traces
from multiagents_otel.monitors.tracked import UNKNOWN, Tracked, tracked_of
from multiagents_otel.monitors.windows import Windows
from multiagents_otel.semconv import Outcome
from multiagents_otel.telemetry.event import Event, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from multiagents_otel.telemetry.delivery import Delivery, Message
    from multiagents_otel.telemetry.execution import Execution
    from multiagents_otel.telemetry.failure import Failure
    from multiagents_otel.telemetry.sending import Sending

_OUTCOMES = {
    Outcome.SUCCESS: semconv.SUCCESS,
    Outcome.ERROR: semconv.ERROR,
    Outcome.TIMEOUT: semconv.TIMEOUT,
    Outcome.CANCELLED: UNKNOWN,
}
_MAX_STAGE = 64


class EventMonitor(Monitor):
    """Counts the events of this process, their outcomes and latencies, and keeps their transactions' traces.

    It hears of every event that an instrumented bus publishes or delivers, recorded as a span or not; where nothing
    is instrumented, of what the framework tells it as its event monitor (``RedisEventBus(event_monitor=...)``), and of
    outcomes from a :class:`WorkerMonitor`. An event counts once, by its id, however often it is told of.

    Args:
        logger: accepted as the framework's monitors have it; nothing is logged for an event.
        max_trace_history: transactions whose traces are kept.
        cleanup_interval_minutes: how often traces that are too old are looked for, while events come.
        trace_retention_hours: how long a trace is kept; counts reach as far back, and 24 hours at least.
        max_traces_per_transaction: the newest stages that are kept of one transaction.
        track_payload_size: tell payload sizes (bytes) in metrics and traces, where the instrumentation knows them.
        track_performance: tell quantiles of latencies; without it they are 0.0.

    No method raises, whatever it is given; a fault is counted in ``multiagents.otel.errors``, component ``monitor``.
    """

    _instruments = ("multiagents.event.", "multiagents.events")

    def __init__(
        self,
        logger: Any = None,
        max_trace_history: int = 10_000,
        cleanup_interval_minutes: float = 60,
        trace_retention_hours: float = 24,
        *,
        max_traces_per_transaction: int = 1_000,
        track_payload_size: bool = True,
        track_performance: bool = True,
    ) -> None:
        self.max_trace_history = int(number(max_trace_history, 10_000, least=1))
        self.cleanup_interval_minutes = number(cleanup_interval_minutes, 60)
        self.trace_retention_hours = number(trace_retention_hours, 24)
        self.max_traces_per_transaction = int(number(max_traces_per_transaction, 1_000, least=1))
        self.track_payload_size = bool(track_payload_size)
        self.track_performance = bool(track_performance)
        self._reset()
        super().__init__(logger)

    def _reset(self) -> None:
        retention, interval = self.trace_retention_hours * 3600, self.cleanup_interval_minutes * 60
        windows = self._windows = Windows(self.trace_retention_hours, distribution=self.track_performance)
        traces = self._new_traces(self.max_trace_history, self.max_traces_per_transaction, retention, interval)
        self._book = EventBook(windows, traces)

    def _new_traces(self, transactions: int, longest: int, retention: float, interval: float) -> Traces:
        return Traces(transactions, longest, retention, interval)

    # --- operations ----------------------------------------------------------------------------

    def sent(self, sending: Sending, failure: Failure | None) -> None:
        """An event was published."""
        event = sending.event
        verdict, error, answers = _told_by(event, sending.data)
        lost = None
        if failure is not None:
            lost = semconv.UNDELIVERED if failure.error_type == semconv.UNDELIVERED else semconv.ERROR
            error = _text_of(failure)
        key, size = event.id or sending.start_ns, sending.size if self.track_payload_size else None
        span = trace.get_current_span(sending.context).get_span_context()
        self._later(self._book.published, key, event, verdict, error, sending.start, span, size, lost, answers)

    def received(self, delivery: Delivery) -> None:
        """An event came in."""
        message, delay = delivery.message, delivery.message.delay
        verdict, error, answers = _told_by(message, delivery.data)
        key, queued = message.id or message.published_ns, delay * 1e3 if delay is not None else None
        span = trace.get_current_span(delivery.context).get_span_context()
        self._later(self._book.received, key, message, verdict, error, delivery.start, span, queued, answers)

    def handled(self, message: Message, seconds: float | None) -> None:
        """The last handler is done with an event."""
        latency = seconds * 1e3 if seconds is not None else None
        key, span = message.id or message.published_ns, trace.get_current_span(message.context).get_span_context()
        self._later(self._book.handled, key, message, message.outcome or UNKNOWN, latency, span, perf_counter_ns())

    def execution_ended(self, execution: Execution, outcome: Outcome, failure: Failure | None, seconds: float) -> None:
        """A command's worker ended."""
        message = execution.delivery.message
        if message.excluded:
            return
        delay, error = message.delay, _text_of(failure) if failure is not None else None
        latency = delay * 1e3 if delay is not None and outcome is not Outcome.CANCELLED else None
        key, span = message.id or message.published_ns, trace.get_current_span(execution.context).get_span_context()
        self._later(self._book.finished, key, message, _OUTCOMES[outcome], error, latency, span, perf_counter_ns())

    def stale(self, message: Message) -> None:
        """A result that no step waits for."""
        self._later(self._book.noted, message.id or message.published_ns, message, STALE, perf_counter_ns())

    def _count_span(self, span: ReadableSpan) -> None:
        self._later(event_spans.count, self._book, span)

    # --- a worker monitor's callbacks ----------------------------------------------------------

    def command_started(self, worker: str, command_id: str) -> None:
        """A worker takes up a command."""
        with self._caught_up():
            self._picked_up(command_id, worker)

    def command_ended(self, worker: str, command_id: str, outcome: Outcome, error: str | None) -> None:
        """A command ended."""
        with self._caught_up():
            self._book.command_ended(worker, command_id, _OUTCOMES[outcome], error)

    def _picked_up(self, command_id: str, worker: str | None) -> None:
        name = f"command.{worker}" if worker else semconv.COMMAND_EVENT
        event = Event(name, {"id": command_id, "type": semconv.COMMAND_EVENT})
        known = self._book.events.find(command_id)
        self._book.received(command_id, event, None, queued=since(known.published) if known is not None else None)

    # --- by hand -------------------------------------------------------------------------------

    @harmless_async(nothing)
    async def track_event_lifecycle(self, event: Any, stage: Any) -> None:
        """Track a stage of an event by hand: it counts as if it had been seen.

        Args:
            event: an Event of the framework's, or a dict of the same fields.
            stage: ``published``, ``received``, ``completed``, ``error``, ``timeout``, ``cancelled``, ``undelivered``;
                any other word is in the transaction's trace and changes no count.
        """
        told = text(stage.value if isinstance(stage, Enum) else stage)
        if told is None or event is None or isinstance(event, (str, bytes, int, float)):
            return
        read, stage = reader_of(event), told[:_MAX_STAGE]
        described = by_hand(read)
        with self._caught_up():
            self._track(described, read, stage)

    def _track(self, event: Event, read: Any, stage: str) -> None:
        book, key = self._book, event.id
        if key is None or in_operation(key):  # it can't be counted, or is counted by its operation
            known = book.events.find(key)
            book.traces.add(known if known is not None else tracked_of(event), stage)
            return
        verdict, error = verdict_of(event.kind, read), _error_of(event, read)
        outcome = OUTCOMES.get(stage)
        if event.kind in (semconv.RESULT_EVENT, semconv.ERROR_EVENT) and outcome is not None:
            outcome = verdict or outcome
        tracked = book.events.see(key, event)
        if stage == PUBLISHED:
            book.published(key, event, verdict, error)
        elif stage == RECEIVED:
            book.received(key, event, verdict, error, queued=since(tracked.published))
        else:
            latency = since(tracked.published)
            if outcome is not None and not (tracked.kind == semconv.COMMAND_EVENT and tracked.outcome is not None):
                book.events.finish(key, tracked, outcome, latency)
            book.traces.add(tracked, stage, None, tracked.latency if outcome is not None else None, error)
        if tracked.outcome is None and verdict is not None:
            book.events.finish(key, tracked, verdict)
        if event.kind == semconv.RESULT_EVENT:
            book.answered(read("command_id"), verdict, error)

    @harmless_async(nothing)
    async def track_custom_event(self, custom_event: Any) -> None:
        """Track an event of the user's own: a dict with ``event_name`` and, in it or in its ``data``, the transaction.

        It is in the transaction's trace, stage ``custom``, and in ``get_event_type_metrics("CustomEvent")``.
        """
        read = reader_of(custom_event)
        inner = reader_of(read("data"))
        name = text(read("event_name")) or reports.CUSTOM_EVENT
        event_id, correlation_id = read("event_id") or read("id"), read("correlation_id") or inner("correlation_id")
        transaction_id = text(read("transaction_id") or inner("transaction_id"))
        tracked = Tracked((name, name, text(event_id), None, text(correlation_id)), transaction_id)
        with self._caught_up():
            self._book.windows.figures(reports.CUSTOM_EVENT).seen += 1
            self._book.traces.add(tracked, CUSTOM)

    # --- the framework's IEventMonitor ---------------------------------------------------------

    @harmless_async(nothing)
    async def track_event_dispatch(
        self,
        event_id: Any,
        event_type: Any,
        transaction_id: Any = None,
        correlation_id: Any = None,
        source: Any = None,
        metadata: Any = None,
    ) -> dict[str, Any] | None:
        """The framework publishes an event; returns what :meth:`get_event_trace` does, unless an operation tells it."""
        if text(event_id) is None or in_operation(event_id):
            return None
        ids = {"transaction_id": _known(transaction_id), "correlation_id": _known(correlation_id)}
        name = text(reader_of(metadata)("event_type")) or text(getattr(event_type, "value", event_type)) or ""
        event = Event(name, {"id": event_id, "type": event_type, "metadata": ids})
        with self._caught_up():
            if event.kind == semconv.RESULT_EVENT:
                verdict = self._book.outcome_of_result(event.correlation_id)
            else:
                verdict = verdict_of(event.kind, lambda _name: None)
            self._book.published(event_id, event, verdict)
        return await self.get_event_trace(event_id)

    @harmless_async(nothing)
    async def track_event_pickup(self, event_id: Any, worker_type: Any, worker_instance: Any = None) -> None:
        """The framework gives a command to its worker."""
        if text(event_id) is not None and not in_operation(event_id):
            with self._caught_up():
                self._picked_up(event_id, text(worker_type))

    @harmless_async(nothing)
    async def track_event_processing(self, event_id: Any) -> None:
        """The framework calls the worker, right after it has told of the pick-up."""

    @harmless_async(nothing)
    async def track_event_completion(self, event_id: Any, result_metadata: Any = None) -> None:
        """A command's worker returned; the result itself is not kept."""
        self._callback(event_id, semconv.SUCCESS, None)

    @harmless_async(nothing)
    async def track_event_failure(self, event_id: Any, error_message: Any = None, error_details: Any = None) -> None:
        """A command's worker raised."""
        self._callback(event_id, semconv.ERROR, error_message)

    @harmless_async(nothing)
    async def track_event_timeout(self, event_id: Any) -> None:
        """A command's worker ran into its timeout."""
        self._callback(event_id, semconv.TIMEOUT, None)

    def _callback(self, event_id: Any, outcome: str, error: Any) -> None:
        if text(event_id) is None or in_operation(event_id):
            return
        LAST_COMMAND.set((event_id, outcome))
        with self._caught_up():
            self._book.command_ended(None, event_id, outcome, error_text(error))

    # --- questions -----------------------------------------------------------------------------

    @harmless_async(dict)
    async def get_event_metrics(self, time_window_minutes: Any = 60) -> dict[str, Any]:
        """The events of the last minutes: counts, rates (percent), latencies (ms) and throughput (events a minute)."""
        with self._caught_up():
            return reports.event_metrics(self._book, time_window_minutes, sizes=self.track_payload_size)

    @harmless_async(dict)
    async def get_event_type_metrics(self, event_type: Any, time_window_minutes: Any = 60) -> dict[str, Any]:
        """The same of one type: a class name (``CommandEvent``), the framework's enum or its value (``command``)."""
        with self._caught_up():
            return reports.event_type_metrics(self._book, event_type, time_window_minutes)

    @harmless_async(list)
    async def get_transaction_trace(self, transaction_id: Any) -> list[dict[str, Any]]:
        """What happened to the events of a transaction, stage by stage, by time; [] for one that is not known."""
        with self._caught_up():
            return self._book.traces.of(transaction_id)

    @harmless_async(nothing)
    async def get_event_trace(self, event_id: Any) -> dict[str, Any] | None:
        """One event as the framework's ``EventTrace.to_dict()`` tells it; None if it is not known."""
        with self._caught_up():
            tracked = self._book.events.find(event_id if isinstance(event_id, str) else None)
            if tracked is None:
                return None
            transaction_id, names = tracked.transaction_id, tracked.names
            entries = self._book.traces.events(transaction_id).get(names, [])
            return reports.event_trace(transaction_id, names, entries)

    @harmless_async(list)
    async def get_transaction_events(self, transaction_id: Any) -> list[dict[str, Any]]:
        """The events of a transaction, each as :meth:`get_event_trace` tells it."""
        with self._caught_up():
            events = self._book.traces.events(transaction_id)
            return [reports.event_trace(transaction_id, names, entries) for names, entries in events.items()]

    @harmless(dict)
    def get_monitor_stats(self) -> dict[str, Any]:
        """How much the monitor holds, and its settings."""
        with self._caught_up():
            return {
                "active_traces": self._book.traces.entries,
                "active_transactions": len(self._book.traces),
                "pending": self._book.events.pending,
                "max_trace_history": self.max_trace_history,
                "max_traces_per_transaction": self.max_traces_per_transaction,
                "cleanup_interval_minutes": self.cleanup_interval_minutes,
                "trace_retention_hours": self.trace_retention_hours,
                "running": self._running,
            }


def _told_by(event: Event, data: Mapping[str, Any]) -> tuple[str | None, str | None, object]:
    """The outcome and the error that an event tells, and the command that it answers."""
    kind = event.kind
    if kind == semconv.RESULT_EVENT:
        return verdict_of(kind, data.get), _error_of(event, data.get), data.get("command_id")
    return VERDICTS[kind], _error_of(event, data.get) if kind == semconv.ERROR_EVENT else None, None


def _text_of(failure: Failure) -> str:
    return error_text(failure.message) or failure.error_type


def _error_of(event: Event, read: Any) -> str | None:
    if event.kind == semconv.ERROR_EVENT or (event.kind == semconv.RESULT_EVENT and read("success") is False):
        return error_text(read("error_message"))
    return None


def _known(value: object) -> object:
    return value if value != "unknown" else None  # the framework's word for an id that an event does not have
