"""What the order saga of tests.support.sagas emits, written down once: its trees, and its spans' attributes."""

from __future__ import annotations

from typing import Any, Final

_STEP: Final = """\
  step.{step} INTERNAL{error}
    send command.{worker} PRODUCER
      process command.{worker} CONSUMER{error}
        worker.{worker} INTERNAL{error}
        send result.{worker} PRODUCER
          process result.{worker} CONSUMER"""

_COMPENSATE: Final = """\
  compensate.refund_payment INTERNAL
    send compensation.refund_payment PRODUCER
      process compensation.refund_payment CONSUMER"""


def step_tree(step: str, worker: str, error: str = "") -> str:
    """A step's six spans; ``error`` is the ``error.type`` of a worker that fails."""
    return _STEP.format(step=step, worker=worker, error=f" ERROR {error}" if error else "")


def compensated_tree(error: str) -> str:
    """An order whose last step failed: the payment is refunded, and somebody takes the request."""
    return "\n".join([f"workflow.order_processing INTERNAL ERROR {error}", *_BEFORE, _ship(error), _COMPENSATE])


def _ship(error: str = "") -> str:
    return step_tree("ship", "ship_order", error)


_BEFORE: Final = (step_tree("validate", "validate_order"), step_tree("charge", "charge_payment"))

COMPLETED: Final = "\n".join(["workflow.order_processing INTERNAL", *_BEFORE, _ship()])
"""An order that succeeds."""

COMPENSATED: Final = compensated_tree("ValueError")
"""An order whose worker ``ship_order`` raised ValueError."""


def message_attributes(
    operation: str, destination: str, message_id: str, correlation: str, kind: str, system: str, **more: Any
) -> dict[str, Any]:
    """Those of ``send`` and ``process`` spans."""
    return {
        "messaging.system": system,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "messaging.message.id": message_id,
        "messaging.message.conversation_id": correlation,
        "event.type": kind,
        **more,
    }


def step_attributes(step: str, worker: str, message_id: str, queue_time: object, **more: Any) -> dict[str, Any]:
    """Those of a ``step`` span whose result came."""
    return {
        "multiagents.step.name": step,
        "worker.name": worker,
        "messaging.message.id": message_id,
        "multiagents.event.queue_time": queue_time,
        **more,
    }


def worker_attributes(step: str, worker: str, outcome: str = "success") -> dict[str, Any]:
    """Those of a ``worker`` span."""
    return {
        "worker.name": worker,
        "multiagents.step.name": step,
        "multiagents.worker.outcome": outcome,
        "multiagents.worker.timeout": 300.0,
    }
