"""The contract's attribute sets, written down once, for the order saga of tests.support.sagas."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.observed import span
from tests.support.expected import message_attributes, step_attributes, worker_attributes

IDS: Final = {"workflow.transaction_id": "TX1", "workflow.id": "order_processing"}
ROOT: Final = "workflow.order_processing"


def message(
    operation: str, name: str, message_id: str, correlation: str, kind: str, system: str = "multiagents", **more: Any
) -> dict[str, Any]:
    """The attributes of ``send`` and ``process`` spans."""
    return {**IDS, **message_attributes(operation, name, message_id, correlation, kind, system, **more)}


def step_spans(step: str, worker: str, command: str, result: str) -> list[dict[str, Any]]:
    """The six spans of a step that succeeds, in the order of their starts."""
    correlation = f"TX1.{step}"
    send, process = f"send command.{worker}", f"process command.{worker}"
    return [
        span(
            f"step.{step}",
            "INTERNAL",
            ROOT,
            {**IDS, **step_attributes(step, worker, command, "QUEUED")},
        ),
        span(
            send,
            "PRODUCER",
            f"step.{step}",
            message("send", f"command.{worker}", command, correlation, "CommandEvent"),
        ),
        span(process, "CONSUMER", send, message("process", f"command.{worker}", command, correlation, "CommandEvent")),
        span(
            f"worker.{worker}",
            "INTERNAL",
            process,
            {**IDS, **worker_attributes(step, worker)},
        ),
        span(
            f"send result.{worker}",
            "PRODUCER",
            process,
            message("send", f"result.{worker}", result, correlation, "ResultEvent"),
        ),
        span(
            f"process result.{worker}",
            "CONSUMER",
            f"send result.{worker}",
            message("process", f"result.{worker}", result, correlation, "ResultEvent"),
        ),
    ]


SUCCESS: Final = [
    span(ROOT, "INTERNAL", "", {**IDS, "workflow.status": "completed"}),
    *step_spans("validate", "validate_order", "MSG1", "MSG2"),
    *step_spans("charge", "charge_payment", "MSG3", "MSG4"),
    *step_spans("ship", "ship_order", "MSG5", "MSG6"),
]
"""A whole order that succeeds, on a bus that tells no receivers."""

KEPT_AT_0_PERCENT: Final = """\
workflow.order_processing INTERNAL ERROR ValueError
  step.validate INTERNAL
  step.charge INTERNAL
  step.ship INTERNAL ERROR ValueError
    process command.ship_order CONSUMER ERROR ValueError
      worker.ship_order INTERNAL ERROR ValueError
      send result.ship_order PRODUCER
        process result.ship_order CONSUMER
  compensate.refund_payment INTERNAL
    send compensation.refund_payment PRODUCER
      process compensation.refund_payment CONSUMER"""
"""What is told of an order that was not sampled and whose last step failed: the payment is refunded."""
