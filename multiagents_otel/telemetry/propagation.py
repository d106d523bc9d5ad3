"""Context across processes: the carrier inside an event, and a workflow's identity inside its saga.

Both are plain dicts of JSON values under one reserved key. What a peer sent is never trusted: a
field of a wrong type or size is as if it were not there, without an error and without a log record.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from multiagents_otel import semconv

_TRACEPARENT: Final = "traceparent"
_TRACEPARENT_FORMAT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_OUR_KEYS: Final = frozenset(
    {
        semconv.CARRIER_PUBLISHED,
        semconv.CARRIER_TRANSACTION,
        semconv.CARRIER_WORKFLOW,
        semconv.CARRIER_STEP,
        semconv.CARRIER_ERROR_TYPE,
        semconv.CARRIER_QUEUE_TIME,
    }
)
_MAX_FIELD: Final = 8192  # what W3C baggage allows; traceparent and tracestate are far shorter
_MAX_NAME: Final = 256
_BAGGAGE_MEMBER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*=[\x20-\x2b\x2d-\x7e]*")


def traceparent(context: SpanContext) -> str:
    """The W3C ``traceparent`` of a span context."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"


def parse_traceparent(value: object, *, is_remote: bool = True) -> SpanContext | None:
    """The span context that a ``traceparent`` of version 00 names; None if it is anything else."""
    if not isinstance(value, str) or not (match := _TRACEPARENT_FORMAT.fullmatch(value)):
        return None
    context = SpanContext(int(match[1], 16), int(match[2], 16), is_remote, TraceFlags(int(match[3], 16)))
    return context if context.is_valid else None


class Propagation:
    """Injects and extracts with the globally configured propagators.

    The default ones (W3C trace context and baggage) have a short cut for what they nearly always
    carry, a traceparent alone: it saves two thirds of the time, and the result is the same.
    """

    def __init__(self) -> None:
        self._propagator: TextMapPropagator | None = None
        self._is_default = False

    def _default(self) -> bool:
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._propagator = propagator
            parts = getattr(propagator, "_propagators", None) if type(propagator) is CompositePropagator else None
            self._is_default = parts is not None and [type(part) for part in parts] == [
                TraceContextTextMapPropagator,
                W3CBaggagePropagator,
            ]
        return self._is_default

    def inject(self, carrier: dict[str, Any], context: Context) -> None:
        """Write the propagators' fields of a context into a carrier."""
        span_context = trace.get_current_span(context).get_span_context()
        if self._default() and not span_context.trace_state and not baggage.get_all(context):
            if span_context.is_valid:
                carrier[_TRACEPARENT] = traceparent(span_context)
        else:
            propagate.inject(carrier, context)

    def extract(self, carrier: dict[str, Any]) -> Context:
        """The context that a carrier holds, on top of an empty one: the listener's own must not leak in."""
        if self._default() and "tracestate" not in carrier and "baggage" not in carrier:
            span_context = parse_traceparent(carrier.get(_TRACEPARENT))
            if span_context is not None:
                return trace.set_span_in_context(NonRecordingSpan(span_context), Context())
        fields = {
            key: value
            for key, value in carrier.items()
            if key not in _OUR_KEYS and type(key) is str and type(value) is str and len(value) <= _MAX_FIELD
        }
        if "baggage" in fields:
            # The propagator logs a warning for each member that it cannot read.
            members = [m for m in fields["baggage"].split(",")[:180] if _BAGGAGE_MEMBER.fullmatch(m.strip(" \t"))]
            fields["baggage"] = ",".join(members)
        return propagate.extract(fields, Context())


class Carrier:
    """What an event told beside the propagators' fields, each checked; None where it did not."""

    __slots__ = ("error_type", "fields", "published_ns", "queue_time", "step", "transaction_id", "workflow_id")

    def __init__(self, value: object) -> None:
        fields: dict[str, Any] = value if type(value) is dict else {}
        self.fields = fields
        published = fields.get(semconv.CARRIER_PUBLISHED)
        self.published_ns: int | None = published if type(published) is int and 0 < published < 1 << 63 else None
        self.transaction_id = _name(fields.get(semconv.CARRIER_TRANSACTION))
        self.workflow_id = _name(fields.get(semconv.CARRIER_WORKFLOW))
        self.step = _name(fields.get(semconv.CARRIER_STEP))
        self.error_type = _name(fields.get(semconv.CARRIER_ERROR_TYPE))
        queue_time = fields.get(semconv.CARRIER_QUEUE_TIME)
        self.queue_time: float | None = (
            float(queue_time) if type(queue_time) in (int, float) and 0 <= queue_time < 1e9 else None
        )


def _name(value: object) -> str | None:
    return value if type(value) is str and 0 < len(value) <= _MAX_NAME else None


class Delays:
    """Times between a publication and what follows it, in seconds, never negative.

    In one process they are taken from the monotonic clock, so that a wall clock that is set back while
    a message is under way does no harm; from another process there is only its wall clock.
    """

    _CAPACITY = 4096

    def __init__(self) -> None:
        self._published: dict[int, int] = {}

    def stamp(self) -> int:
        """The wall clock now (ns), remembered with the monotonic clock."""
        now = time.time_ns()
        if len(self._published) >= self._CAPACITY:
            self._published = {}  # older messages fall back on the wall clock
        self._published[now] = time.perf_counter_ns()
        return now

    def since(self, published_ns: int) -> float:
        """Seconds since a stamp, of this process or of another."""
        own = self._published.get(published_ns)
        if own is not None:
            return (time.perf_counter_ns() - own) * 1e-9
        return max(0, time.time_ns() - published_ns) * 1e-9
