"""Context across processes: the carrier inside an event, and a workflow's identity inside its saga.

Both are plain dicts of JSON values under one reserved key. What a peer sent is never trusted: a
field of a wrong type or size is as if it were not there, without an error and without a log record.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from multiagents_otel import semconv
from multiagents_otel.core.trace_context import EMPTY, flags_of, is_valid, span_id_of, state_of, trace_id_of, with_span
from multiagents_otel.telemetry.event import seconds, text
from multiagents_otel.telemetry.json_values import MAX_FIELD, plain_fields

CLOCK_TOLERANCE: Final = 60.0
"""Seconds by which the clocks of two processes may differ before a time between them is taken for false."""

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
        semconv.CARRIER_KEEP,
    }
)
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()
_SHORT_CUT: Final = ((TraceContextTextMapPropagator, W3CBaggagePropagator), ())
_NO_STATE: Final = trace.INVALID_SPAN_CONTEXT.trace_state  # the API's one empty TraceState
_STATE_MEMBER: Final = re.compile(
    r"(?:[a-z][_0-9a-z*/-]{0,255}|[a-z0-9][_0-9a-z*/-]{0,240}@[a-z][_0-9a-z*/-]{0,13})="
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_BAGGAGE_KEY: Final = r"[!#-'*+.0-9A-Z^-z|~-]+[ \t]*"
_BAGGAGE_VALUE: Final = r"=[ \t]*[!#-+\x2d-:<-\[\]-~]*[ \t]*"
_BAGGAGE_MEMBER: Final = re.compile(f"{_BAGGAGE_KEY}{_BAGGAGE_VALUE}(?:;[ \t]*{_BAGGAGE_KEY}(?:{_BAGGAGE_VALUE})?)*")


def traceparent(context: SpanContext) -> str:
    """The W3C ``traceparent`` of a span context."""
    return "00-%032x-%016x-%02x" % (trace_id_of(context), span_id_of(context), flags_of(context) & 0xFF)  # noqa: UP031 - the fastest


def parse_traceparent(value: object, *, is_remote: bool = True) -> SpanContext | None:
    """The span context that a ``traceparent`` of version 00 names; None if it is anything else."""
    if not isinstance(value, str) or not (match := _TRACEPARENT_FORMAT.fullmatch(value)):
        return None
    trace_id, span_id, flags = match.groups()
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(int(flags, 16)))
    return context if is_valid(context) else None


def is_tracestate(value: object) -> bool:
    """Whether a ``tracestate`` can be read whole; the API discards all of any other, with a log record."""
    if type(value) is not str or len(value) > MAX_FIELD:
        return False
    members = [member for part in value.split(",") if (member := part.strip(" \t"))]
    return len(members) <= 32 and all(map(_STATE_MEMBER.fullmatch, members))


class Propagation:
    """Injects and extracts with the globally configured propagators.

    Where there is none at all (``OTEL_PROPAGATORS=none``, an ``OTEL_CONFIG_FILE`` that names none), with W3C trace
    context: what is meant by that is HTTP, and a workflow is one trace in any case.

    The default ones (W3C trace context and baggage) have a short cut for what they nearly always
    carry, a traceparent alone: it saves two thirds of the time, and the result is the same.
    """

    def __init__(self) -> None:
        self._configured: TextMapPropagator | None = None
        self._used: TextMapPropagator = _TRACE_CONTEXT
        self._is_default = False

    def _look(self, configured: TextMapPropagator) -> None:
        self._configured = configured
        parts = getattr(configured, "_propagators", None) if type(configured) is CompositePropagator else None
        self._is_default = parts is not None and tuple(map(type, parts)) in _SHORT_CUT
        self._used = _TRACE_CONTEXT if parts is not None and not parts else configured

    def inject(self, carrier: dict[str, Any], context: Context, span_context: SpanContext) -> None:
        """Write the propagators' fields of a context, whose span's is ``span_context``, into a carrier.

        Raises:
            Exception: a propagator failed, as W3C baggage does with lone surrogates. What it and those before it had
                written is in the carrier.
        """
        if (configured := get_global_textmap()) is not self._configured:
            self._look(configured)
        state = state_of(span_context)
        # No state, and a context of one value, which is the span where there is one: what nearly every event has.
        if (
            (state is _NO_STATE or not state)
            and self._is_default
            and ((len(context) == 1 and is_valid(span_context)) or not baggage.get_all(context))
        ):
            if is_valid(span_context):
                carrier[_TRACEPARENT] = traceparent(span_context)
        else:
            fields: dict[Any, Any] = {}
            try:
                self._used.inject(fields, context)
            finally:
                carrier.update(plain_fields(fields, _OUR_KEYS))

    def extract(self, carrier: dict[str, Any]) -> tuple[Context, SpanContext]:
        """What a carrier holds, on top of an empty context (the listener's own must not leak in), and its span's."""
        if (configured := get_global_textmap()) is not self._configured:
            self._look(configured)
        if self._is_default and "tracestate" not in carrier and "baggage" not in carrier:
            span_context = parse_traceparent(carrier.get(_TRACEPARENT))
            if span_context is not None:
                return with_span(NonRecordingSpan(span_context), EMPTY), span_context
        fields = {
            key: value
            for key, value in carrier.items()
            if key not in _OUR_KEYS and type(key) is str and type(value) is str and len(value) <= MAX_FIELD
        }
        # The propagators log a warning for each member that they cannot read.
        if "tracestate" in fields and not is_tracestate(fields["tracestate"]):
            del fields["tracestate"]
        if "baggage" in fields:
            members = [m for m in fields["baggage"].split(",")[:180] if _BAGGAGE_MEMBER.fullmatch(m.strip(" \t"))]
            fields["baggage"] = ",".join(members)
        context = self._used.extract(fields, Context())
        return context, trace.get_current_span(context).get_span_context()


def told_name(fields: dict[str, Any], key: str) -> str | None:
    """A name that a carrier tells; None if it is missing or no short string."""
    return text(fields.get(key))


def told_time(fields: dict[str, Any]) -> int | None:
    """The publication that a carrier tells (ns since the epoch)."""
    value = fields.get(semconv.CARRIER_PUBLISHED)
    return value if type(value) is int and 0 < value < 1 << 63 else None


def nanoseconds(value: object) -> int | None:
    """A point in time that can be one."""
    return value if type(value) is int and 0 < value < 1 << 63 else None


def told_seconds(fields: dict[str, Any]) -> float | None:
    """The queue time that a result's carrier tells."""
    return seconds(fields.get(semconv.CARRIER_QUEUE_TIME))


class Delays:
    """Times between a publication and its receipt, in seconds, never negative.

    In one process they are taken from the monotonic clock, so that a wall clock that is set back while
    a message is under way does no harm; from another process there is only its wall clock.
    """

    _CAPACITY = 4096

    def __init__(self) -> None:
        self._published: dict[int, int] = {}

    def note(self, published_ns: int, published: int) -> None:
        """Remember a publication by its stamp, the wall clock's, with the monotonic clock."""
        if len(self._published) >= self._CAPACITY:
            self._published = {}  # older messages fall back on the wall clock
        self._published[published_ns] = published

    def since(self, published_ns: int, longest: float) -> float | None:
        """Return the seconds since a publication of this process or of another; None if that can't be true.

        Args:
            published_ns: the publication, by its process' wall clock.
            longest: seconds that a message can be under way.
        """
        own = self._published.get(published_ns)
        if own is not None:
            return (time.perf_counter_ns() - own) * 1e-9
        delay = (time.time_ns() - published_ns) * 1e-9
        return max(0.0, delay) if -CLOCK_TOLERANCE <= delay <= max(longest, CLOCK_TOLERANCE) else None
