"""Machines whose clocks differ: what can't be true is left out, counted and reported."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Orders, arrived
from tests.integration.test_pauses import ended
from tests.support.receiver import OtlpReceiver
from tests.support.sagas import order_payload
from tests.support.trees import roots

BETWEEN = ("multiagents.event.duration", "multiagents.event.queue_time")
COUNT = 3


def measured(receiver: OtlpReceiver, name: str) -> tuple[int, float]:
    """How often a histogram was recorded, and its sum."""
    points = receiver.metric(name)
    return sum(point.count or 0 for point in points), sum(point.sum or 0.0 for point in points)


def run_orders(orders: Orders, **worker_env: str) -> tuple[str, str]:
    """Run some orders with a worker of its own clock: what the worker and the orchestrator have printed."""
    worker, orchestrator = orders.worker(env=worker_env), orders.orchestrator()
    for number in range(1, COUNT + 1):
        orders.order(orchestrator, order_payload(), number)
    arrived(orders.receiver, lambda received: len(roots(received.spans)) == COUNT)
    orders.stop(orchestrator, worker)
    return worker.output, orchestrator.output


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_times_between_clocks_an_hour_apart_are_left_out_and_counted(orders: Orders, ahead: int) -> None:
    outputs = run_orders(orders, CLOCK_AHEAD=str(ahead))
    receiver = orders.receiver
    for name in BETWEEN:
        assert measured(receiver, name) == (0, 0.0), name
    for kind in ("CommandEvent", "ResultEvent"):
        assert receiver.total("multiagents.events.clock_skew", {"event.type": kind}) == 3 * COUNT
        assert receiver.total("multiagents.events", {"event.type": kind, "status": "success"}) == 3 * COUNT
    for output in outputs:
        assert output.count("the clocks of two processes differ") == 1
    # What one clock has measured stays.
    for name in ("workflow.duration", "step.duration", "worker.duration"):
        count, total = measured(receiver, f"multiagents.{name}")
        assert count >= COUNT
        assert total < 60 * count, name
    for span in receiver.spans:
        assert "multiagents.event.queue_time" not in span.attributes, span.name
        assert span.end_ns >= span.start_ns


def test_clocks_half_a_minute_apart_are_measured_and_clamped(orders: Orders) -> None:
    run_orders(orders, CLOCK_AHEAD="-30")
    receiver = orders.receiver
    assert receiver.total("multiagents.events.clock_skew") == 0
    count, total = measured(receiver, "multiagents.event.queue_time")
    assert count == 3 * COUNT
    assert total < count  # what the worker's own clock has measured since the receipt


def test_an_orchestrator_of_another_clock_takes_over_and_measures_nothing_false(orders: Orders) -> None:
    receiver = orders.receiver
    worker = orders.worker(env={"HOLD": "charge_payment"})
    first = orders.orchestrator()
    orders.begin(first, order_payload())
    worker.wait_line("working charge_payment")
    arrived(receiver, lambda received: received.total("multiagents.workflows.started") == 1)
    first.kill9()
    second = orders.orchestrator(env={"CLOCK_AHEAD": "3600"})
    worker.send_line("go")
    arrived(receiver, lambda received: roots(received.spans))
    orders.stop(second, worker)
    assert ended(receiver) == {"completed": 1}
    for name in (*BETWEEN, "multiagents.workflow.duration", "multiagents.step.duration"):
        count, total = measured(receiver, name)
        assert total <= 60 * count, name


def test_a_worker_that_says_what_cannot_be_is_not_believed(orders: Orders) -> None:
    """As one of an earlier version does, whose clock is ahead: the queue time in its results' carrier is false."""
    code = """
    from multiagents_otel.telemetry import execution
    tell = execution.Execution.tell
    def lie(self, carrier):
        tell(self, carrier)
        carrier["q"] = 3600.0
    execution.Execution.tell = lie
    from tests.integration import programs
    programs.worker()
    """
    worker = orders.program(code, "worker")
    orchestrator = orders.orchestrator()
    orders.order(orchestrator, order_payload())
    arrived(orders.receiver, lambda received: roots(received.spans))
    orders.stop(orchestrator, worker)
    steps = [span for span in orders.receiver.spans if span.name.startswith("step.")]
    assert len(steps) == 3
    assert all("multiagents.event.queue_time" not in step.attributes for step in steps)
