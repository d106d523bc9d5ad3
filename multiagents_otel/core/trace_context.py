"""OpenTelemetry's context and span contexts, read and changed without the frames of the API's functions.

A publish reads the current span, makes a context for another one, attaches and detaches it. The API needs some thirty
Python calls for that. What stands here has the same results: the key of the current span is found out through the API
itself, and where the runtime context or ``SpanContext`` is not as expected, these are the API's own functions.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from operator import attrgetter, itemgetter
from typing import Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, TraceFlags, set_span_in_context

EMPTY: Final = Context()
"""The context without values: a parent for what must not inherit anything."""
SPAN_KEY: Final[str] = next(iter(set_span_in_context(INVALID_SPAN, EMPTY)))
"""The key of the current span in a context."""


def _is_plain_tuple() -> bool:
    made = SpanContext(1, 2, False, TraceFlags(3))
    return isinstance(made, tuple) and tuple(made) == (1, 2, False, 3, made.trace_state, True)


SPAN_CONTEXT_IS_TUPLE: Final = _is_plain_tuple()


def _field(index: int, name: str) -> Callable[[SpanContext], Any]:
    return itemgetter(index) if SPAN_CONTEXT_IS_TUPLE else attrgetter(name)


trace_id_of: Final = _field(0, "trace_id")
span_id_of: Final = _field(1, "span_id")
flags_of: Final = _field(3, "trace_flags")
state_of: Final = _field(4, "trace_state")
is_valid: Final = _field(5, "is_valid")


def _runtime() -> tuple[Callable[[], Context], Callable[[Context], Any], Callable[[Any], object]]:
    runtime = getattr(context_api, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None)
    if type(runtime) is ContextVarsRuntimeContext and type(variable) is ContextVar:
        return variable.get, variable.set, variable.reset
    return context_api.get_current, context_api.attach, context_api.detach


get_current, attach, _reset = _runtime()


def detach(token: Any) -> None:
    """Restore the context before ``attach``; nothing, where the code runs in another ``contextvars`` context now."""
    try:
        _reset(token)
    except ValueError:
        pass


def span_of(context: Context) -> Span:
    """Return the current span of a context, as ``trace.get_current_span`` does."""
    span = context.get(SPAN_KEY)
    return span if isinstance(span, Span) else INVALID_SPAN


def with_span(span: Span, context: Context) -> Context:
    """Make a context in which a span is the current one, as ``trace.set_span_in_context`` does."""
    return Context({**context, SPAN_KEY: span})
