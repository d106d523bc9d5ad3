"""Processes that die, are missing, or are there twice: what the workflow's trace, metrics and log tell then."""

from __future__ import annotations

import time

from tests.integration.conftest import Orders, arrived
from tests.support.expected import COMPLETED
from tests.support.receiver import OtlpReceiver, ReceivedSpan
from tests.support.sagas import WORKERS, order_payload
from tests.support.trees import by_trace, orphans, roots, tree


def named(receiver: OtlpReceiver, name: str) -> list[ReceivedSpan]:
    return [span for span in receiver.spans if span.name == name]


def test_kill_9_of_the_orchestrator_another_one_finishes_the_workflow_in_one_whole_trace(orders: Orders) -> None:
    receiver = orders.receiver
    worker = orders.worker(env={"HOLD": "charge_payment"})
    first = orders.orchestrator()
    before = time.time_ns()
    transaction = orders.begin(first, order_payload())
    worker.wait_line("working charge_payment")
    # All that has ended in the first process has left it: nothing is lost with it.
    arrived(
        receiver,
        lambda received: (
            named(received, "send command.charge_payment")
            and named(received, "process result.validate_order")
            and received.total("multiagents.workflows.started") == 1
        ),
    )
    first.kill9()
    second = orders.orchestrator()
    killed_and_replaced = time.time_ns()
    worker.send_line("go")
    arrived(receiver, lambda received: roots(received.spans))
    orders.stop(second, worker)

    spans = receiver.spans
    assert tree(spans) == COMPLETED
    [root] = roots(spans)
    by_name = {span.name: span for span in spans}
    assert root.attributes == {
        "workflow.transaction_id": transaction,
        "workflow.id": "order_processing",
        "workflow.status": "completed",
    }
    # True start and end: it began in the process that died, and ended in the other one.
    assert before <= root.start_ns <= by_name["step.validate"].start_ns
    assert by_name["step.ship"].end_ns <= root.end_ns <= time.time_ns()
    assert by_name["step.charge"].start_ns < killed_and_replaced < by_name["step.charge"].end_ns
    first_id = by_name["step.validate"].resource["service.instance.id"]
    second_id = by_name["step.ship"].resource["service.instance.id"]
    assert first_id != second_id
    assert by_name["step.charge"].resource["service.instance.id"] == root.resource["service.instance.id"] == second_id
    assert receiver.total("multiagents.workflows.started") == 1
    assert (
        receiver.total("multiagents.workflows", {"status": "completed"}) == receiver.total("multiagents.workflows") == 1
    )
    [duration] = [point for point in receiver.metric("multiagents.workflow.duration") if point.count]
    assert duration.sum is not None
    assert abs(duration.sum - (root.end_ns - root.start_ns) * 1e-9) < 0.001
    assert receiver.total("multiagents.events.stale") == 0


def test_kill_9_of_the_orchestrator_only_what_had_not_left_it_is_missing(orders: Orders) -> None:
    receiver = orders.receiver
    worker = orders.worker(env={"HOLD": "charge_payment"})
    first = orders.orchestrator(env={"OTEL_BSP_SCHEDULE_DELAY": "600000"})
    orders.begin(first, order_payload())
    worker.wait_line("working charge_payment")
    first.kill9()
    second = orders.orchestrator()
    worker.send_line("go")
    arrived(receiver, lambda received: roots(received.spans))
    orders.stop(second, worker)

    spans = receiver.spans
    assert len(by_trace(spans)) == len(roots(spans)) == 1
    # Below the two commands that the dead process had sent, whose spans went with it.
    assert [span.name for span in orphans(spans)] == [
        "process command.validate_order",
        "process command.charge_payment",
    ]
    steps = [span.name for span in spans if span.parent_id == roots(spans)[0].span_id]
    assert steps == ["step.charge", "step.ship"]


def test_kill_9_of_the_worker_mid_command_shows_the_workflow_as_stalled(orders: Orders) -> None:
    receiver = orders.receiver
    worker = orders.worker(env={"HOLD": "charge_payment"})
    orchestrator = orders.orchestrator(env={"STEP_TIMEOUT": "1"}, stall_grace=0.1)
    transaction = orders.begin(orchestrator, order_payload())
    worker.wait_line("working charge_payment")
    worker.kill9()
    arrived(receiver, lambda received: roots(received.spans))
    orders.stop(orchestrator)
    mine = [span for span in receiver.spans if span.resource["service.name"] == "orchestrator"]
    assert [span for span in mine if span.name.startswith("process result")] != []
    own = tree([span for span in mine if not span.name.startswith("process ")])
    assert own == (
        "workflow.order_processing INTERNAL ERROR stalled\n"
        "  step.validate INTERNAL\n    send command.validate_order PRODUCER\n"
        "  step.charge INTERNAL ERROR stalled\n    send command.charge_payment PRODUCER"
    )
    check_stalled(receiver, transaction, "charge", "stalled")
    assert receiver.total("multiagents.events.undelivered") == 0


def test_a_command_that_nobody_takes_shows_the_workflow_as_stalled_at_once(orders: Orders) -> None:
    receiver = orders.receiver
    orchestrator = orders.orchestrator()
    transaction = orders.begin(orchestrator, order_payload())
    arrived(receiver, lambda received: roots(received.spans))
    orders.stop(orchestrator)
    assert tree(receiver.spans) == (
        "workflow.order_processing INTERNAL ERROR undelivered\n"
        "  step.validate INTERNAL ERROR undelivered\n"
        "    send command.validate_order PRODUCER ERROR undelivered"
    )
    check_stalled(receiver, transaction, "validate", "undelivered")
    labels = {"event.type": "CommandEvent", "worker.name": "validate_order"}
    assert receiver.total("multiagents.events.undelivered", labels) == 1
    assert receiver.total("multiagents.events.undelivered") == 1


def check_stalled(receiver: OtlpReceiver, transaction: str, step: str, error: str) -> None:
    [root] = roots(receiver.spans)
    assert root.attributes == {
        "workflow.transaction_id": transaction,
        "workflow.id": "order_processing",
        "workflow.status": "stalled",
        "multiagents.workflow.failed_step": step,
        "error.type": error,
        "multiagents.sampling.keep": True,
    }
    totals = {name: receiver.total(f"multiagents.{name}") for name in (
        "workflows.started", "workflows", "workflow.stalls", "workflows.stalled", "active_workflows", "events.in_flight"
    )}  # fmt: skip
    assert totals == {
        "workflows.started": 1,
        "workflows": 1,
        "workflow.stalls": 1,
        "workflows.stalled": 1,
        "active_workflows": 0,
        "events.in_flight": 0,
    }
    assert receiver.total("multiagents.workflows", {"status": "stalled"}) == 1
    [log] = [log for log in receiver.logs if log.event_name == "multiagents.workflow.stalled"]
    assert (log.severity, log.trace_id, log.span_id) == ("WARN", root.trace_id, root.span_id)
    assert log.attributes == {
        "workflow.transaction_id": transaction,
        "workflow.id": "order_processing",
        "multiagents.workflow.failed_step": step,
        "error.type": error,
    }


def test_two_replicas_of_a_worker_are_counted_and_told_and_give_no_second_root(orders: Orders) -> None:
    receiver = orders.receiver
    workers = [orders.worker(), orders.worker(count=2)]
    orchestrator = orders.orchestrator()
    orders.order(orchestrator, order_payload())
    executions = dict.fromkeys(WORKERS, 2)
    arrived(receiver,
        lambda received: {
            worker: received.total("multiagents.worker.executions", {"worker.name": worker, "status": "success"})
            for worker in WORKERS
        } == executions
        and len([span for span in received.spans if span.name.startswith("process result.")]) == 6
    )  # fmt: skip
    orders.stop(orchestrator, *workers)
    spans = receiver.spans
    assert len({(span.trace_id, span.span_id) for span in roots(spans)}) == len(by_trace(spans)) == 1
    assert orphans(spans) == []
    sent = len([span for span in spans if span.name.startswith("send command.")])
    assert receiver.total("multiagents.commands.duplicated") == sent >= 3
    # One result of each command is waited for at most; with those of its replica there are more.
    assert receiver.total("multiagents.events.stale") >= 3
    for worker in WORKERS:
        told = [line for line in orchestrator.lines if f"command for worker '{worker}' reached 2 receivers" in line]
        assert len(told) == 1, orchestrator.output


def test_two_orchestrators_emit_no_second_root_with_other_ids_and_are_told(orders: Orders) -> None:
    receiver = orders.receiver
    worker = orders.worker()
    orchestrators = [orders.orchestrator(), orders.orchestrator(count=2)]
    orders.order(orchestrators[0], order_payload())
    arrived(
        receiver, lambda received: len(roots(received.spans)) >= 1 and received.total("multiagents.events.stale") >= 2
    )
    orders.stop(*orchestrators, worker)
    spans = receiver.spans
    assert {span.name for span in roots(spans)} == {"workflow.order_processing"}
    assert len({(span.trace_id, span.span_id) for span in roots(spans)}) == len(by_trace(spans)) == 1
    assert orphans(spans) == []
    told = [
        [line for line in process.lines if "runs the same worker or the same orchestrator" in line]
        for process in orchestrators
    ]
    assert any(told)
    assert all(len(lines) == len(set(lines)) for lines in told)  # once for each worker
