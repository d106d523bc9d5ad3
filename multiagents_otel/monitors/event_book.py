"""The book of events: what happens to each of them becomes counts, latencies and traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from time import perf_counter_ns
from typing import Any, Final

from opentelemetry.trace import SpanContext

from multiagents_otel import semconv
from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.core.scope import LAST_COMMAND
from multiagents_otel.monitors.traces import Traces
from multiagents_otel.monitors.tracked import UNKNOWN, Events, Key, Tracked
from multiagents_otel.monitors.windows import Windows
from multiagents_otel.processing.redaction import scrub
from multiagents_otel.telemetry.event import Event, text

PUBLISHED: Final = "published"
RECEIVED: Final = "received"
COMPLETED: Final = "completed"
STALE: Final = "stale"
CUSTOM: Final = "custom"

_MAX_ERROR: Final = 500
_OUTCOMES_REMEMBERED: Final = 10_000

OUTCOMES: Final[dict[str, str]] = {
    COMPLETED: semconv.SUCCESS,
    "success": semconv.SUCCESS,
    semconv.ERROR: semconv.ERROR,
    "failed": semconv.ERROR,
    semconv.UNDELIVERED: semconv.ERROR,
    semconv.TIMEOUT: semconv.TIMEOUT,
    semconv.CANCELLED: UNKNOWN,
}
"""The outcome that a stage means."""

STAGES: Final[dict[str, str]] = {
    semconv.SUCCESS: COMPLETED,
    semconv.ERROR: semconv.ERROR,
    semconv.TIMEOUT: semconv.TIMEOUT,
    UNKNOWN: semconv.CANCELLED,
}
"""The last stage of what ended so."""

VERDICTS: Final[dict[str, str | None]] = {
    semconv.COMMAND_EVENT: None,
    semconv.RESULT_EVENT: None,
    semconv.ERROR_EVENT: semconv.ERROR,
    semconv.COMPENSATION_EVENT: semconv.SUCCESS,
    semconv.STATUS_EVENT: semconv.SUCCESS,
    semconv.EVENT: semconv.SUCCESS,
}
"""The outcome that an event has by its class alone."""


def verdict_of(kind: str, read: Callable[[str], Any]) -> str | None:
    """The outcome that an event itself tells, or that its class means; None if nothing tells."""
    if kind != semconv.RESULT_EVENT:
        return VERDICTS[kind]
    if read("success") is not False:
        return semconv.SUCCESS if read("success") is True else None
    details = read("error_details")
    timeout = isinstance(details, Mapping) and details.get("error_type") == semconv.TIMEOUT
    return semconv.TIMEOUT if timeout else semconv.ERROR


def error_text(value: object) -> str | None:
    """An error's text, scrubbed and short."""
    return scrub(value)[:_MAX_ERROR] if isinstance(value, str) and value else None


class EventBook:
    """Counts, latencies and traces of the events of this process. Not safe across threads: its owner locks.

    Args:
        windows: what counts and latencies go into.
        traces: what stages go into.
    """

    def __init__(self, windows: Windows, traces: Traces) -> None:
        self.windows = windows
        self.traces = traces
        self.events = Events(windows)
        # Of commands whose end callbacks reported, by correlation id.
        self._outcomes: BoundedMap[str, str] = BoundedMap(_OUTCOMES_REMEMBERED)

    def published(
        self,
        key: Key | None,
        event: Event,
        verdict: str | None,
        error: str | None = None,
        at: int | None = None,
        span: SpanContext | None = None,
        size: int | None = None,
        lost: str | None = None,
        answers: object = None,
    ) -> None:
        """An event was published.

        Args:
            key: what it is known by.
            event: what it says of itself.
            verdict: the outcome that it tells.
            error: why, scrubbed.
            at: when (ns by ``perf_counter_ns``), now by default.
            span: as which span.
            size: bytes of the payload.
            lost: the stage that says that it was not published, or that nobody received it.
            answers: a result's command.
        """
        tracked = self.events.see(key, event)
        at = perf_counter_ns() if at is None else at
        if tracked.published is None:  # who hands an event on publishes it a second time
            tracked.published = at
        if verdict is not None:
            self._tells(tracked, verdict, error)
        if size is not None:
            figures = self.windows.figures(tracked.kind)
            figures.sizes += 1
            figures.size += size
        self.traces.add(tracked, PUBLISHED, at, span=span, size=size)
        if lost is not None:
            self.events.finish(key, tracked, semconv.ERROR)
            self.traces.add(tracked, lost, error=error, span=span)
        elif tracked.outcome is None and tracked.verdict is not None:
            self.events.finish(key, tracked, tracked.verdict)
        if answers is not None and lost is None:
            self.answered(answers, verdict, error, at)

    def received(
        self,
        key: Key | None,
        event: Event,
        verdict: str | None,
        error: str | None = None,
        at: int | None = None,
        span: SpanContext | None = None,
        queued: float | None = None,
        answers: object = None,
    ) -> None:
        """An event came in, ``queued`` ms after its publication."""
        tracked = self.events.see(key, event)
        if verdict is not None:
            self._tells(tracked, verdict, error)
        self.traces.add(tracked, RECEIVED, at, queued, None, span)
        if answers is not None:
            self.answered(answers, verdict, error, at)

    def handled(
        self,
        key: Key | None,
        event: Event,
        outcome: str,
        latency: float | None,
        span: SpanContext | None,
        at: int,
    ) -> None:
        """The last handler is done with an event. A command whose worker was seen has its outcome already."""
        if outcome == semconv.ERROR:
            tracked = self.events.find(key)
            if tracked is not None and tracked.verdict == semconv.TIMEOUT:
                outcome = semconv.TIMEOUT
        self.finished(key, event, outcome, None, latency, span, at)

    def finished(
        self,
        key: Key | None,
        event: Event,
        outcome: str,
        error: str | None = None,
        latency: float | None = None,
        span: SpanContext | None = None,
        at: int | None = None,
    ) -> Tracked:
        """An event has its outcome, ``latency`` ms after its publication."""
        tracked = self.events.see(key, event)
        self._finish(key, tracked, outcome, error, latency, span, at)
        return tracked

    def _finish(
        self,
        key: Key | None,
        tracked: Tracked,
        outcome: str,
        error: str | None,
        latency: float | None,
        span: SpanContext | None,
        at: int | None,
    ) -> None:
        if tracked.outcome is not None and tracked.names[0] == semconv.COMMAND_EVENT:
            return
        self.events.finish(key, tracked, outcome, latency)
        if outcome != semconv.SUCCESS:
            tracked.error = error = error or tracked.error
        self.traces.add(tracked, STAGES[outcome], at, tracked.latency, error, span)

    def answered(self, command_id: object, outcome: str | None, error: str | None, at: int | None = None) -> None:
        """The result of a command is there: its outcome too, unless the worker itself was seen here."""
        if outcome is None or not isinstance(command_id, str):
            return
        command = self.events.find(command_id)
        if command is None or command.outcome is not None:
            return
        latency = since(command.published, at)
        self._finish(command_id, command, outcome, error, latency, None, at)

    def noted(self, key: Key | None, event: Event, stage: str, at: int) -> None:
        """A stage of an event that changes no outcome."""
        self.traces.add(self.events.see(key, event), stage, at)

    def _tells(self, tracked: Tracked, verdict: str, error: str | None) -> None:
        tracked.verdict = tracked.verdict or verdict
        if error is not None and verdict != semconv.SUCCESS:
            tracked.error = error

    # --- what callbacks tell -------------------------------------------------------------------

    def command_ended(self, worker: str | None, command_id: str, outcome: str, error: str | None) -> None:
        """A callback told a command's outcome; its result, which is published next, has the same one."""
        name = f"command.{worker}" if worker else semconv.COMMAND_EVENT
        event = Event(name, {"id": command_id, "type": semconv.COMMAND_EVENT})
        known = self.events.find(command_id)
        latency = since(known.published) if known is not None else None
        tracked = self.finished(command_id, event, outcome, error, latency=latency)
        correlation_id = tracked.names[-1]
        if correlation_id is not None:
            self._outcomes[correlation_id] = outcome

    def outcome_of_result(self, correlation_id: str | None) -> str | None:
        """The outcome of a result that a callback shows being published, from its command's."""
        outcome = self._outcomes.pop(correlation_id, None) if correlation_id is not None else None
        last = LAST_COMMAND.get()
        if outcome is None and last is not None:
            command = self.events.find(last[0])
            if command is None or command.names[-1] in (None, correlation_id):
                outcome = last[1]
        return outcome if outcome != UNKNOWN else None


def since(published: int | None, at: int | None = None) -> float | None:
    """Milliseconds from one time by ``perf_counter_ns`` to another, or until now."""
    return ((perf_counter_ns() if at is None else at) - published) * 1e-6 if published is not None else None


# --- events as a user has them -------------------------------------------------------------------

_SUBJECTS: Final = {
    semconv.COMMAND_EVENT: ("command", "worker_type"),
    semconv.RESULT_EVENT: ("result", "source"),
    semconv.COMPENSATION_EVENT: ("compensation", "compensation_type"),
}


def reader_of(thing: object) -> Callable[[str], Any]:
    """Gives the fields of an event, be it a dict or an object of the framework's."""
    if isinstance(thing, Mapping):
        return thing.get
    return lambda name: getattr(thing, name, None)


def by_hand(read: Callable[[str], Any]) -> Event:
    """An event that its user tracks: an Event of the framework's, or a dict."""
    metadata = reader_of(read("metadata"))
    ids = {name: metadata(name) or read(name) for name in ("transaction_id", "correlation_id")}
    event = Event("", {"id": read("id") or read("event_id"), "type": read("type"), "metadata": ids})
    prefix, subject = _SUBJECTS.get(event.kind, ("", ""))
    of = text(read(subject) or metadata(subject)) if subject else None
    kind = read("type")
    event.name = f"{prefix}.{of}" if of else text(kind.value if isinstance(kind, Enum) else kind) or event.kind
    return event
