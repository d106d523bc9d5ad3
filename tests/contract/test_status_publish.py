"""The status table, rows of a publish that failed: command, result, compensation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.conftest import Clock
from tests.contract.observed import Observed, series
from tests.support.buses import MemoryBus
from tests.support.sagas import order_payload, order_system

DOWN = "ConnectionError: broker gone"


def bus_that_fails(event_type: str) -> MemoryBus:
    bus = MemoryBus()
    bus.failures[event_type] = ConnectionError("broker gone")
    return bus


@pytest.mark.parametrize(
    ("worker", "step", "status", "spans"),
    [
        ("validate_order", "validate", "failed", 3),
        ("charge_payment", "charge", "failed", 9),
        ("ship_order", "ship", "compensated", 17),
    ],
)
async def test_a_commands_failed_publish_is_an_error_of_send_step_and_workflow(
    observed: Observed, worker: str, step: str, status: str, spans: int
) -> None:
    observed.instrument()
    async with order_system(bus_that_fails(f"command.{worker}"), monitors=False) as system:
        transaction = await system.run()
        await system.bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "compensated"
    assert observed.statuses() == {
        f"send command.{worker}": DOWN,
        f"step.{step}": DOWN,
        "workflow.order_processing": DOWN,
    }
    assert observed.exceptions == [(f"send command.{worker}", "ConnectionError")]
    root = observed.root()
    assert root.attributes["workflow.status"] == status
    assert root.attributes["multiagents.workflow.failed_step"] == step
    assert len(observed.spans) == spans
    assert observed.named(f"process command.{worker}") == []
    assert observed.sums("multiagents.events.publish_errors") == {
        series(event__type="CommandEvent", error__type="ConnectionError"): 1
    }
    assert observed.sums("multiagents.events")[series(event__type="CommandEvent", status="error")] == 1
    assert observed.sums("multiagents.events.in_flight") == {}
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status=status): 1}


async def test_a_results_failed_publish_is_an_error_of_send_and_the_workflow_stalls_in_time(
    observed: Observed, clock: Clock
) -> None:
    observed.instrument()
    async with order_system(bus_that_fails("result.charge_payment"), monitors=False) as system:
        await system.run()
        await system.bus.drain()
        assert observed.statuses() == {"send result.charge_payment": DOWN}
        assert observed.exceptions == [("send result.charge_payment", "ConnectionError")]
        assert observed.one("worker.charge_payment").attributes["multiagents.worker.outcome"] == "success"
        assert observed.sums("multiagents.events.in_flight") == {series(worker__name="charge_payment"): 1}
        await clock.forward(309)
        assert observed.named("step.charge") == []
        await clock.forward(2)
        late = "stalled: no result within 300 s and the grace after it"
        assert observed.statuses() == {
            "send result.charge_payment": DOWN,
            "step.charge": late,
            "workflow.order_processing": late,
        }
    assert observed.exceptions == [("send result.charge_payment", "ConnectionError")]
    root = observed.root()
    assert root.attributes["workflow.status"] == "stalled"
    assert root.attributes["multiagents.workflow.failed_step"] == "charge"
    assert observed.sums("multiagents.events.in_flight") == {}
    assert observed.sums("multiagents.events.publish_errors") == {
        series(event__type="ResultEvent", error__type="ConnectionError"): 1
    }


async def test_a_compensations_failed_publish_is_an_error_of_send_compensate_and_workflow(observed: Observed) -> None:
    observed.instrument()
    async with order_system(bus_that_fails("compensation.refund_payment"), monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await system.bus.drain()
    statuses = observed.statuses()
    assert {name: statuses[name] for name in statuses if "ship" not in name} == {
        "send compensation.refund_payment": DOWN,
        "compensate.refund_payment": DOWN,
        "workflow.order_processing": DOWN,
    }
    # The worker's exception is one, the compensation's own is the other: each is told once, where it was raised.
    assert observed.exceptions == [
        ("worker.ship_order", "ValueError"),
        ("send compensation.refund_payment", "ConnectionError"),
    ]
    root = observed.root().attributes
    assert root["workflow.status"] == "failed"
    assert root["multiagents.workflow.failed_step"] == "ship"
    assert observed.sums("multiagents.compensations") == {
        series(workflow__id="order_processing", status="undelivered"): 1
    }
    assert observed.one("process result.ship_order").status == "UNSET"


async def test_a_compensation_that_fails_after_a_failed_command_is_told_once_each(observed: Observed) -> None:
    bus = bus_that_fails("compensation.refund_payment")
    bus.failures["command.ship_order"] = KeyError("no route")
    observed.instrument()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert observed.exceptions == [
        ("send command.ship_order", "KeyError"),
        ("send compensation.refund_payment", "ConnectionError"),
    ]
    assert observed.root().attributes["workflow.status"] == "failed"


async def test_a_secret_in_the_message_of_a_failed_publish_is_scrubbed(observed: Observed) -> None:
    bus = MemoryBus()
    bus.failures["command.validate_order"] = ConnectionError("redis://me:hunter2@host/0 refused")
    observed.instrument()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert "hunter2" not in repr([(s.attributes, s.status.description, s.events) for s in observed.spans])
    assert observed.one("step.validate").status_description == "redis://***REDACTED***@host/0 refused"
    (event,) = observed.one("send command.validate_order").events
    assert "hunter2" not in repr(event)


class HangingBus(MemoryBus):
    """Never done with an event of one type."""

    def __init__(self, event_type: str) -> None:
        super().__init__()
        self.hangs = asyncio.Event()
        self._at = event_type

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        if event_type == self._at:
            self.hangs.set()
            await asyncio.Event().wait()
        await super().publish(event_type, event_data)


@pytest.mark.parametrize("event_type", ["status.workflow", "shop.opened", "result.validate_order"])
async def test_a_publish_that_was_cancelled_at_shutdown_is_no_error_of_it(observed: Observed, event_type: str) -> None:
    observed.instrument()
    bus = HangingBus(event_type)
    async with order_system(bus, monitors=False):
        publishing = asyncio.create_task(bus.publish(event_type, {"id": "e-1"}))
        await bus.hangs.wait()
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
    assert observed.statuses() == {}
    assert observed.exceptions == []
    assert observed.sums("multiagents.events.publish_errors") == {}
    assert observed.sums("multiagents.events") == {}


async def test_a_status_event_cancelled_with_the_orchestrators_work_is_no_error_and_ends_the_workflow(
    observed: Observed,
) -> None:
    observed.instrument(status_events=True)
    bus = HangingBus("status.workflow")
    async with order_system(bus, monitors=False) as system:
        starting = asyncio.create_task(system.run())
        await bus.hangs.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert observed.sums("multiagents.events.publish_errors") == {}
    assert observed.one("send status.workflow").status == "UNSET"
    assert observed.sums("multiagents.active_workflows") == {}
