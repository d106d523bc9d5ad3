"""Orders that go wrong in every way that there is, and what an observer is told of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from multiagents.worker_sdk.decorators import worker

from multiagents_otel import semconv
from tests.contract.answering import AnsweringBus
from tests.contract.conftest import Clock
from tests.contract.observed import MACHINE_METRICS, Observed
from tests.contract.test_status_raised import FullStore, undecided
from tests.support.buses import MemoryBus
from tests.support.otlp import ReceivedSpan
from tests.support.sagas import order_payload, order_system, order_workers, order_workflow, subscribe_compensations
from tests.support.trees import orphans, received, roots

Scenario = Callable[[Clock], Awaitable[None]]
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MEASURED: Final = (semconv.QUEUE_TIME, semconv.MESSAGING_BODY_SIZE)
_IN_THE_SAGA: Final = (
    semconv.TRANSACTION_ID, semconv.WORKFLOW_ID, semconv.STEP_NAME, semconv.WORKER_NAME, semconv.MESSAGING_MESSAGE_ID,
)  # fmt: skip


def told(observed: Observed, *, of: Observed | None = None) -> dict[str, Any]:
    """All that is told of the one trace there must be; ``of`` another one: of the spans that this one has too."""
    spans = list(map(received, observed.spans))
    (root,) = roots(spans)
    assert orphans(spans) == []
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert len({span.span_id for span in spans}) == len(spans)
    known = {span.name for span in (of or observed).spans}
    metrics = {name: metric for name, metric in observed.metrics().items() if name not in MACHINE_METRICS}
    histograms = {name for name, metric in metrics.items() if type(metric.data).__name__ == "Histogram"}
    return {
        "spans": {span.name: _said(span) for span in spans if span.name in known},
        "errors": sorted(span.name for span in spans if span.status == "ERROR"),
        "steps": sorted(span.name for span in spans if span.name.startswith("step.")),
        "exceptions": observed.exceptions,
        "counted": {name: observed.sums(name) for name in metrics.keys() - histograms},
        "measured": {name: observed.counts(name) for name in histograms},
    }


def _said(span: ReceivedSpan) -> dict[str, Any]:
    attributes = {
        key: "MEASURED" if key in _MEASURED else _UUID.sub("ID", str(value))
        for key, value in span.attributes.items()
        if key != semconv.SAMPLING_KEEP
    }
    if span.name.startswith("step.") and span.status == "UNSET":
        attributes = {key: value for key, value in attributes.items() if key in _IN_THE_SAGA}
    return {
        "kind": span.kind,
        "status": f"{span.status} {span.status_description}",
        "events": [(event.name, event.attributes.get("exception.type")) for event in span.events],
        "attributes": attributes,
    }


async def worker_raises(_clock: Clock, at: str = "ship_order", bus: MemoryBus | None = None) -> None:
    async with order_system(bus, monitors=False) as system:
        await subscribe_compensations(system.bus)
        await system.run(order_payload(fail_at=at))
        await system.bus.drain()


async def first_worker_raises(clock: Clock) -> None:
    await worker_raises(clock, "validate_order")


async def sync_worker_raises(_clock: Clock) -> None:
    async with order_system(workers=order_workers(sync=("charge_payment",)), monitors=False) as system:
        await system.run(order_payload(fail_at="charge_payment"))
        await system.bus.drain()


async def worker_raises_on_a_bus_that_calls_its_handlers(clock: Clock) -> None:
    await worker_raises(clock, bus=MemoryBus(inline=True))


async def worker_times_out(clock: Clock) -> None:
    started = asyncio.Event()
    workers = order_workers(probe=lambda name, _: started.set() if name == "charge_payment" else None)
    async with order_system(workers=workers, workflow=order_workflow(7), monitors=False) as system:
        await system.run(order_payload(hang_at="charge_payment"))
        await started.wait()
        await clock.forward(7.1)
        await system.bus.drain()


async def worker_is_never_called(_clock: Clock) -> None:
    async with order_system(workflow=order_workflow(0), monitors=False) as system:
        await system.run()
        await system.bus.drain()


async def command_reaches_nobody(_clock: Clock) -> None:
    bus = AnsweringBus()
    bus.lost.add("command.charge_payment")
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await system.bus.drain()


async def result_reaches_nobody(clock: Clock) -> None:
    bus = AnsweringBus()
    bus.lost.add("result.charge_payment")
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await system.bus.drain()
        await clock.forward(311)


async def compensation_reaches_nobody(_clock: Clock) -> None:
    async with order_system(AnsweringBus(), monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await system.bus.drain()


async def _unpublished(event_type: str, clock: Clock | None = None, payload: dict[str, Any] | None = None) -> None:
    bus = MemoryBus()
    bus.failures[event_type] = ConnectionError("broker gone")
    async with order_system(bus, monitors=False) as system:
        await system.run(payload)
        await bus.drain()
        if clock is not None:
            await clock.forward(311)


async def command_is_not_published(_clock: Clock) -> None:
    await _unpublished("command.ship_order")


async def first_command_is_not_published(_clock: Clock) -> None:
    await _unpublished("command.validate_order")


async def result_is_not_published(clock: Clock) -> None:
    await _unpublished("result.charge_payment", clock)


async def compensation_is_not_published(_clock: Clock) -> None:
    await _unpublished("compensation.refund_payment", payload=order_payload(fail_at="ship_order"))


async def no_result_comes(clock: Clock) -> None:
    async def swallow(event: dict[str, Any]) -> None: ...

    async with order_system(monitors=False) as system:
        (ours,) = system.bus.handlers["command.charge_payment"]
        await system.bus.unsubscribe("command.charge_payment", ours)
        await system.bus.subscribe("command.charge_payment", swallow)
        await system.run()
        await system.bus.drain()
        await clock.forward(311)


async def start_is_not_saved(_clock: Clock) -> None:
    async with order_system(store=FullStore(1), monitors=False) as system:
        with pytest.raises(OSError, match="disk full"):
            await system.run()


async def first_step_is_not_saved(_clock: Clock) -> None:
    async with order_system(store=FullStore(2), monitors=False) as system:
        with pytest.raises(OSError, match="disk full"):
            await system.run()


async def later_step_is_not_saved(_clock: Clock) -> None:
    async with order_system(store=FullStore(3), monitors=False) as system:
        await system.run()
        await system.bus.drain()


async def orchestrator_raises(_clock: Clock) -> None:
    async with order_system(workflow=undecided(), monitors=False) as system:
        await system.run()
        await system.bus.drain()


async def other_handler_raises(_clock: Clock) -> None:
    async def raises(event: dict[str, Any]) -> None:
        raise KeyError("gone")

    async with order_system(monitors=False) as system:
        await system.bus.subscribe("result.charge_payment", raises)
        await system.run()
        await system.bus.drain()


async def event_of_a_worker_is_not_published(_clock: Clock) -> None:
    bus = MemoryBus()
    bus.failures["stock.low"] = ConnectionError("broker gone")

    async def charge(payload: dict[str, Any]) -> dict[str, Any]:
        try:
            await bus.publish("stock.low", {"id": "e1", "item": "1"})
        except Exception:
            return {"told": False}
        return {}

    charging: Any = worker("charge_payment")(charge)
    workers = [charging if made.get_worker_type() == "charge_payment" else made for made in order_workers()]
    async with order_system(bus, workers=workers, monitors=False) as system:
        await system.run()
        await bus.drain()


async def cancelled_and_its_compensation_reaches_nobody(_clock: Clock) -> None:
    bus, started, go_on = AnsweringBus(), asyncio.Event(), asyncio.Event()

    async def ship(payload: dict[str, Any]) -> dict[str, Any]:
        started.set()
        await go_on.wait()
        return {}

    shipping: Any = worker("ship_order")(ship)
    workers = [shipping if made.get_worker_type() == "ship_order" else made for made in order_workers()]
    async with order_system(bus, workers=workers, monitors=False) as system:
        transaction = await system.run()
        await started.wait()
        await system.orchestrator.cancel_workflow(transaction)
        go_on.set()
        await bus.drain()


SCENARIOS: Final[tuple[Scenario, ...]] = (
    worker_raises,
    first_worker_raises,
    sync_worker_raises,
    worker_raises_on_a_bus_that_calls_its_handlers,
    worker_times_out,
    worker_is_never_called,
    command_reaches_nobody,
    result_reaches_nobody,
    compensation_reaches_nobody,
    command_is_not_published,
    first_command_is_not_published,
    result_is_not_published,
    compensation_is_not_published,
    no_result_comes,
    start_is_not_saved,
    first_step_is_not_saved,
    later_step_is_not_saved,
    orchestrator_raises,
    other_handler_raises,
    event_of_a_worker_is_not_published,
    cancelled_and_its_compensation_reaches_nobody,
)
