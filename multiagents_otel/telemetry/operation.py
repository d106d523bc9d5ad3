"""The one kind of operation: something that starts, is the current span meanwhile, and ends exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Token
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from multiagents_otel import semconv
from multiagents_otel.core.trace_context import attach, detach, span_of, with_span
from multiagents_otel.processing.redaction import has_mark
from multiagents_otel.telemetry.failure import Failure, exception_attributes
from multiagents_otel.telemetry.identity import Identity

if TYPE_CHECKING:
    from multiagents_otel.telemetry.bus import BusInfo
    from multiagents_otel.telemetry.core import Telemetry


class Operation:
    """A span with its clock and its place in the context.

    Without a span (unsampled, suppressed, excluded, or a fault of ours) everything else works as well:
    the clock runs and the context is attached, so that metrics and propagation do not depend on sampling.

    Attributes:
        span: the recording span, or None.
        context: the context inside the operation; children and carriers are made from it.
        start_ns: wall clock at the start, ns.
        start: monotonic clock at the start, ns.
        ended: it has ended; ending it again does nothing.
    """

    __slots__ = ("_context_token", "_dropped", "_telemetry", "context", "ended", "span", "start", "start_ns")

    def __init__(self, telemetry: Telemetry, context: Context) -> None:
        self._telemetry = telemetry
        self.context = context
        self.span: Span | None = None
        self.start_ns = time_ns()
        self.start = perf_counter_ns()
        self.ended = False
        self._context_token: Token[Context] | None = None
        self._dropped: tuple[str, Context, SpanKind, dict[str, Any], Sequence[Link]] | None = None

    def open(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, Any],
        links: Sequence[Link] | None = None,
        *,
        kept: bool = False,
    ) -> None:
        """Start the span, as of the operation's start; ``kept``: the sampler is not asked.

        A fault leaves the operation without a span.
        """
        telemetry, parent = self._telemetry, self.context
        try:
            kept = kept and telemetry.pins
            span = telemetry.starter.start(name, parent, kind, attributes, links, self.start_ns, kept=kept)
            self.context = with_span(span, parent)
            if span.is_recording():
                self.span = span
            elif telemetry.pins:
                self._dropped = (name, parent, kind, attributes, links or ())
        except Exception:
            telemetry.guard.caught("span")

    def keep(self) -> None:
        """Mark the span as kept; one that the sampler has dropped is started after all, with the id that it had."""
        telemetry = self._telemetry
        try:
            if self.span is not None:
                if self.span.is_recording():
                    self.span.set_attribute(semconv.SAMPLING_KEEP, True)
            elif self._dropped is not None and telemetry.pins and not self.ended:
                identity = Identity(span_of(self.context).get_span_context(), Decision.DROP).keep()
                self.span = telemetry.starter.start(*self._dropped, self.start_ns, identity)
                self.context = with_span(self.span, self.context)
        except Exception:
            telemetry.guard.caught("span")

    def attach(self) -> None:
        """Make the operation's context the current one; pair with :meth:`detach` in the same coroutine."""
        self._context_token = attach(self.context)

    def detach(self) -> None:
        """Give back the context that was current before :meth:`attach`."""
        token, self._context_token = self._context_token, None
        if token is not None:
            detach(token)

    def forget(self) -> None:
        """Never detach: a coroutine that is closed by the garbage collector runs in a context that is not its own."""
        self._context_token = None

    @property
    def elapsed(self) -> float:
        """Seconds since the start, by the monotonic clock."""
        return (perf_counter_ns() - self.start) * 1e-9

    @property
    def end_ns(self) -> int:
        """The wall clock now, as start plus monotonic time."""
        return self.start_ns + perf_counter_ns() - self.start

    def measure_message(self, name: str, info: BusInfo, event_type: str, failure: Failure | None) -> None:
        """Record the conventions' ``messaging.*`` metrics of a message that this operation sent or processed."""
        ledger, record = self._telemetry.ledger, self._telemetry.instruments.record
        error = ledger.error(failure.error_type) if failure is not None else ""
        key = (name, info.system, info.prefix + ledger.event(event_type), error)
        if name is semconv.SEND:
            record(semconv.MESSAGING_OPERATION_DURATION, self.elapsed, (*key, semconv.SEND), self.context)
            ledger.add(semconv.MESSAGING_SENT, key)
        else:
            record(semconv.MESSAGING_PROCESS_DURATION, self.elapsed, key, self.context)
            ledger.add(semconv.MESSAGING_CONSUMED, key)

    def close(
        self, failure: Failure | None = None, attributes: Mapping[str, Any] | None = None, end_ns: int | None = None
    ) -> None:
        """End the span; a second call does nothing."""
        if self.ended:
            return
        self.ended = True
        span = self.span
        if span is None:
            return
        if end_ns is None:
            end_ns = self.start_ns + perf_counter_ns() - self.start
        try:
            if failure is None and not attributes:
                span.end(end_ns)
            else:
                finish(span, failure, attributes, end_ns)
        except Exception:  # a user's span processor: what is counted after this does not depend on it
            self._telemetry.guard.caught("span")


def finish(span: Span, failure: Failure | None, attributes: Mapping[str, Any] | None, end_ns: int) -> None:
    """End a span with its last attributes, and with status, ``error.type`` and exception event if it failed."""
    try:
        if attributes:
            span.set_attributes(attributes)
        if failure is not None:
            span.set_attribute(semconv.ERROR_TYPE, failure.error_type)
            redacted = ["status"] if has_mark(failure.message) else []
            if failure.exception is not None:
                told = exception_attributes(failure.exception)
                redacted += (f"events.{semconv.EXCEPTION_EVENT}.{key}" for key, text in told.items() if has_mark(text))
                span.add_event(semconv.EXCEPTION_EVENT, told, end_ns)
            if redacted:
                span.set_attribute(semconv.REDACTED_PLACES, redacted)
            span.set_status(Status(StatusCode.ERROR, failure.message))
    finally:
        span.end(end_ns)  # whatever a processor or an attribute did: no span stays open
