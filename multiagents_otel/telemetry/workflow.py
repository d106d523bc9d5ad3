"""A workflow and its step in flight, and how their identity is kept inside the saga's metadata."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from time import perf_counter_ns, time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceState

from multiagents_otel import semconv
from multiagents_otel.core.trace_context import with_span
from multiagents_otel.telemetry.event import text
from multiagents_otel.telemetry.failure import Failure
from multiagents_otel.telemetry.identity import Identity
from multiagents_otel.telemetry.json_values import name_of, plain_attributes
from multiagents_otel.telemetry.propagation import (
    CLOCK_TOLERANCE,
    is_tracestate,
    nanoseconds,
    parse_traceparent,
    traceparent,
)


class Step:
    """A step in flight."""

    __slots__ = (
        "attributes", "command_id", "ended", "failure", "identity", "kind", "late_attributes", "name", "queue_time",
        "receivers", "size", "span", "start", "start_ns", "worker",
    )  # fmt: skip

    def __init__(self, name: str, worker: str | None, identity: Identity, start_ns: int, start: int | None) -> None:
        self.name = name
        self.worker = worker
        self.identity = identity
        self.start_ns = start_ns
        self.start = start  # None in a process that did not start it: its monotonic clock knows nothing of it
        self.kind = SpanKind.INTERNAL
        self.span: Span | None = None
        self.command_id: str | None = None
        self.receivers: int | None = None
        self.size: int | None = None
        self.queue_time: float | None = None
        self.failure: Failure | None = None
        self.attributes: dict[str, Any] = {}
        self.late_attributes: Callable[[], dict[str, Any]] | None = None  # those, where nothing is sampled so far
        self.ended = False


class Workflow:
    """A workflow that this process holds."""

    __slots__ = (
        "compensations", "ended", "failed_step", "failure", "identity", "links", "orchestrator", "owner", "parent",
        "recorded_exception", "saga", "skewed", "span", "stalled", "start", "start_ns", "steps", "transaction_id",
        "workflow_id",
    )  # fmt: skip

    def __init__(self, saga: Any, workflow_id: str, identity: Identity, start_ns: int, start: int | None) -> None:
        self.saga = saga
        self.transaction_id: str = saga.transaction_id
        self.workflow_id = workflow_id
        self.identity = identity
        self.start_ns = start_ns
        self.start = start
        self.parent: SpanContext | None = None
        self.links: tuple[Link, ...] = ()
        self.span: Span | None = None
        self.steps: list[Step] = []  # in flight: one, but where a second orchestrator executes steps too
        self.failed_step: str | None = None
        self.failure: Failure | None = None
        self.recorded_exception: BaseException | None = None
        self.compensations = 0
        self.stalled = False
        self.ended = False
        self.owner: str | None = None  # the process that started it; None where its saga does not say
        self.orchestrator: Callable[[], Any] = _nothing  # the one here that goes on with it, weakly
        self.skewed = False  # a worker's clock and this process' differ: only what began here has a true duration

    @property
    def ids(self) -> dict[str, Any]:
        """The attributes that tell which workflow it is."""
        return {semconv.TRANSACTION_ID: self.transaction_id, semconv.WORKFLOW_ID: self.workflow_id}

    @property
    def kept(self) -> bool:
        """Whether all that follows of it is sampled, because something failed or is critical."""
        return self.identity.kept

    def step(self, name: object, command_id: str | None) -> Step | None:
        """The step in flight that a result is recorded for: the one of its command, else the last of that name."""
        name = name_of(name)
        named = [step for step in self.steps if step.name == name]
        return next((step for step in named if step.command_id == command_id), named[-1] if named else None)

    def within(self, context: Context) -> Context:
        """A context in which the workflow's span is the current one."""
        return with_span(NonRecordingSpan(self.identity.span_context), context)


def _nothing() -> None:
    """Stands for an orchestrator that is not known, or gone."""


def elapsed(start_ns: int, start: int | None) -> tuple[float, int]:
    """Seconds since a start, and the end on the wall clock: monotonic here, clamped for another process' start."""
    passed = perf_counter_ns() - start if start is not None else max(0, time_ns() - start_ns)
    return passed * 1e-9, start_ns + passed


def has_duration(workflow: Workflow, start_ns: int, start: int | None) -> bool:
    """Whether the time since a start can be true: not where another process' clock differs from this one's."""
    return start is not None or not (workflow.skewed or time_ns() < start_ns - CLOCK_TOLERANCE * 1e9)


# --- the identity inside the saga's metadata ----------------------------------------------------


def to_metadata(workflow: Workflow) -> dict[str, Any]:
    """Build what a saga keeps of a workflow: JSON of builtin types alone, whatever the sampler and the names are."""
    identity = workflow.identity
    kept: dict[str, Any] = {
        "workflow": workflow.workflow_id,
        "owner": workflow.owner,
        "start": workflow.start_ns,
        "decision": identity.decision.value,
        "traceparent": traceparent(identity.span_context),
    }
    if identity.span_context.trace_state and is_tracestate(state := identity.span_context.trace_state.to_header()):
        kept["tracestate"] = state
    if identity.attributes and (attributes := plain_attributes(identity.attributes)):
        kept["attributes"] = attributes
    if workflow.parent is not None:
        kept["parent"] = traceparent(workflow.parent)
    if workflow.links:
        kept["link"] = traceparent(workflow.links[0].context)
    return kept


def from_metadata(saga: Any) -> Workflow | None:
    """The workflow whose identity a saga brings; None without one, or with one that cannot be read."""
    metadata = saga.metadata
    kept = metadata.get(semconv.CARRIER_KEY) if isinstance(metadata, dict) else None
    if not isinstance(kept, dict):
        return None
    try:
        span_context = parse_traceparent(kept.get("traceparent"), is_remote=False)
        if span_context is None:
            span_context = trace.INVALID_SPAN_CONTEXT
        if is_tracestate(kept.get("tracestate")):
            state = TraceState.from_header([kept["tracestate"]])
            span_context = SpanContext(
                span_context.trace_id, span_context.span_id, False, span_context.trace_flags, state
            )
        decision = Decision(kept["decision"]) if span_context.is_valid else Decision.DROP
        identity = Identity(span_context, decision, plain_attributes(kept.get("attributes")))
        workflow_id, start_ns = text(kept["workflow"]), nanoseconds(kept["start"])
        if workflow_id is None or start_ns is None:
            return None
        workflow = Workflow(saga, workflow_id, identity, start_ns, None)
        workflow.owner = text(kept.get("owner"))
        workflow.parent = parse_traceparent(kept.get("parent"))
        link = parse_traceparent(kept.get("link"))
        workflow.links = (Link(link),) if link is not None else ()
        step = kept.get("step")
        if isinstance(step, dict):
            span_id, name, step_start = int(step["span_id"], 16), text(step["name"]), nanoseconds(step["start"])
            if name is None or step_start is None or not identity.recorded <= span_id < 1 << 64:
                return None
            adopted = Step(name, text(step.get("worker")), identity.child(span_id), step_start, None)
            adopted.command_id = _command_in_flight(saga, adopted.name)
            workflow.steps.append(adopted)
    except (KeyError, TypeError, ValueError):
        return None
    return workflow


def _command_in_flight(saga: Any, step: str) -> str | None:
    for execution in reversed(saga.execution_history):
        if name_of(execution.step_name) == step:
            return execution.command_id if execution.status == "started" else None
    return None


def utc_ns(moment: datetime) -> int:
    """A point in time of the framework's (naive UTC), as ns since the epoch."""
    return int(moment.replace(tzinfo=timezone.utc).timestamp() * 1e6) * 1000
