"""Processes that are stopped and continued, event loops that are blocked: no stall is reported that is none."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from tests.integration.conftest import Orders, arrived
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.sagas import order_payload
from tests.support.trees import roots

TIMEOUT = 2
GRACE = 0.5
PAUSE = TIMEOUT + GRACE + 1.0
COUNT = 16


def held_orders(orders: Orders, **worker_env: str) -> tuple[Process, Process]:
    """A worker that holds ``COUNT`` orders' second step, and their orchestrator."""
    worker = orders.worker(env={"HOLD": "charge_payment", **worker_env})
    orchestrator = orders.orchestrator(env={"STEP_TIMEOUT": str(TIMEOUT)}, stall_grace=GRACE)
    for _ in range(COUNT):
        orchestrator.send_line(json.dumps({**order_payload(), "wait": False}))
    worker.wait_line("working charge_payment", count=COUNT, timeout=60)
    return worker, orchestrator


def pass_by(seconds: float = PAUSE) -> None:
    """Let the time pass by which every step in flight has passed its timeout and the grace."""
    threading.Event().wait(seconds)


def stop_orchestrator(_worker: Process, orchestrator: Process) -> Callable[[], object]:
    orchestrator.signal(signal.SIGSTOP)
    return lambda: orchestrator.signal(signal.SIGCONT)


def block_orchestrator(_worker: Process, orchestrator: Process) -> Callable[[], object]:
    orchestrator.send_line(f"block {PAUSE + 1}")
    orchestrator.wait_line("blocked")
    return lambda: orchestrator.wait_line("done block")


PAUSES = {"stopped": stop_orchestrator, "blocked": block_orchestrator}


@pytest.mark.parametrize("pause", PAUSES)
def test_an_orchestrator_that_was_paused_reads_its_results_and_reports_no_stall(orders: Orders, pause: str) -> None:
    receiver = orders.receiver
    worker, orchestrator = held_orders(orders)
    resume = PAUSES[pause](worker, orchestrator)
    worker.send_line("go")
    arrived(
        receiver,
        lambda received: sum(s.name == "send result.charge_payment" for s in received.spans) == COUNT,
    )
    pass_by()
    resume()
    arrived(receiver, lambda received: len(roots(received.spans)) >= COUNT)
    orders.stop(orchestrator, worker)
    assert statuses(receiver) == {"completed": COUNT}
    assert ended(receiver) == {"completed": COUNT}
    check_nothing_stalled(receiver)


def test_a_pause_that_ends_before_the_deadline_leaves_time_to_read_the_results(orders: Orders) -> None:
    receiver = orders.receiver
    worker, orchestrator = held_orders(orders)
    orchestrator.signal(signal.SIGSTOP)
    worker.send_line("go")
    pass_by(TIMEOUT + GRACE - 0.3)
    orchestrator.signal(signal.SIGCONT)
    arrived(receiver, lambda received: len(roots(received.spans)) >= COUNT)
    orders.stop(orchestrator, worker)
    assert ended(receiver) == {"completed": COUNT}
    check_nothing_stalled(receiver)


def test_a_wall_clock_that_is_set_an_hour_ahead_in_the_midst_stalls_nothing(orders: Orders) -> None:
    receiver = orders.receiver
    worker, orchestrator = held_orders(orders)
    orchestrator.send_line("clock 3600")
    orchestrator.wait_line("done clock")
    worker.send_line("go")
    arrived(receiver, lambda received: len(roots(received.spans)) >= COUNT)
    orders.stop(orchestrator, worker)
    assert ended(receiver) == {"completed": COUNT}
    check_nothing_stalled(receiver)
    for metric in ("workflow.duration", "step.duration", "event.duration", "event.queue_time"):
        assert longest_mean(receiver, f"multiagents.{metric}") < 60, metric


@pytest.mark.parametrize(
    "stopped", ["worker", pytest.param("redis", marks=pytest.mark.slow), pytest.param("all", marks=pytest.mark.slow)]
)
def test_what_others_pauses_stall_recovers_with_one_root_each(orders: Orders, stopped: str) -> None:
    receiver = orders.receiver
    worker, orchestrator = held_orders(orders)
    pids = {"worker": [worker.pid], "redis": [orders.redis.pid]}
    pids["all"] = [worker.pid, orders.redis.pid, orchestrator.pid]
    stopping(pids[stopped], signal.SIGSTOP)
    try:
        pass_by()
    finally:
        stopping(reversed(pids[stopped]), signal.SIGCONT)
    worker.send_line("go")
    # Each comes to an end of the framework's: it completes, or its step has timed out.
    arrived(receiver, lambda received: sum(ends(received).values()) >= COUNT)
    orders.stop(orchestrator, worker)
    assert sum(ends(receiver).values()) == COUNT
    found = roots(receiver.spans)
    assert len(found) == len({root.span_id for root in found}) == COUNT
    assert statuses(receiver)["stalled"] == ended(receiver).get("stalled", 0)
    check_gauges(receiver)
    if stopped == "all":
        assert ended(receiver).get("stalled", 0) == 0


def stopping(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


def statuses(receiver: OtlpReceiver) -> Counter[str]:
    return Counter(root.attributes["workflow.status"] for root in roots(receiver.spans))


def ended(receiver: OtlpReceiver) -> dict[str, int]:
    """Workflows by the status that they ended with."""
    points = receiver.metric("multiagents.workflows")
    counts: Counter[str] = Counter()
    for point in points:
        counts[str(point.attributes["status"])] += int(point.value or 0)
    return dict(+counts)


def ends(receiver: OtlpReceiver) -> dict[str, int]:
    """Workflows that the framework ended."""
    return {status: count for status, count in ended(receiver).items() if status != "stalled"}


def check_nothing_stalled(receiver: OtlpReceiver) -> None:
    assert receiver.total("multiagents.workflow.stalls") == 0
    assert [log for log in receiver.logs if log.event_name == "multiagents.workflow.stalled"] == []
    check_gauges(receiver)


def check_gauges(receiver: OtlpReceiver) -> None:
    for gauge in ("active_workflows", "events.in_flight", "workflows.stalled", "worker.active"):
        assert receiver.total(f"multiagents.{gauge}") == 0, gauge


def longest_mean(receiver: OtlpReceiver, name: str) -> float:
    points = [point for point in receiver.metric(name) if point.count]
    assert points, name
    return max((point.sum or 0) / (point.count or 1) for point in points)
