"""``EventMonitor``: what happened to the events of this process."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from multiagents_otel import semconv
from multiagents_otel.monitors import event_spans, reports
from multiagents_otel.monitors.event_book import (
    CUSTOM,
    LAST_COMMAND,
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
from multiagents_otel.monitors.tracked import UNKNOWN, Key, Tracked
from multiagents_otel.monitors.windows import Windows
from multiagents_otel.semconv import Outcome
from multiagents_otel.telemetry.event import Event, text

if TYPE_CHECKING:
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
        windows = Windows(self.trace_retention_hours, distribution=self.track_performance)
        traces = Traces(self.max_trace_history, self.max_traces_per_transaction, retention, interval)
        self._book = EventBook(windows, traces)

    # --- operations ----------------------------------------------------------------------------

    def sent(self, sending: Sending, failure: Failure | None) -> None:
        """An event was published."""
        event, kind = sending.event, sending.event.kind
        verdict, error, lost = VERDICTS[kind], None, None
        if kind == semconv.RESULT_EVENT or kind == semconv.ERROR_EVENT:
            verdict, error = verdict_of(kind, sending.data.get), _error_of(event, sending.data.get)
        if failure is not None:
            lost = semconv.UNDELIVERED if failure.error_type == semconv.UNDELIVERED else semconv.ERROR
            error = _told(failure)
        size = sending.size if self.track_payload_size else None
        span = trace.get_current_span(sending.context).get_span_context()
        with self._lock:
            self._book.published(event.id or sending.start_ns, event, verdict, error, sending.start, span, size, lost)
            if kind == semconv.RESULT_EVENT and lost is None:
                self._book.answered(sending.data.get("command_id"), verdict, error)

    def received(self, delivery: Delivery) -> None:
        """An event came in."""
        message, kind = delivery.message, delivery.message.kind
        verdict, error, delay = VERDICTS[kind], None, message.delay
        if kind == semconv.RESULT_EVENT or kind == semconv.ERROR_EVENT:
            verdict, error = verdict_of(kind, delivery.data.get), _error_of(message, delivery.data.get)
        queued = delay * 1e3 if delay is not None else None
        span = trace.get_current_span(delivery.context).get_span_context()
        with self._lock:
            self._book.received(_key(message), message, verdict, error, delivery.start, span, queued)
            if kind == semconv.RESULT_EVENT:
                self._book.answered(delivery.data.get("command_id"), verdict, error)

    def handled(self, message: Message, seconds: float | None) -> None:
        """The last handler is done with an event."""
        key, outcome = _key(message), message.outcome or UNKNOWN
        with self._lock:
            tracked = self._book.events.find(key)
            if outcome == semconv.ERROR and tracked is not None and tracked.verdict == semconv.TIMEOUT:
                outcome = semconv.TIMEOUT
            if tracked is None or tracked.outcome is None or tracked.kind != semconv.COMMAND_EVENT:
                latency = seconds * 1e3 if seconds is not None else None
                span = trace.get_current_span(message.context).get_span_context()
                self._book.finished(key, message, outcome, None, latency, span)

    def execution_ended(self, execution: Execution, outcome: Outcome, failure: Failure | None, seconds: float) -> None:
        """A command's worker ended."""
        message = execution.delivery.message
        if message.excluded:
            return
        delay, error = message.delay, _told(failure) if failure is not None else None
        latency = delay * 1e3 if delay is not None and outcome is not Outcome.CANCELLED else None
        span = trace.get_current_span(execution.context).get_span_context()
        with self._lock:
            self._book.finished(_key(message), message, _OUTCOMES[outcome], error, latency, span)

    def stale(self, message: Message) -> None:
        """A result that no step waits for."""
        with self._lock:
            self._book.noted(self._book.events.see(_key(message), message), STALE)

    def _count_span(self, span: ReadableSpan) -> None:
        with self._lock:
            event_spans.count(self._book, span)

    # --- a worker monitor's callbacks ----------------------------------------------------------

    def command_started(self, worker: str, command_id: str) -> None:
        """A worker takes up a command."""
        with self._lock:
            self._picked_up(command_id, worker)

    def command_ended(self, worker: str, command_id: str, outcome: Outcome, error: str | None) -> None:
        """A command ended."""
        with self._lock:
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
        with self._lock:
            self._track(described, read, stage)

    def _track(self, event: Event, read: Any, stage: str) -> None:
        book, key = self._book, event.id
        if key is None or in_operation(key):  # it can't be counted, or is counted by its operation
            known = book.events.find(key)
            book.noted(known if known is not None else _untold(event), stage)
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
        tracked = Tracked(name, name, text(read("event_id") or read("id")))
        tracked.transaction_id = text(read("transaction_id") or inner("transaction_id"))
        tracked.correlation_id = text(read("correlation_id") or inner("correlation_id"))
        with self._lock:
            self._book.windows.figures(reports.CUSTOM_EVENT).seen += 1
            self._book.noted(tracked, CUSTOM)

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
    ) -> None:
        """The framework publishes an event."""
        if text(event_id) is None or in_operation(event_id):
            return
        ids = {"transaction_id": _known(transaction_id), "correlation_id": _known(correlation_id)}
        name = text(reader_of(metadata)("event_type")) or text(getattr(event_type, "value", event_type)) or ""
        event = Event(name, {"id": event_id, "type": event_type, "metadata": ids})
        with self._lock:
            if event.kind == semconv.RESULT_EVENT:
                verdict = self._book.outcome_of_result(event.correlation_id)
            else:
                verdict = verdict_of(event.kind, lambda _name: None)
            self._book.published(event_id, event, verdict)

    @harmless_async(nothing)
    async def track_event_pickup(self, event_id: Any, worker_type: Any, worker_instance: Any = None) -> None:
        """The framework gives a command to its worker."""
        if text(event_id) is not None and not in_operation(event_id):
            with self._lock:
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
        with self._lock:
            self._book.command_ended(None, event_id, outcome, error_text(error))

    # --- questions -----------------------------------------------------------------------------

    @harmless_async(dict)
    async def get_event_metrics(self, time_window_minutes: Any = 60) -> dict[str, Any]:
        """The events of the last minutes: counts, rates (percent), latencies (ms) and throughput (events a minute)."""
        with self._lock:
            return reports.event_metrics(self._book, time_window_minutes, sizes=self.track_payload_size)

    @harmless_async(dict)
    async def get_event_type_metrics(self, event_type: Any, time_window_minutes: Any = 60) -> dict[str, Any]:
        """The same of one type: a class name (``CommandEvent``), the framework's enum or its value (``command``)."""
        with self._lock:
            return reports.event_type_metrics(self._book, event_type, time_window_minutes)

    @harmless_async(list)
    async def get_transaction_trace(self, transaction_id: Any) -> list[dict[str, Any]]:
        """What happened to the events of a transaction, stage by stage, by time; [] for one that is not known."""
        with self._lock:
            return self._book.traces.of(transaction_id)

    @harmless_async(nothing)
    async def get_event_trace(self, event_id: Any) -> dict[str, Any] | None:
        """One event as the framework's ``EventTrace.to_dict()`` tells it; None if it is not known."""
        with self._lock:
            tracked = self._book.events.find(event_id if isinstance(event_id, str) else None)
            return reports.event_trace(self._book, tracked) if tracked is not None else None

    @harmless_async(list)
    async def get_transaction_events(self, transaction_id: Any) -> list[dict[str, Any]]:
        """The events of a transaction, each as :meth:`get_event_trace` tells it."""
        with self._lock:
            return [reports.event_trace(self._book, event) for event in self._book.traces.events(transaction_id)]

    @harmless(dict)
    def get_monitor_stats(self) -> dict[str, Any]:
        """How much the monitor holds, and its settings."""
        with self._lock:
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


def _key(message: Message) -> Key | None:
    return message.id or message.published_ns


def _told(failure: Failure) -> str:
    return error_text(failure.message) or failure.error_type


def _error_of(event: Event, read: Any) -> str | None:
    if event.kind == semconv.ERROR_EVENT or (event.kind == semconv.RESULT_EVENT and read("success") is False):
        return error_text(read("error_message"))
    return None


def _known(value: object) -> object:
    return value if value != "unknown" else None  # the framework's word for an id that an event does not have


def _untold(event: Event) -> Tracked:
    tracked = Tracked(event.kind, event.name, event.id)
    tracked.transaction_id, tracked.correlation_id = event.transaction_id, event.correlation_id
    return tracked
