"""A workflow that is kept after all: what is still to come of it is sampled, and what its saga tells is made up for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from multiagents_otel import semconv
from multiagents_otel.telemetry.event import text
from multiagents_otel.telemetry.identity import step_span_id
from multiagents_otel.telemetry.workflow import Step, Workflow, to_metadata, utc_ns


def can_keep(workflow: Workflow) -> bool:
    """Whether a workflow has an identity of its own; without a provider at its start it has its caller's, or none."""
    own = workflow.identity.span_context
    callers = [link.context for link in workflow.links] + ([workflow.parent] if workflow.parent else [])
    return own.is_valid and own.span_id not in [caller.span_id for caller in callers]


def keep(workflow: Workflow, generate_span_id: Any) -> None:
    """Give a workflow and its steps in flight identities that are sampled and marked, here and in the saga."""
    told = workflow.identity.span_context.trace_flags.sampled
    workflow.identity = identity = workflow.identity.keep()
    for step in workflow.steps:
        if told:
            step.identity = step.identity.keep()
        elif step.command_id is not None:
            step.identity = identity.child(step_span_id(identity.span_context.trace_id, step.command_id))
        else:
            step.identity = identity.child(generate_span_id())
    metadata = workflow.saga.metadata
    if isinstance(metadata, dict) and isinstance(known := metadata.get(semconv.CARRIER_KEY), dict):
        known.update(to_metadata(workflow))
        if workflow.steps and isinstance(step_known := known.get("step"), dict):
            step_known["span_id"] = f"{workflow.steps[-1].identity.span_context.span_id:016x}"


def earlier_steps(workflow: Workflow, workers: Mapping[str, str]) -> Iterator[tuple[Step, int]]:
    """The steps that ended before a workflow was kept, from its saga's history, each with its end (ns).

    Args:
        workflow: it is kept by now.
        workers: the worker of each step, which the saga does not tell.
    """
    in_flight = {step.command_id for step in workflow.steps}
    trace_id = workflow.identity.span_context.trace_id
    for execution in workflow.saga.execution_history:
        command_id, name = text(execution.command_id), text(execution.step_name)
        if execution.status != "completed" or command_id is None or name is None or command_id in in_flight:
            continue  # a step that failed is emitted where that was seen
        if not (isinstance(execution.started_at, datetime) and isinstance(execution.completed_at, datetime)):
            continue
        start_ns = utc_ns(execution.started_at)
        identity = workflow.identity.child(step_span_id(trace_id, command_id))
        step = Step(name, workers.get(name), identity, start_ns, None)
        step.command_id = command_id
        yield step, max(start_ns, utc_ns(execution.completed_at))
