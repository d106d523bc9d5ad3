"""What the code that runs now is about: which workflow's transaction."""

from __future__ import annotations

from opentelemetry import trace

from multiagents_otel import semconv
from multiagents_otel.telemetry.delivery import DELIVERY
from multiagents_otel.telemetry.sending import EXECUTION, STAGE


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
    attributes = getattr(trace.get_current_span(), "attributes", None)
    value = attributes.get(semconv.TRANSACTION_ID) if attributes else None
    return value if isinstance(value, str) else None
