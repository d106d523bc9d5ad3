"""An event that has come in: its carrier, the context it brings, and the ``process`` span."""

from __future__ import annotations

import asyncio
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
INCOMING: ContextVar[Any] = ContextVar("multiagents_otel_incoming", default=None)
"""The raw message that a bus is dispatching, for its size."""


class Message:
    """One message, however many handlers of this process it is given to.

    Attributes:
        outcome: ``success`` or ``error``; None where there is none, as for a command that was cancelled.
        waiting: handlers that have not returned yet; the event is counted when none is left.
    """

    __slots__ = ("_telemetry", "carrier", "context", "counted", "event", "excluded", "outcome", "size", "waiting")

    def __init__(self, telemetry: Telemetry, name: str, data: MutableMapping[str, Any], handlers: int) -> None:
        self._telemetry = telemetry
        options = telemetry.options
        event = self.event = Event(name, data)
        self.carrier = Carrier(data.pop(semconv.CARRIER_KEY, None))
        self.context = telemetry.propagation.extract(self.carrier.fields)
        self.excluded = bool(options.excluded_events) and matches(options.excluded_events, name)
        failed = event.kind == semconv.ERROR_EVENT or (
            event.kind == semconv.RESULT_EVENT and data.get("success") is False
        )
        self.outcome: str | None = semconv.ERROR if failed else semconv.SUCCESS
        self.size: int | None = None
        if options.track_payload_size and (raw := INCOMING.get()) is not None:
            self.size = body_size(raw.get("data"))
        self.waiting = handlers
        self.counted = False

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
        telemetry, kind = self._telemetry, self.event.kind
        if self.outcome is not None:
            telemetry.ledger.add(semconv.EVENTS, (kind, self.outcome))
        published = self.carrier.published_ns
        if published is not None:
            telemetry.instruments.record(semconv.EVENT_DURATION, telemetry.delays.since(published), (kind,), context)


class Messages:
    """Finds the message that a dict belongs to while its handlers run.

    The first handler's call takes the carrier out of the dict; the others are given the same dict without it.
    """

    def __init__(self) -> None:
        self._shared: dict[tuple[int, object], Message] = {}

    def take(self, telemetry: Telemetry, name: str, data: MutableMapping[str, Any], handlers: int) -> Message:
        """The message of a dict that a handler is about to be given; ``handlers``: how many get the same one."""
        if handlers <= 1:  # nobody comes after it
            return Message(telemetry, name, data, 1)
        key = (id(data), data.get("id"))
        message = self._shared.get(key)
        if message is not None and message.waiting > 0 and semconv.CARRIER_KEY not in data:
            return message
        message = Message(telemetry, name, data, handlers)
        if len(self._shared) >= _REMEMBERED:
            oldest = self._shared.pop(next(iter(self._shared)))
            oldest.count(oldest.context)  # a handler that was never called, or never returned
        self._shared[key] = message
        return message


class Delivery:
    """A message in the hands of one handler.

    Attributes:
        data: the event's dict.
        deferred: a WorkerManager takes it: its execution, in a task of its own, is what is processed.
        claimed: that execution has begun.
        spans: whether anything of it may be recorded as a span.
        workflow_id: the workflow's definition id, where the publisher told.
    """

    __slots__ = (
        "_context_token", "_delivery_token", "_execution_token", "_received", "_received_ns", "_stage_token",
        "_swallowed", "_telemetry", "carrier", "claimed", "data", "deferred", "event", "info", "message", "operation",
        "spans", "workflow_id",
    )  # fmt: skip

    def __init__(self, telemetry: Telemetry, info: BusInfo, message: Message, data: Any, *, deferred: bool) -> None:
        self._received_ns = time.time_ns()
        self._received = time.perf_counter_ns()
        self._telemetry = telemetry
        self._swallowed: BaseException | None = None
        self._delivery_token: Token[Delivery | None] | None = None
        self._stage_token: Token[Any] | None = None
        self._execution_token: Token[Any] | None = None
        self.info = info
        self.message = message
        self.carrier = message.carrier
        self.event = message.event
        self.data = data
        self.deferred = deferred
        self.claimed = False
        self.operation: Operation | None = None
        self.workflow_id = message.carrier.workflow_id
        self.spans = (
            telemetry.tracing
            and not message.excluded
            and (message.event.kind != semconv.STATUS_EVENT or telemetry.options.status_events)
        )
        if self.spans and self.workflow_id is not None:
            # The workflow's sampling decision was made once: what is not sampled costs no span.
            parent = trace.get_current_span(message.context).get_span_context()
            self.spans = bool(parent.trace_flags & 1) or not parent.is_valid

    def suppress(self) -> None:
        """The application asked for no instrumentation: no span, here and inside the handler."""
        self.spans = False
        self.message.context = context_api.set_value("suppress_instrumentation", True, self.message.context)

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

    def start(self, links: tuple[Link, ...] = (), *, late: bool = False) -> Operation:
        """Start the ``process`` span, from the moment the message was received."""
        telemetry = self._telemetry
        name, attributes = "", None
        if self.spans and (telemetry.options.detailed_timing or late):
            name, attributes = telemetry.span_name(semconv.PROCESS, self.event.name), self.attributes()
        operation = self.operation = telemetry.operation(
            name, SpanKind.CONSUMER, self.message.context, attributes, links, self._received_ns, self._received
        )
        if telemetry.options.process_hook is not None and not late:
            telemetry.call_hook(telemetry.options.process_hook, operation.span, self.event.name, self.data)
        return operation

    def attach(self) -> None:
        """Make this the delivery that the handler's code is in."""
        self._context_token = context_api.attach(self.context)
        self._delivery_token = DELIVERY.set(self)
        # A bus that calls handlers inside publish(): what the publisher is doing is not what the handler does.
        if STAGE.get() is not None:
            self._stage_token = STAGE.set(None)
        if EXECUTION.get() is not None:
            self._execution_token = EXECUTION.set(None)

    def detach(self) -> None:
        """Give the context back."""
        token, self._delivery_token = self._delivery_token, None
        if token is None:
            return
        if self._execution_token is not None:
            EXECUTION.reset(self._execution_token)
            self._execution_token = None
        if self._stage_token is not None:
            STAGE.reset(self._stage_token)
            self._stage_token = None
        DELIVERY.reset(token)
        context_api.detach(self._context_token)

    def forget(self) -> None:
        """The coroutine is being closed in a context that may not be its own: nothing can be given back."""
        self._delivery_token = self._stage_token = self._execution_token = None

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
        operation = self.operation
        if operation is None or (operation.span is None and failure is not None and failure.exception is not None):
            # Without detailed timing a raising handler gets its span after all.
            operation = self.start(late=failure is not None)
        if operation.ended:
            return
        operation.end(failure)
        self.message.handled(operation.context)
        if self._telemetry.options.messaging_metrics and not self.message.excluded:
            self._messaging_metrics(operation, failure)

    def _messaging_metrics(self, operation: Operation, failure: Failure | None) -> None:
        ledger, instruments = self._telemetry.ledger, self._telemetry.instruments
        error = ledger.error(failure.error_type) if failure is not None else ""
        key = (semconv.PROCESS, self.info.system, self.info.prefix + ledger.event(self.event.name), error)
        instruments.record(semconv.MESSAGING_PROCESS_DURATION, operation.elapsed, key, operation.context)
        ledger.add(semconv.MESSAGING_CONSUMED, key)
