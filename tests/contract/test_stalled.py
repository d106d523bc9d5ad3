"""Workflows that cannot end: shown as stalled, and told when they end after all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from multiagents.orchestrator.orchestrator import Orchestrator

from multiagents_otel import MultiAgentsInstrumentor
from tests.contract.answering import AnsweringBus
from tests.contract.conftest import Clock
from tests.contract.observed import Observed, series
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.sagas import OrderSystem, SilentLogger, order_payload, order_system, order_workflow

LATE = "stalled: no result within {} s and the grace after it"
ORDER = series(workflow__id="order_processing")


async def lost_command(system: OrderSystem, event_type: str = "command.charge_payment") -> str:
    """An order whose command a subscriber takes that never answers."""

    async def swallow(event: dict[str, Any]) -> None: ...

    handlers = system.bus.handlers
    (ours,) = handlers[event_type]
    await system.bus.unsubscribe(event_type, ours)
    await system.bus.subscribe(event_type, swallow)
    transaction = await system.run()
    await system.bus.drain()
    return transaction


async def test_a_step_without_a_result_is_stalled_ten_seconds_after_its_timeout(
    observed: Observed, clock: Clock
) -> None:
    observed.instrument()
    async with order_system(workflow=order_workflow(20), monitors=False) as system:
        transaction = await lost_command(system)
        await clock.forward(29.5)
        assert observed.named("workflow.order_processing") == []
        assert observed.sums("multiagents.events.in_flight") == {series(worker__name="charge_payment"): 1}
        assert observed.sums("multiagents.active_workflows") == {ORDER: 1}
        await clock.forward(1)
        assert observed.statuses() == {
            "step.charge": LATE.format(20),
            "workflow.order_processing": LATE.format(20),
        }
        root = observed.root()
        assert root.attributes == {
            "workflow.transaction_id": transaction,
            "workflow.id": "order_processing",
            "workflow.status": "stalled",
            "multiagents.workflow.failed_step": "charge",
            "error.type": "stalled",
            "multiagents.sampling.keep": True,
        }
        assert observed.exceptions == []
        assert observed.sums("multiagents.events.in_flight") == {}
        assert observed.sums("multiagents.active_workflows") == {}
        assert observed.sums("multiagents.workflows.stalled") == {ORDER: 1}
        assert observed.sums("multiagents.workflow.stalls") == {ORDER: 1}
        assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="stalled"): 1}


async def test_without_a_timeout_three_hundred_seconds_and_ten_hold(observed: Observed, clock: Clock) -> None:
    observed.instrument()
    definition = order_workflow()
    for step in definition.get_steps():
        vars(step)["timeout_seconds"] = None  # as a builder that is given none leaves it
    async with order_system(workflow=definition, monitors=False) as system:
        await lost_command(system)
        await clock.forward(309.5)
        assert observed.named("step.charge") == []
        await clock.forward(1)
        assert observed.one("step.charge").status_description == LATE.format(300).removeprefix("stalled: ")


async def test_the_grace_is_an_option(observed: Observed, clock: Clock) -> None:
    observed.instrument(stall_grace=1)
    async with order_system(workflow=order_workflow(5), monitors=False) as system:
        await lost_command(system)
        await clock.forward(5.5)
        assert observed.named("step.charge") == []
        await clock.forward(1)
        assert observed.one("step.charge").attributes["error.type"] == "stalled"


async def test_a_result_in_time_leaves_nothing_to_stall(observed: Observed, clock: Clock) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
        await clock.forward(10_000)
    assert observed.statuses() == {}
    assert observed.sums("multiagents.workflow.stalls") == {}


async def test_the_log_tells_a_start_and_a_stall_with_the_workflows_ids(observed: Observed, clock: Clock) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        transaction = await lost_command(system)
        started = observed.logs
        await clock.forward(311)
    root = observed.root()
    ids = {"workflow.transaction_id": transaction, "workflow.id": "order_processing"}
    where = (root.trace_id, root.span_id)
    assert started == [("multiagents.workflow.started", "INFO", ids, *where)]
    more = {"error.type": "stalled", "multiagents.workflow.failed_step": "charge"}
    assert observed.logs == [*started, ("multiagents.workflow.stalled", "WARN", {**ids, **more}, *where)]


@pytest.mark.parametrize("detailed_timing", [True, False])
async def test_a_later_result_gives_no_second_root_but_a_log_event_and_counters(
    observed: Observed, clock: Clock, detailed_timing: bool
) -> None:
    observed.instrument(detailed_timing=detailed_timing)
    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        transaction = await lost_command(system)
        command = next(m.event for m in bus.wire if m.event_type == "command.charge_payment")
        await clock.forward(311)
        assert observed.sums("multiagents.workflows.stalled") == {ORDER: 1}
        late = result_of(command)
        await bus.publish("result.charge_payment", late)
        await bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    root = observed.one("workflow.order_processing")
    assert root.attributes["workflow.status"] == "stalled"
    assert len(observed.named("step.charge")) == 1
    assert observed.sums("multiagents.workflows.stalled", zeros=True)[ORDER] == 0
    assert observed.sums("multiagents.active_workflows", zeros=True)[ORDER] == 0
    assert observed.sums("multiagents.events.in_flight") == {}
    assert observed.sums("multiagents.workflow.stalls") == {ORDER: 1}
    assert observed.sums("multiagents.workflows") == {
        series(workflow__id="order_processing", status="stalled"): 1,
        series(workflow__id="order_processing", status="completed"): 1,
    }
    assert observed.logs[-1] == (
        "multiagents.workflow.recovered",
        "INFO",
        {
            "workflow.transaction_id": transaction,
            "workflow.id": "order_processing",
            "workflow.status": "completed",
        },
        root.trace_id,
        root.span_id,
    )
    # What ran after it is of the same trace, under the same root.
    assert observed.one("step.ship").parent_id == root.span_id


async def test_a_command_that_reached_nobody_and_is_answered_after_all_is_recovered(observed: Observed) -> None:
    observed.instrument()
    bus = AnsweringBus()
    bus.lost.add("command.charge_payment")
    async with order_system(bus, monitors=False) as system:
        transaction = await system.run()
        await bus.drain()
        assert observed.root().attributes["workflow.status"] == "stalled"
        bus.lost.clear()
        command = next(m.event for m in bus.wire if m.event_type == "command.charge_payment")
        await bus.publish("command.charge_payment", {k: v for k, v in command.items() if k != "_otel"})
        await bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    assert len(observed.named("workflow.order_processing")) == 1
    assert [log[0] for log in observed.logs] == [
        "multiagents.workflow.started",
        "multiagents.workflow.stalled",
        "multiagents.workflow.recovered",
    ]
    assert observed.sums("multiagents.workflows.stalled") == {}
    assert observed.sums("multiagents.events.in_flight") == {}
    # Counted and timed as what it was, and as what it became.
    both = {series(workflow__id="order_processing", status=status): 1 for status in ("stalled", "completed")}
    assert observed.sums("multiagents.workflows") == both
    assert observed.counts("multiagents.workflow.duration") == both
    assert observed.sums("multiagents.workflows.started") == {ORDER: 1}


async def test_a_workflow_that_is_cancelled_after_it_stalled_is_told_and_has_one_root(
    observed: Observed, clock: Clock
) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        transaction = await lost_command(system)
        await clock.forward(311)
        await system.orchestrator.cancel_workflow(transaction)
        await system.bus.drain()
    assert len(observed.named("workflow.order_processing")) == 1
    assert observed.logs[-1][0] == "multiagents.workflow.recovered"
    assert observed.logs[-1][2]["workflow.status"] == "cancelled"
    assert observed.sums("multiagents.workflows.stalled") == {}


async def test_many_steps_of_different_timeouts_stall_each_in_its_time(observed: Observed, clock: Clock) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, workflow=order_workflow(100), monitors=False) as system:
        quick = Orchestrator(order_workflow(3, workflow_id="quick"), bus, MemoryStore(), logger=SilentLogger())
        await lost_command(system)
        await quick.start()
        await quick.execute_workflow("quick", order_payload())
        await bus.drain()
        await clock.forward(13.5)
        assert len(observed.named("workflow.quick")) == 1
        assert observed.named("workflow.order_processing") == []
        await clock.forward(97)
        assert len(observed.named("workflow.order_processing")) == 1
    assert observed.sums("multiagents.workflow.stalls") == {ORDER: 1, series(workflow__id="quick"): 1}


async def test_after_uninstrument_nothing_is_reported_late_any_more(observed: Observed, clock: Clock) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        await lost_command(system)
        MultiAgentsInstrumentor().uninstrument()
        await clock.forward(1_000)
        await asyncio.sleep(0)
    assert observed.named("workflow.order_processing") == []
    assert observed.sums("multiagents.events.in_flight") == {}


def result_of(command: dict[str, Any]) -> dict[str, Any]:
    """The result that a worker would have published for a command, without a carrier."""
    metadata = {**command["metadata"], "source": "charge_payment"}
    return {
        "id": "late-1",
        "type": "result",
        "metadata": metadata,
        "payload": {"payment_id": "pay-1"},
        "command_id": command["id"],
        "success": True,
    }
