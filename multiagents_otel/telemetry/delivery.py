"""An event that has come in: its carrier, the context it brings, and the ``process`` span."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from time import perf_counter_ns
from typing import Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, NonRecordingSpan, SpanContext, SpanKind

from multiagents_otel import semconv
from multiagents_otel.config import matches
from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.core.scope import FRAME, Entry
from multiagents_otel.core.trace_context import flags_of, is_valid, with_span
from multiagents_otel.processing.sampling import is_critical
from multiagents_otel.telemetry.bus import BusInfo
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.event import Event, body_size, text
from multiagents_otel.telemetry.failure import Failure, failure_of
from multiagents_otel.telemetry.identity import sampled, step_span_id
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.operation import Operation
from multiagents_otel.telemetry.propagation import told_name, told_time

_REMEMBERED: Final = 256


class Message(Event):
    """One message, however many handlers of this process it is given to.

    Attributes:
        fields: the carrier.
        context: the context that the carrier brings.
        parent: the publisher's span in it.
        workflow_id: the workflow's definition id, where the publisher told.
        published_ns: when it was published, if its publisher told.
        kept: all that follows of its transaction is sampled.
        skewed: its publisher's clock and this process' differ by so much that no time between them is true.
        outcome: ``success`` or ``error``; None where there is none, as for a command that was cancelled.
        waiting: handlers that are not done yet; the event is counted when none is left.
        told: the observers have been told that it came in.
    """

    __slots__ = (
        "_received",
        "_telemetry",
        "_waited",
        "context",
        "counted",
        "excluded",
        "fields",
        "kept",
        "outcome",
        "parent",
        "published_ns",
        "size",
        "skewed",
        "told",
        "waiting",
        "workflow_id",
    )

    def __init__(
        self, telemetry: Telemetry, name: str, data: MutableMapping[str, Any], handlers: int, longest: float
    ) -> None:
        super().__init__(name, data)
        self._telemetry = telemetry
        options, kind = telemetry.options, self.kind
        carrier = data.pop(semconv.CARRIER_KEY, None)
        fields = self.fields = carrier if type(carrier) is dict else {}
        try:
            self.context, self.parent = telemetry.propagation.extract(fields)
        except Exception:  # a propagator of the user's: the event is handled as one without a carrier
            telemetry.guard.caught("process")
            self.context, self.parent = Context(), INVALID_SPAN_CONTEXT
        self.workflow_id = told_name(fields, semconv.CARRIER_WORKFLOW)
        self.kept = fields.get(semconv.CARRIER_KEEP) is True or is_critical(data, self.context)
        self.excluded = bool(options.excluded_events) and matches(options.excluded_events, name)
        published_ns = self.published_ns = told_time(fields)
        self._received = perf_counter_ns()
        self._waited = telemetry.delays.since(published_ns, longest) if published_ns is not None else None
        self.skewed = published_ns is not None and self._waited is None
        if self.skewed and not self.excluded:
            telemetry.ledger.add(semconv.EVENTS_CLOCK_SKEW, (kind,))
            telemetry.warn_once(
                "clock skew",
                "the clocks of two processes differ by more than a minute: %s was published, by its publisher's clock, "
                "when it can't have been; times between the two are left out; synchronise the machines' clocks (NTP)",
                name,
            )
        self.outcome: str | None = semconv.SUCCESS
        if kind == semconv.ERROR_EVENT or (kind == semconv.RESULT_EVENT and data.get("success") is False):
            self.outcome = semconv.ERROR
        raw = FRAME.get().incoming
        self.size = body_size(raw.get("data")) if raw is not None and options.track_payload_size else None
        self.waiting = handlers
        self.counted = self.told = False

    def handled(self, context: Context) -> None:
        """One handler is done; after the last one the event is counted and measured."""
        self.waiting -= 1
        if self.waiting <= 0:
            self.count(context)

    def count(self, context: Context) -> None:
        """Count the event, once."""
        if self.counted or self.excluded:
            return
        self.counted = True
        telemetry, kind = self._telemetry, self.kind
        if self.outcome is not None:
            telemetry.ledger.add(semconv.EVENTS, (kind, self.outcome))
        delay = self.delay
        if delay is not None:
            telemetry.instruments.record(semconv.EVENT_DURATION, delay, (kind,), context)
        if OBSERVERS.present:
            telemetry.tell("handled", self, delay)

    @property
    def delay(self) -> float | None:
        """Seconds since its publication; None if its publisher did not tell, or told what can't be true."""
        return self._waited + (perf_counter_ns() - self._received) * 1e-9 if self._waited is not None else None


class Messages:
    """Finds the message that a dict belongs to while its handlers run.

    The first handler's call takes the carrier out of the dict; the others are given the same dict without it,
    or, by a bus that makes a copy for each handler, one with the same carrier.
    """

    def __init__(self) -> None:
        # One that goes had a handler that was never called, or never returned.
        self._shared: BoundedMap[tuple[int, str | None, int | None], Message] = BoundedMap(
            _REMEMBERED, lambda _key, message: message.count(message.context)
        )

    def take(
        self,
        telemetry: Telemetry,
        info: BusInfo,
        name: str,
        data: MutableMapping[str, Any],
        handlers: int,
        longest: float,
    ) -> Message:
        """The message of a dict that is about to be given to one of several ``handlers``."""
        event_id, carrier = text(data.get("id")), data.get(semconv.CARRIER_KEY)
        keys: list[tuple[int, str | None, int | None]] = [(id(data), event_id, None)]
        if type(carrier) is not dict:
            message = self._shared.get(keys[0])
            if message is not None and message.waiting > 0:
                return message
        elif event_id is not None and (published := told_time(carrier)) is not None:
            keys.append((id(info), event_id, published))
            message = self._shared.get(keys[1])
            if message is not None and message.waiting > 0:
                del data[semconv.CARRIER_KEY]
                return message
        message = Message(telemetry, name, data, handlers, longest)
        for key in keys:
            self._shared[key] = message
        return message


class Delivery(Operation):
    """A message in the hands of one handler; its span is ``process``.

    Attributes:
        data: the event's dict.
        deferred: a WorkerManager takes it: its execution, in a task of its own, is what is processed.
        claimed: that execution has begun.
        recorded: whether anything of it may be recorded as a span, what hangs below it included.
        spans: whether that holds for its own span, whose event is not excluded.
        swallowed: an exception that the framework caught inside the handler: to us the handler raised.
    """

    __slots__ = (
        "_begun", "_command_id", "_entry", "_unsampled", "claimed", "data", "deferred", "info", "message", "recorded",
        "spans", "swallowed",
    )  # fmt: skip

    def __init__(self, telemetry: Telemetry, info: BusInfo, message: Message, data: Any, deferred: bool) -> None:
        super().__init__(telemetry, message.context)
        self.info = info
        self.message = message
        self.data: Any = data
        self._command_id = data.get("command_id") if message.kind == semconv.RESULT_EVENT else message.id
        self.deferred = deferred
        self.claimed = False
        self.swallowed: BaseException | None = None
        self._entry: Entry | None = None
        self._begun = self._unsampled = False
        self._may_be_recorded()
        if telemetry.tracing and message.workflow_id is not None:
            # The workflow's sampling decision was made once: what is not sampled costs no span.
            parent = message.parent
            if not flags_of(parent) & 1 and is_valid(parent):
                self._unsampled = True
                self.recorded = self.spans = False
                if message.kept:
                    self.keep()

    def _may_be_recorded(self) -> None:
        telemetry, message = self._telemetry, self.message
        self.recorded = telemetry.tracing and (message.kind != semconv.STATUS_EVENT or telemetry.options.status_events)
        self.spans = self.recorded and not message.excluded

    @property
    def kept(self) -> bool:
        """Whether all that follows of the transaction is sampled."""
        return self.message.kept

    @property
    def within(self) -> Context:
        """The context inside it as it is now; what is attached is the one that it began with."""
        return self.context

    def keep(self) -> None:
        """All that follows of the transaction is sampled; ``process`` is started after all, as of the receipt."""
        telemetry = self._telemetry
        self.message.kept = True
        if not telemetry.pins:
            return
        if not self._unsampled:
            super().keep()
            return
        self._unsampled = False
        self.context = with_span(NonRecordingSpan(self._kept_parent()), self.context)
        self._may_be_recorded()
        if self._begun and self.spans and telemetry.options.detailed_timing:
            self._open()

    def _kept_parent(self) -> SpanContext:
        """What an unsampled event hangs below: its step, whose id its command tells; the workflow if there is none."""
        told, kind = self.message.parent, self.message.kind
        command_id: object = None
        if self.step is not None:
            command_id = self._command_id
        command_id = text(command_id) if kind in (semconv.COMMAND_EVENT, semconv.RESULT_EVENT) else None
        return sampled(told, step_span_id(told.trace_id, command_id) if command_id is not None else None)

    def suppress(self) -> None:
        """The application asked for no instrumentation: no span, here and inside the handler."""
        self.recorded = self.spans = self._unsampled = False
        self.context = context_api.set_value("suppress_instrumentation", True, self.context)

    @property
    def step(self) -> str | None:
        """The step's name, where the publisher told or the correlation id shows it."""
        return told_name(self.message.fields, semconv.CARRIER_STEP) or self.message.step

    def attributes(self) -> dict[str, Any]:
        """The messaging attributes at the start."""
        message = self.message
        attributes = self.info.attributes(semconv.PROCESS, message, message.workflow_id)
        if message.size is not None:
            attributes[semconv.MESSAGING_BODY_SIZE] = message.size
        return attributes

    def begin(self, links: tuple[Link, ...] | None = None) -> None:
        """Start the ``process`` span, from the moment the message was received."""
        telemetry = self._telemetry
        self._begun = True
        if self.spans and telemetry.options.detailed_timing:
            self._open(links)
        if telemetry.options.process_hook is not None:
            telemetry.call_hook("process_hook", self.span, self.message.name, self.data)

    def _open(self, links: tuple[Link, ...] | None = None) -> None:
        name = self._telemetry.span_name(semconv.PROCESS, self.message.name)
        self.open(name, SpanKind.CONSUMER, self.attributes(), links, kept=self.message.kept)

    def attach(self) -> None:
        """Make this the delivery that the handler's code is in."""
        self._entry = Entry(FRAME.get().in_handler(self), self.context)

    def detach(self) -> None:
        """Give the context back."""
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.leave()

    def forget(self) -> None:
        """The coroutine is being closed in a context that may not be its own: nothing can be given back."""
        self._entry = None

    def end(self, exception: BaseException | None) -> None:
        """The handler returned or raised, and the delivery was not deferred."""
        exception = exception or self.swallowed
        if exception is None:
            self.finish(None)
        elif isinstance(exception, (asyncio.CancelledError, GeneratorExit)):
            self.message.outcome = None  # neither a success nor an error
            self.finish(None)
        else:
            self.message.outcome = semconv.ERROR
            self.finish(failure_of(exception))

    def finish(self, failure: Failure | None) -> None:
        """End the span; tell the message that this handler is done."""
        if self.ended:
            return
        if failure is not None and self._telemetry.keeps_errors:
            self.keep()
        if failure is not None and failure.exception is not None and self.span is None and self.spans:
            self._open()  # without detailed timing a raising handler gets its span after all
        self.close(failure)
        self.message.handled(self.context)
        self.data = self.swallowed = None  # a context that somebody keeps, a task's or a connection's, keeps this
        if self._telemetry.options.messaging_metrics and not self.message.excluded:
            self.measure_message(semconv.PROCESS, self.info, self.message.name, failure)
