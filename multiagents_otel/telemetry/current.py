"""What the code that runs now is about: which workflow's transaction, and in which trace."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current

from multiagents_otel import semconv
from multiagents_otel.telemetry.sending import DELIVERY, EXECUTION, STAGE

CALL: ContextVar[Any] = ContextVar("multiagents_otel_call", default=None)
"""The call into an orchestrator: has a ``saga`` and a ``workflow``, once they are known."""


def transaction_id() -> str | None:
    """The ``workflow.transaction_id`` of what is being done; None outside of every workflow.

    From what the core is doing, recorded or not; else from the current span, where somebody else has set it there.
    """
    if (stage := STAGE.get()) is not None:
        return stage.workflow.transaction_id
    execution = EXECUTION.get()
    delivery = execution.delivery if execution is not None else DELIVERY.get()
    if delivery is not None:
        return delivery.message.transaction_id
    call = CALL.get()
    told = getattr(getattr(call, "saga", None) or call, "transaction_id", None)
    if told is None and (attributes := getattr(trace.get_current_span(), "attributes", None)):
        told = attributes.get(semconv.TRANSACTION_ID)
    return told if isinstance(told, str) else None


def context() -> Context:
    """The current context; where no span is current inside a call for a workflow, the workflow's own."""
    current = get_current()
    if trace.get_current_span(current).get_span_context().is_valid:
        return current
    workflow = getattr(STAGE.get() or CALL.get(), "workflow", None)
    return workflow.within(current) if workflow is not None else current
