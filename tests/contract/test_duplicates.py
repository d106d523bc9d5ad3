"""Late and double results, replicas of a worker, two orchestrators: one root, and the fault is counted and told."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.worker_sdk.decorators import worker
from multiagents.worker_sdk.worker_manager import WorkerManager

from tests.contract.answering import AnsweringBus
from tests.contract.observed import Observed, series
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.sagas import (
    WORKERS,
    SilentLogger,
    order_payload,
    order_system,
    order_workers,
    order_workflow,
)

COMPLETED = series(workflow__id="order_processing", status="completed")


def wire_result(bus: MemoryBus, worker: str) -> dict[str, Any]:
    """A result as it was published, without our carrier."""
    event = next(m.event for m in bus.wire if m.event_type == f"result.{worker}")
    return {key: value for key, value in event.items() if key != "_otel"}


def warnings(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and word in r.getMessage()]


async def test_a_late_result_of_a_completed_workflow_gives_no_second_root(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        transaction = await system.run()
        await bus.drain()
        for _ in range(2):
            await bus.publish("result.ship_order", wire_result(bus, "ship_order"))
            await bus.drain()
        # The framework loads it again, and completes it again.
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    assert len(observed.named("workflow.order_processing")) == 1
    assert len(observed.named("step.ship")) == 1
    assert observed.sums("multiagents.workflows") == {COMPLETED: 1}
    assert observed.sums("multiagents.events.stale") == {series(worker__name="ship_order"): 2}
    assert observed.sums("multiagents.active_workflows") == {}
    assert len(warnings(caplog, "'ship_order'")) == 1


async def test_a_late_result_of_a_compensated_workflow_gives_no_second_root(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await bus.drain()
        # T23: it stays in memory, and a late result moves it on.
        await bus.publish("result.charge_payment", {**wire_result(bus, "charge_payment"), "id": "again"})
        await bus.drain()
    roots = observed.named("workflow.order_processing")
    assert [root.attributes["workflow.status"] for root in roots] == ["compensated"]
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="compensated"): 1}
    assert observed.sums("multiagents.events.stale") == {series(worker__name="charge_payment"): 1}
    assert observed.sums("multiagents.active_workflows") == {}


async def test_a_double_result_of_an_earlier_step_is_stale(observed: Observed) -> None:
    """T11: the framework takes it for the current step's; what no step waited for is counted."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def waits(payload: dict[str, Any]) -> dict[str, Any]:
        started.set()
        await go_on.wait()
        return {}

    waiting: Any = worker("charge_payment")(waits)
    observed.instrument()
    bus = MemoryBus()
    workers = [order_workers()[0], waiting, order_workers()[2]]
    async with order_system(bus, workers=workers, monitors=False) as system:
        await system.run()
        await started.wait()
        await bus.publish("result.validate_order", wire_result(bus, "validate_order"))
        go_on.set()
        await bus.drain()
    assert len(observed.named("workflow.order_processing")) == 1
    assert [len(observed.named(f"step.{step}")) for step in ("validate", "charge", "ship")] == [1, 1, 1]
    stale = observed.sums("multiagents.events.stale")
    assert stale[series(worker__name="validate_order")] == 1
    assert observed.sums("multiagents.workflows") == {COMPLETED: 1}


async def test_a_result_of_an_unknown_workflow_is_stale(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
        lost = wire_result(bus, "ship_order")
        lost["metadata"] = {**lost["metadata"], "transaction_id": "nobody"}
        await bus.publish("result.ship_order", lost)
        await bus.drain()
    assert observed.sums("multiagents.events.stale") == {series(worker__name="ship_order"): 1}
    assert len(observed.named("workflow.order_processing")) == 1


async def test_two_replicas_of_a_worker_are_counted_and_told_once_and_there_is_one_root(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    observed.instrument()
    bus = AnsweringBus()
    replica_bus = bus.peer()
    await replica_bus.start()
    async with order_system(bus, monitors=False) as system:
        replica = WorkerManager(replica_bus, logger=SilentLogger())
        replica.event_monitor = replica.worker_monitor = replica.monitoring_logger = None
        for made in order_workers():
            replica.register(made)
        await replica.start()
        await system.run()
        await bus.drain()
        await system.run()
        await bus.drain()
        await replica.stop()
    await replica_bus.stop()
    roots = observed.named("workflow.order_processing")
    assert len(roots) == 2
    assert len({root.trace_id for root in roots}) == 2
    duplicated = observed.sums("multiagents.commands.duplicated")
    published = {series(worker__name=w): sum(m.event_type == f"command.{w}" for m in bus.wire) for w in WORKERS}
    assert duplicated == {key: count for key, count in published.items() if count}
    assert sum(observed.sums("multiagents.worker.executions").values()) == 2 * sum(published.values())
    assert sum(observed.sums("multiagents.events.stale").values()) > 0
    for name in WORKERS:
        assert len(warnings(caplog, f"a command for worker '{name}'")) == 1
    assert observed.sums("multiagents.active_workflows") == {}
    assert observed.sums("multiagents.events.in_flight") == {}


async def test_two_orchestrators_give_no_root_with_other_ids_and_are_counted_and_told(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    observed.instrument()
    bus, store = AnsweringBus(), MemoryStore()
    other_bus = bus.peer()
    await other_bus.start()
    async with order_system(bus, store, monitors=False) as system:
        other = Orchestrator(order_workflow(), other_bus, store, logger=SilentLogger())
        await other.start()
        await system.run()
        await bus.drain()
        await other.stop()
    await other_bus.stop()
    roots = {(root.trace_id, root.span_id) for root in observed.named("workflow.order_processing")}
    assert len(roots) == 1
    steps = [s for s in observed.spans if s.name.startswith("step.")]
    assert {s.parent.span_id for s in steps if s.parent} == {int(next(iter(roots))[1], 16)}
    assert {s.context.trace_id for s in observed.spans if s.context} == {int(next(iter(roots))[0], 16)}
    assert sum(observed.sums("multiagents.events.stale").values()) > 0
    assert warnings(caplog, "is not the one that its workflow waits for")
    assert observed.sums("multiagents.workflows") == {COMPLETED: 1}
    assert observed.sums("multiagents.active_workflows") == {}
    assert observed.sums("multiagents.events.in_flight") == {}


async def test_another_definitions_orchestrator_that_shares_workers_and_store_does_not_touch_it(
    observed: Observed,
) -> None:
    observed.instrument()
    bus, store = MemoryBus(), MemoryStore()
    async with order_system(bus, store, monitors=False) as system:
        other = Orchestrator(order_workflow(workflow_id="other"), bus, MemoryStore(), logger=SilentLogger())
        await other.start()
        await system.run()
        await bus.drain()
    assert observed.root().attributes["workflow.status"] == "completed"
    assert [len(observed.named(f"step.{step}")) for step in ("validate", "charge", "ship")] == [1, 1, 1]
    assert observed.named("workflow.other") == []
    assert observed.sums("multiagents.workflows") == {COMPLETED: 1}
