"""An event that has come in: its carrier, the context it brings, and the ``process`` span."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from contextvars import ContextVar, Token
from typing import Any, Final

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, SpanKind

from multiagents_otel import semconv
from multiagents_otel.config import matches
from multiagents_otel.telemetry.bus import BusInfo
from multiagents_otel.telemetry.core import Telemetry, suppressed
from multiagents_otel.telemetry.event import Event
from multiagents_otel.telemetry.failure import Failure, failure_of
from multiagents_otel.telemetry.operation import Operation
from multiagents_otel.telemetry.propagation import Carrier
from multiagents_otel.telemetry.sending import EXECUTION, STAGE, body_size

_REMEMBERED: Final = 256

DELIVERY: ContextVar[Delivery | None] = ContextVar("multiagents_otel_delivery", default=None)
INCOMING: ContextVar[object] = ContextVar("multiagents_otel_incoming", default=None)
"""The raw message that a bus is dispatching, for its size."""


class Message:
    """One message, however many handlers of this process it is given to.

    The first handler takes the carrier out of the dict; the others, which get the same dict, find it here.

    Attributes:
        waiting: handlers that have not returned yet; the event is counted when none is left.
    """

    __slots__ = ("_failed", "_telemetry", "carrier", "context", "counted", "event", "excluded", "outcome", "size", "waiting")

    def __init__(self, telemetry: Telemetry, event: Event, data: MutableMapping[str, Any], handlers: int) -> None:
        self._telemetry = telemetry
        self.event = event
        self.carrier = Carrier(data.pop(semconv.CARRIER_KEY, None))
        self.context = telemetry.propagation.extract(self.carrier.fields)
        self.excluded = bool(telemetry.options.excluded_events) and matches(telemetry.options.excluded_events, event.name)
        self.outcome: str | None = semconv.SUCCESS
        if event.kind == semconv.ERROR_EVENT or (event.kind == semconv.RESULT_EVENT and data.get("success") is False):
            self.outcome = semconv.ERROR
        self.size = body_size(INCOMING.get()) if telemetry.options.track_payload_size else None
        if isinstance(raw := INCOMING.get(), dict) and telemetry.options.track_payload_size:
            self.size = body_size(raw.get("data"))
        self.waiting = handlers
        self.counted = False
        self._failed = False

    def handled(self, failed: bool, context: Context) -> None:
        """One handler returned or raised; after the last one the event is counted and measured."""
        self._failed = self._failed or failed
        self.waiting -= 1
        if self.waiting <= 0:
            self.count(context)

    def count(self, context: Context) -> None:
        """Count the event once."""
        if self.counted or self.excluded:
            return
        self.counted = True
        telemetry, kind = self._telemetry, self.event.kind
        outcome = semconv.ERROR if self._failed else self.outcome
        if outcome is not None:
            telemetry.ledger.add(semconv.EVENTS, (kind, outcome))
        if self.carrier.published_ns is not None:
            delay = telemetry.delays.since(self.carrier.published_ns)
            telemetry.instruments.record(semconv.EVENT_DURATION, delay, (kind,), context)


class Messages:
    """Finds the message that a dict belongs to while its handlers run."""

    def __init__(self) -> None:
        self._shared: dict[tuple[int, str | None], Message] = {}

    def take(self, telemetry: Telemetry, name: str, data: MutableMapping[str, Any], handlers: int) -> Message:
        """The message of a dict that a handler is about to be given; ``handlers``: how many get the same one."""
        event = Event(name, data)
        key = (id(data), event.id)
        message = self._shared.get(key)
        if message is not None and message.waiting > 0 and semconv.CARRIER_KEY not in data:
            return message
        message = Message(telemetry, event, data, handlers)
        if handlers > 1:  # with one handler nobody comes after it
            if len(self._shared) >= _REMEMBERED:
                self._shared.pop(next(iter(self._shared))).count(message.context)
            self._shared[key] = message
        return message


class Delivery:
    """A message in the hands of one handler.

    Attributes:
        data: the event's dict.
        deferred: a WorkerManager takes it: its execution, in a task of its own, is what is processed.
        claimed: that execution has begun.
    """

    __slots__ = (
        "_context_token", "_received", "_received_ns", "_swallowed", "_telemetry", "_tokens", "carrier", "claimed", "data", "deferred",
        "event", "info", "message", "operation", "spans",
    )  # fmt: skip

    def __init__(
        self, telemetry: Telemetry, info: BusInfo, message: Message, data: Any, *, own_listener: bool
    ) -> None:
        self._telemetry = telemetry
        self._received_ns = time.time_ns()
        self._received = time.perf_counter_ns()
        self._swallowed: BaseException | None = None
        self._tokens: list[tuple[ContextVar[Any], Token[Any]]] = []
        self.data = data
        self.claimed = False
        self.info = info
        self.message = message
        self.carrier = message.carrier
        self.event = message.event
        self.deferred = False
        self.operation: Operation | None = None
        options = telemetry.options
        ambient = get_current()
        quiet = suppressed(ambient) and not own_listener
        if quiet:
            message.context = context_api.set_value("suppress_instrumentation", True, message.context)
        kind = self.event.kind
        self.spans = (
            telemetry.tracing
            and not message.excluded
            and not quiet
            and (kind != semconv.STATUS_EVENT or options.status_events)
        )
        if self.spans and self.workflow_id is not None:
            parent = trace.get_current_span(message.context).get_span_context()
            self.spans = not parent.is_valid or bool(parent.trace_flags & 1)

    @property
    def workflow_id(self) -> str | None:
        """The workflow's definition id, where the publisher told."""
        return self.carrier.workflow_id

    @property
    def step(self) -> str | None:
        """The step's name, where the publisher told or the correlation id shows it."""
        return self.carrier.step or self.event.step

    @property
    def context(self) -> Context:
        """The context inside the processing, or the one that the message brought."""
        return self.operation.context if self.operation is not None else self.message.context

    def attributes(self) -> dict[str, Any]:
        """The messaging attributes at the start."""
        attributes = self.info.attributes(semconv.PROCESS, self.event, self.workflow_id)
        if self.message.size is not None:
            attributes[semconv.MESSAGING_BODY_SIZE] = self.message.size
        return attributes

    def start(self, *, own_listener: bool = True, late: bool = False) -> None:
        """Start the ``process`` span, from the moment the message was received."""
        telemetry = self._telemetry
        if self.operation is not None:
            return
        attributes = self.attributes() if self.spans and (telemetry.options.detailed_timing or late) else None
        links: tuple[Link, ...] = ()
        if attributes is not None and not own_listener:
            ambient = trace.get_current_span().get_span_context()
            parent = trace.get_current_span(self.message.context).get_span_context()
            if ambient.is_valid and ambient.span_id != parent.span_id:
                links = (Link(ambient),)
        self.operation = telemetry.operation(
            telemetry.span_name(semconv.PROCESS, self.event.name) if attributes is not None else "",
            SpanKind.CONSUMER,
            self.message.context,
            attributes,
            links,
            self._received_ns,
            self._received,
        )
        if telemetry.options.process_hook is not None and not late:
            telemetry.call_hook(telemetry.options.process_hook, self.operation.span, self.event.name, self.data)

    def attach(self) -> None:
        """Make this the delivery that the handler's code is in."""
        self._context_token = context_api.attach(self.context)
        self._tokens.append((DELIVERY, DELIVERY.set(self)))
        # A bus that calls handlers inside publish(): what the publisher is doing is not what the handler does.
        if STAGE.get() is not None:
            self._tokens.append((STAGE, STAGE.set(None)))
        if EXECUTION.get() is not None:
            self._tokens.append((EXECUTION, EXECUTION.set(None)))

    def detach(self) -> None:
        """Give the context back."""
        if self._tokens:
            for variable, token in reversed(self._tokens):
                variable.reset(token)
            self._tokens.clear()
            context_api.detach(self._context_token)

    def forget(self) -> None:
        """The coroutine is being closed in a context that may not be its own: nothing can be given back."""
        self._tokens.clear()

    @property
    def has_swallowed(self) -> bool:
        """Whether the framework caught an exception inside the handler."""
        return self._swallowed is not None

    def swallowed(self, exception: BaseException) -> None:
        """The framework caught an exception inside the handler: to us the handler raised."""
        self._swallowed = exception

    def end(self, exception: BaseException | None) -> None:
        """The handler returned or raised, and the delivery was not deferred."""
        exception = exception or self._swallowed
        self.finish(failure_of(exception) if exception is not None else None, failed=exception is not None)

    def finish(self, failure: Failure | None, *, failed: bool) -> None:
        """End the span; tell the message that this handler is done."""
        operation = self.operation
        if operation is not None and operation.ended:
            return
        if failure is not None and (operation is None or operation.span is None) and failure.exception is not None:
            # Without detailed timing a raising handler gets its span after all.
            self.operation = None
            self.start(late=True)
            operation = self.operation
        context = self.context
        if operation is None:
            operation = self._telemetry.operation(
                "", SpanKind.CONSUMER, self.message.context, None, (), self._received_ns, self._received
            )
            self.operation = operation
        operation.end(failure)
        self.message.handled(failed, context)
        if self._telemetry.options.messaging_metrics and not self.message.excluded:
            ledger, instruments = self._telemetry.ledger, self._telemetry.instruments
            error = ledger.error(failure.error_type) if failure is not None else ""
            key = (semconv.PROCESS, self.info.system, self.info.prefix + ledger.event(self.event.name), error)
            instruments.record(semconv.MESSAGING_PROCESS_DURATION, operation.elapsed, key, context)
            ledger.add(semconv.MESSAGING_CONSUMED, key)
