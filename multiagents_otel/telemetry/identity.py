"""Spans whose ids and sampling are fixed before they are emitted.

A workflow may be finished by another process than the one that started it. So the ids, the start and
the sampling decision of its span are settled at the start and kept with the saga; whoever sees the
end emits the span with them: an identity stands for a tracer's own id generator and sampler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, Tracer, TraceState, get_current_span

from multiagents_otel import semconv
from multiagents_otel.processing.sampling import KEPT

_RANDOM = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)


class Identity(IdGenerator, Sampler):
    """The ids and the sampling decision of one span that is emitted later, perhaps by another process.

    Attributes:
        span_context: what children have as their parent.
        decision: the sampler's decision, made once.
        attributes: what the sampler added.
    """

    __slots__ = ("attributes", "decision", "span_context")

    def __init__(
        self, span_context: SpanContext, decision: Decision, attributes: Mapping[str, Any] | None = None
    ) -> None:
        self.span_context = span_context
        self.decision = decision
        self.attributes = dict(attributes or {})

    @property
    def recorded(self) -> bool:
        """Whether the span is emitted at all."""
        return self.decision is not Decision.DROP

    @property
    def kept(self) -> bool:
        """Whether it is emitted because of what happened, or was critical from the start."""
        return semconv.SAMPLING_KEEP in self.attributes

    def child(self, span_id: int) -> Identity:
        """The identity of a span under this one: same trace, same decision."""
        parent = self.span_context
        return Identity(
            SpanContext(parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state),
            self.decision,
            KEPT if self.kept else None,
        )

    def keep(self) -> Identity:
        """The same span, sampled whatever was decided, and marked."""
        return Identity(sampled(self.span_context), Decision.RECORD_AND_SAMPLE, {**self.attributes, **KEPT})

    # What a tracer asks while it makes the span.

    def generate_span_id(self) -> int:
        return self.span_context.span_id

    def generate_trace_id(self) -> int:
        return self.span_context.trace_id

    def is_trace_id_random(self) -> bool:
        return bool(self.span_context.trace_flags & _RANDOM)

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
        return SamplingResult(self.decision, {**(attributes or {}), **self.attributes}, self.span_context.trace_state)

    def get_description(self) -> str:
        return "multiagents_otel: decided when the workflow started"


def sampled(context: SpanContext, span_id: int | None = None) -> SpanContext:
    """A span context with the flag that says that it is sampled, of the same span or of another."""
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    return SpanContext(context.trace_id, span_id or context.span_id, context.is_remote, flags, context.trace_state)


def step_span_id(trace_id: int, command_id: str) -> int:
    """The span id of a step in a workflow that is not sampled, from the id of the step's command.

    Nothing is told of such a step but its command. If the workflow is kept after all, its orchestrator and its
    worker, who know the command both, find the same id without a word more.
    """
    digest = blake2b(command_id.encode("utf-8", "replace"), digest_size=8, key=trace_id.to_bytes(16, "big")).digest()
    return int.from_bytes(digest, "big") or 1


def can_pin(tracer: Tracer) -> bool:
    """Whether a tracer lets its id generator and sampler be stood in for, as the SDK's does."""
    return hasattr(tracer, "id_generator") and hasattr(tracer, "sampler")


def decide(tracer: Any, name: str, parent: Context, attributes: Mapping[str, Any], links: Sequence[Link]) -> Identity:
    """Fix the identity of a span as the tracer would if it started now.

    Raises:
        Exception: whatever the sampler or the id generator raises.
    """
    parent_context = get_current_span(parent).get_span_context()
    if parent_context.is_valid:
        trace_id = parent_context.trace_id
        random = parent_context.trace_flags & _RANDOM
    else:
        trace_id = tracer.id_generator.generate_trace_id()
        is_random = getattr(tracer.id_generator, "is_trace_id_random", None)
        random = _RANDOM if is_random is not None and is_random() else 0
    result = tracer.sampler.should_sample(parent, trace_id, name, SpanKind.INTERNAL, attributes, links)
    flags = TraceFlags((TraceFlags.SAMPLED if result.decision.is_sampled() else 0) | random)
    added = {key: value for key, value in (result.attributes or {}).items() if key not in attributes}
    # Every event of the workflow carries it: one that is no TraceState would fail each time.
    state = result.trace_state if isinstance(result.trace_state, TraceState) else None
    span_context = SpanContext(trace_id, tracer.id_generator.generate_span_id(), False, flags, state)
    return Identity(span_context, result.decision, added)
