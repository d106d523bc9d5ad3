"""What is kept whatever the sampler says, and the sampler for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.baggage import get_baggage
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span

from multiagents_otel import semconv
from multiagents_otel.core.trace_context import SPAN_KEY

KEPT: Final[Mapping[str, Any]] = MappingProxyType({semconv.SAMPLING_KEEP: True})
"""The attribute of a span that is kept."""


class _Keep(Sampler):
    """Samples every span and marks it as kept, with the attributes that it starts with and its parent's trace state."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        state = get_current_span(parent_context).get_span_context().trace_state
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {**(attributes or {}), **KEPT}, state)

    def get_description(self) -> str:
        return "multiagents_otel: kept"


KEEP: Final = _Keep()


def is_critical(event: Mapping[str, Any], context: Context) -> bool:
    """Whether an event's ``priority``, at its top or in its metadata, or the baggage around it says ``critical``."""
    priority = event.get(semconv.PRIORITY)
    if priority is not None and _says_critical(priority):
        return True
    metadata = event.get("metadata")
    if type(metadata) is dict and semconv.PRIORITY in metadata and _says_critical(metadata[semconv.PRIORITY]):
        return True
    return not (len(context) == 1 and SPAN_KEY in context) and in_critical_baggage(context)


def in_critical_baggage(context: Context) -> bool:
    """Whether the baggage says ``multiagents.priority=critical``."""
    # Nearly all contexts hold a span and nothing more.
    if not context or (len(context) == 1 and SPAN_KEY in context):
        return False
    return _says_critical(get_baggage(semconv.PRIORITY_BAGGAGE, context))


def _says_critical(priority: object) -> bool:
    value = priority.value if isinstance(priority, Enum) else priority
    return type(value) is str and value.lower() == semconv.CRITICAL
