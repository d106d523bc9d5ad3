"""Row D3 of the failure catalogue: gauges of what is in flight are right meanwhile, and 0 when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from multiagents_otel import MultiAgentsInstrumentor
from tests.catalogue.recording import Recording, recording
from tests.support.buses import MemoryBus
from tests.support.deadline import DEADLINE
from tests.support.sagas import OrderSystem, order_payload, order_system, order_workers

GAUGES: Final = ("multiagents.events.in_flight", "multiagents.worker.active", "multiagents.active_workflows")
UNDER_WAY: Final = {
    "multiagents.events.in_flight": {(("worker.name", "charge_payment"),): 1},
    "multiagents.worker.active": {(("worker.name", "charge_payment"),): 1},
    "multiagents.active_workflows": {(("workflow.id", "order_processing"),): 1},
}


def gauges(record: Recording) -> dict[str, Any]:
    """The gauges' series that are not 0."""
    return {name: counts for name in GAUGES if (counts := record.counts(name))}


async def succeeds(_system: OrderSystem, gate: asyncio.Event, transaction: str) -> None:
    gate.set()
    await _system.wait_ended(transaction)


async def is_cancelled(system: OrderSystem, gate: asyncio.Event, transaction: str) -> None:
    await system.orchestrator.cancel_workflow(transaction)
    gate.set()


async def loses_its_result(system: OrderSystem, gate: asyncio.Event, _transaction: str) -> None:
    system.bus.failures["result.charge_payment"] = ConnectionError("gone")
    gate.set()


async def cannot_send_its_next_command(system: OrderSystem, gate: asyncio.Event, _transaction: str) -> None:
    system.bus.failures["command.ship_order"] = ConnectionError("gone")
    gate.set()


async def is_stopped(system: OrderSystem, _gate: asyncio.Event, transaction: str) -> None:
    tasks = system.manager._handler_tasks
    await system.manager.stop()
    await asyncio.gather(*tasks, return_exceptions=True)
    await system.orchestrator.cancel_workflow(transaction)


Ending = Callable[[OrderSystem, asyncio.Event, str], Awaitable[None]]


@pytest.mark.parametrize(
    ("ending", "payload", "left"),
    [
        (succeeds, order_payload(), {}),
        (succeeds, order_payload(fail_at="charge_payment"), {}),
        (succeeds, order_payload(fail_at="charge_payment", error=asyncio.TimeoutError), {}),
        (is_cancelled, order_payload(), {}),
        (cannot_send_its_next_command, order_payload(), {}),
        # The command is not answered until its time is over, and its workflow goes on until then.
        (
            loses_its_result,
            order_payload(),
            {name: UNDER_WAY[name] for name in ("multiagents.events.in_flight", "multiagents.active_workflows")},
        ),
        (is_stopped, order_payload(), {"multiagents.events.in_flight": UNDER_WAY["multiagents.events.in_flight"]}),
    ],
)
async def test_D3_gauges_return_to_0(ending: Ending, payload: dict[str, Any], left: dict[str, Any]) -> None:
    started, gate = asyncio.Event(), asyncio.Event()
    with recording() as record:
        async with order_system(MemoryBus(), workers=_gated(started, gate)) as system:
            transaction = await system.run(payload)
            await asyncio.wait_for(started.wait(), DEADLINE)
            assert gauges(record) == UNDER_WAY
            await ending(system, gate, transaction)
            await system.bus.drain()
            assert gauges(record) == left
            series = {name: set(record.metrics()[name]) for name in GAUGES}
            assert all(series.values()), "a gauge that is 0 is still there"


async def test_D3_a_timeout_returns_the_gauges_to_0() -> None:
    with recording() as record:
        async with order_system(MemoryBus(), timeout=1) as system:
            await system.wait_ended(await system.run(order_payload(hang_at="charge_payment")))
            await system.bus.drain()
            assert gauges(record) == {}


async def test_D3_a_command_that_waits_in_vain_leaves_when_its_workflow_stalls() -> None:
    with recording(stall_grace=0) as record:
        async with order_system(MemoryBus(), workers=[], timeout=0) as system:
            await system.run()
            while gauges(record):
                await asyncio.sleep(0)
            assert record.counts("multiagents.workflows.stalled") == {(("workflow.id", "order_processing"),): 1}


async def test_D3_uninstrumenting_half_way_leaves_nothing_in_flight() -> None:
    started, gate = asyncio.Event(), asyncio.Event()
    with recording() as record:
        async with order_system(MemoryBus(), workers=_gated(started, gate)) as system:
            transaction = await system.run(order_payload())
            await asyncio.wait_for(started.wait(), DEADLINE)
            instrumentor = MultiAgentsInstrumentor()
            instrumentor.uninstrument()
            assert gauges(record) == {}
            gate.set()
            await system.wait_ended(transaction)
            instrumentor.instrument(
                tracer_provider=record.tracer_provider,
                meter_provider=record.meter_provider,
                logger_provider=record.logger_provider,
            )
            assert gauges(record) == {}
            await system.wait_ended(await system.run(order_payload()))
            await system.bus.drain()
            assert gauges(record) == {}


def _gated(started: asyncio.Event, gate: asyncio.Event) -> list[Any]:
    """The order's workers; the second waits for the gate."""
    workers = order_workers()
    process = workers[1].process

    async def gated(payload: dict[str, Any]) -> dict[str, Any]:
        started.set()
        await gate.wait()
        return await process(payload)

    workers[1].process = gated  # type: ignore[method-assign,assignment]
    return list(workers)
