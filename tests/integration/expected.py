"""The contract's attribute sets and sums for the order saga over a real Redis."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.support.expected import message_attributes, step_attributes, worker_attributes
from tests.support.receiver import ReceivedSpan
from tests.support.sagas import STEPS, WORKERS

_KINDS = {"command": "CommandEvent", "result": "ResultEvent", "compensation": "CompensationEvent"}
_STEP_OF = dict(zip((*WORKERS, "refund_payment"), (*STEPS, "charge"), strict=True))


AFTER_THE_FAILURE = ("result.ship_order", ".refund_payment")
"""The spans without an error that come after it."""


def attributes(
    span: ReceivedSpan, transaction: str, port: int, messages: dict[str, str], *, failed: bool = False
) -> dict[str, Any]:
    """What the contract gives a span of a delivered order, the measured values taken from the span itself.

    ``messages`` holds the id of each message by its event type, as its ``send`` span tells it; ``failed``: the
    order's last step did.
    """
    expected: dict[str, Any] = {"workflow.transaction_id": transaction, "workflow.id": "order_processing"}
    if span.status == "ERROR":
        expected["error.type"] = "ValueError"
    if span.status == "ERROR" or (failed and span.name.endswith(AFTER_THE_FAILURE)):
        expected["multiagents.sampling.keep"] = True
    kind, _, name = span.name.partition(".")
    if kind == "workflow":
        at = {"multiagents.workflow.failed_step": "ship"}
        return expected | (
            {"workflow.status": "completed"} if span.status == "UNSET" else {"workflow.status": "compensated", **at}
        )
    if kind == "step":
        worker = WORKERS[STEPS.index(name)]
        queued = span.attributes["multiagents.event.queue_time"]
        assert 0 < queued < (span.end_ns - span.start_ns) * 1e-9
        told = step_attributes(name, worker, messages[f"command.{worker}"], queued)
        return expected | told | {"multiagents.event.receivers": 1}
    if kind == "worker":
        return expected | worker_attributes(_STEP_OF[name], name, "success" if span.status == "UNSET" else "error")
    if kind == "compensate":
        return expected | {
            "multiagents.step.name": "charge",
            "multiagents.compensation.name": name,
            "multiagents.event.receivers": 1,
        }
    operation, event_type = span.name.split(" ")
    size = span.attributes["messaging.message.body.size"]
    assert size > 200
    channel, _, actor = event_type.partition(".")
    conversation = f"comp.{_STEP_OF[actor]}" if channel == "compensation" else _STEP_OF[actor]
    correlation, kind = f"{transaction}.{conversation}", _KINDS[channel]
    expected |= message_attributes(
        operation, f"multiagent:{event_type}", messages[event_type], correlation, kind, "redis"
    )
    expected |= {"messaging.message.body.size": size, "server.address": "127.0.0.1", "server.port": port}
    return expected | ({"multiagents.event.receivers": 1} if operation == "send" else {})


def sums(completed: int, compensated: int) -> Counter[tuple[str, ...]]:
    """Every counter that is not 0 after so many orders, over all processes: ``(name, *sorted attribute values)``."""
    started = completed + compensated
    counts: Counter[tuple[str, ...]] = Counter()

    def count(amount: int, name: str, *values: str) -> None:
        key = (name, *sorted(values))
        counts[key] += amount

    for worker in WORKERS:
        failed = compensated if worker == "ship_order" else 0
        count(started - failed, "multiagents.worker.executions", worker, "success")
        count(failed, "multiagents.worker.executions", worker, "error")
        count(failed, "multiagents.worker.errors", worker, "ValueError")
        count(started, "multiagents.worker.duration", worker)
        count(started, "multiagents.event.queue_time", worker)
    for step in STEPS:
        count(started, "multiagents.step.duration", "order_processing", step)
    for kind in ("CommandEvent", "ResultEvent"):
        count(3 * started - compensated, "multiagents.events", kind, "success")
        count(compensated, "multiagents.events", kind, "error")
        count(3 * started, "multiagents.event.duration", kind)
        count(3 * started, "multiagents.event.size", kind)
    count(compensated, "multiagents.events", "CompensationEvent", "success")
    count(compensated, "multiagents.event.duration", "CompensationEvent")
    count(compensated, "multiagents.event.size", "CompensationEvent")
    count(compensated, "multiagents.compensations", "order_processing", "delivered")
    count(2 * started, "multiagents.event.size", "StatusEvent")  # started, and how it ended
    count(started, "multiagents.workflows.started", "order_processing")
    for status, amount in (("completed", completed), ("compensated", compensated)):
        count(amount, "multiagents.workflows", "order_processing", status)
        count(amount, "multiagents.workflow.duration", "order_processing", status)
    return +counts
