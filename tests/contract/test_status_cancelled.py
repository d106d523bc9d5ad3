"""The status table, the row of ``cancel_workflow``: cancelled when the call returns, and not ended again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from multiagents.worker_sdk.decorators import worker

from tests.contract.observed import Observed, series
from tests.support.sagas import OrderSystem, order_system, order_workers


@asynccontextmanager
async def stopped_in(at: str) -> AsyncIterator[tuple[OrderSystem, str, asyncio.Event]]:
    """An order whose worker ``at`` is at work until the event is set."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def waits(payload: dict[str, Any]) -> dict[str, Any]:
        started.set()
        await go_on.wait()
        return {}

    waiting: Any = worker(at)(waits)
    workers = [waiting if made.get_worker_type() == at else made for made in order_workers()]
    async with order_system(workers=workers, monitors=False) as system:
        transaction = await system.run()
        await started.wait()
        yield system, transaction, go_on


async def test_a_cancelled_workflow_is_emitted_when_the_call_returns(observed: Observed) -> None:
    observed.instrument()
    async with stopped_in("charge_payment") as (system, transaction, go_on):
        assert await system.orchestrator.cancel_workflow(transaction) is True
        root = observed.root()
        assert root.status == "UNSET"
        assert root.attributes == {
            "workflow.transaction_id": transaction,
            "workflow.id": "order_processing",
            "workflow.status": "cancelled",
        }
        step = observed.one("step.charge")
        assert step.status == "UNSET"
        assert "error.type" not in step.attributes
        assert step.end_ns <= root.end_ns
        assert observed.sums("multiagents.active_workflows") == {}
        assert observed.sums("multiagents.workflows") == {
            series(workflow__id="order_processing", status="cancelled"): 1
        }
        go_on.set()
        await system.bus.drain()


async def test_nothing_ends_a_cancelled_workflow_again_though_the_framework_goes_on(observed: Observed) -> None:
    observed.instrument()
    async with stopped_in("charge_payment") as (system, transaction, go_on):
        await system.orchestrator.cancel_workflow(transaction)
        go_on.set()
        await system.bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    root = observed.root()
    assert root.attributes["workflow.status"] == "cancelled"
    assert len(observed.named("workflow.order_processing")) == 1
    assert [len(observed.named(f"step.{s}")) for s in ("validate", "charge", "ship")] == [1, 1, 0]
    # What it did after is still of the trace, and each of its results is one that no step waits for.
    assert observed.one("worker.ship_order").trace_id == root.trace_id
    assert observed.statuses() == {}
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="cancelled"): 1}
    assert observed.sums("multiagents.active_workflows") == {}
    assert observed.sums("multiagents.events.in_flight") == {}
    assert observed.sums("multiagents.events.stale") == {
        series(worker__name="charge_payment"): 1,
        series(worker__name="ship_order"): 1,
    }
    assert not [log for log in observed.logs if log[0] != "multiagents.workflow.started"]


async def test_the_compensations_of_a_cancelled_workflow_hang_under_its_root(observed: Observed) -> None:
    observed.instrument()
    async with stopped_in("ship_order") as (system, transaction, go_on):
        await system.orchestrator.cancel_workflow(transaction)
        root = observed.root()
        assert root.attributes["workflow.status"] == "cancelled"
        assert observed.one("compensate.refund_payment").parent_id == root.span_id
        go_on.set()
        await system.bus.drain()
    assert observed.statuses() == {}
    assert len(observed.named("compensate.refund_payment")) == 1


async def test_a_cancelled_workflow_is_cancelled_once(observed: Observed) -> None:
    observed.instrument()
    async with stopped_in("charge_payment") as (system, transaction, go_on):
        await system.orchestrator.cancel_workflow(transaction)
        await system.orchestrator.cancel_workflow(transaction)
        go_on.set()
        await system.bus.drain()
    assert len(observed.named("workflow.order_processing")) == 1
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="cancelled"): 1}


async def test_cancelling_an_unknown_workflow_says_so_and_records_nothing(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        assert await system.orchestrator.cancel_workflow("nobody") is False
    assert observed.spans == []
    assert observed.sums("multiagents.events.stale") == {}


async def test_cancelling_a_completed_workflow_gives_no_second_root_and_its_compensations_are_told(
    observed: Observed,
) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        transaction = await system.run()
        await system.bus.drain()
        assert await system.orchestrator.cancel_workflow(transaction) is True
        await system.bus.drain()
    root = observed.root()
    assert root.attributes["workflow.status"] == "completed"
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="completed"): 1}
    # The framework takes a completed workflow back: that it did is in the same trace, and counted.
    below = {s.name for s in observed.spans if s.parent and f"{s.parent.span_id:016x}" == root.span_id}
    assert below == {
        "step.validate", "step.charge", "step.ship", "compensate.refund_payment", "compensate.cancel_shipment"
    }  # fmt: skip
    assert observed.sums("multiagents.compensations") == {
        series(workflow__id="order_processing", status="delivered"): 2
    }
