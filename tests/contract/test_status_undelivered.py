"""The status table, rows of an event that was published to nobody, and how many received the others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.answering import AnsweringBus
from tests.contract.conftest import Clock
from tests.contract.observed import RECEIVERS, Observed, series
from tests.support.buses import WireMessage
from tests.support.sagas import order_payload, order_system, subscribe_compensations

NOBODY = "undelivered: published, and no subscriber received it"


def bus_that_loses(*event_types: str) -> AnsweringBus:
    bus = AnsweringBus()
    bus.lost.update(event_types)
    return bus


async def test_receivers_stand_on_send_and_step(observed: Observed) -> None:
    observed.instrument()
    async with order_system(AnsweringBus(), monitors=False) as system:
        await system.run()
        await system.bus.drain()
    told = {s.name: s.attributes[RECEIVERS] for s in observed.spans if s.attributes and RECEIVERS in s.attributes}
    kinds = ("command", "result")
    workers = ("validate_order", "charge_payment", "ship_order")
    assert told == {
        **{f"send {kind}.{worker}": 1 for kind in kinds for worker in workers},
        **{f"step.{step}": 1 for step in ("validate", "charge", "ship")},
    }
    assert observed.statuses() == {}


@pytest.mark.parametrize(("worker", "step"), [("validate_order", "validate"), ("ship_order", "ship")])
async def test_a_command_to_nobody_ends_its_step_at_once_and_the_workflow_is_stalled(
    observed: Observed, worker: str, step: str
) -> None:
    observed.instrument()
    async with order_system(bus_that_loses(f"command.{worker}"), monitors=False) as system:
        transaction = await system.run()
        await system.bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "running"
        assert observed.sums("multiagents.workflows.stalled") == {series(workflow__id="order_processing"): 1}
    assert observed.statuses() == {
        f"send command.{worker}": NOBODY,
        f"step.{step}": NOBODY,
        "workflow.order_processing": NOBODY,
    }
    assert observed.exceptions == []
    root = observed.root()
    assert root.attributes == {
        "workflow.transaction_id": transaction,
        "workflow.id": "order_processing",
        "workflow.status": "stalled",
        "multiagents.workflow.failed_step": step,
        "error.type": "undelivered",
        "multiagents.sampling.keep": True,
    }
    assert observed.one(f"step.{step}").attributes[RECEIVERS] == 0
    assert observed.one(f"send command.{worker}").attributes[RECEIVERS] == 0
    assert observed.sums("multiagents.events.undelivered") == {
        series(event__type="CommandEvent", worker__name=worker): 1
    }
    assert observed.sums("multiagents.events")[series(event__type="CommandEvent", status="error")] == 1
    assert observed.sums("multiagents.events.in_flight") == {}
    assert observed.sums("multiagents.active_workflows") == {}
    assert observed.sums("multiagents.workflow.stalls") == {series(workflow__id="order_processing"): 1}
    assert observed.logs[-1] == (
        "multiagents.workflow.stalled",
        "WARN",
        {
            "workflow.transaction_id": transaction,
            "workflow.id": "order_processing",
            "error.type": "undelivered",
            "multiagents.workflow.failed_step": step,
        },
        root.trace_id,
        root.span_id,
    )


async def test_a_result_to_nobody_is_an_error_of_send_and_the_workflow_stalls_in_time(
    observed: Observed, clock: Clock
) -> None:
    observed.instrument()
    async with order_system(bus_that_loses("result.charge_payment"), monitors=False) as system:
        await system.run()
        await system.bus.drain()
        assert observed.statuses() == {"send result.charge_payment": NOBODY}
        await clock.forward(311)
    late = "stalled: no result within 300 s and the grace after it"
    assert observed.statuses() == {
        "send result.charge_payment": NOBODY,
        "step.charge": late,
        "workflow.order_processing": late,
    }
    assert observed.root().attributes["workflow.status"] == "stalled"
    assert observed.exceptions == []
    assert observed.one("worker.charge_payment").status == "UNSET"
    assert observed.one("process command.charge_payment").status == "UNSET"
    assert observed.sums("multiagents.events.undelivered") == {
        series(event__type="ResultEvent", worker__name="charge_payment"): 1
    }
    assert observed.sums("multiagents.events") == {
        series(event__type="CommandEvent", status="success"): 2,
        series(event__type="ResultEvent", status="success"): 1,
        series(event__type="ResultEvent", status="error"): 1,
    }


async def test_a_compensation_to_nobody_is_an_error_of_send_and_compensate(observed: Observed) -> None:
    observed.instrument()
    async with order_system(AnsweringBus(), monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await system.bus.drain()
    statuses = observed.statuses()
    assert statuses["send compensation.refund_payment"] == statuses["compensate.refund_payment"] == NOBODY
    assert statuses["workflow.order_processing"] == "ValueError: Worker ship_order failed: declined"
    # Requested all the same: the framework does not wait for it, and the workflow is compensated to it.
    assert observed.root().attributes["workflow.status"] == "compensated"
    transaction = observed.root().attributes["workflow.transaction_id"]
    assert observed.one("compensate.refund_payment").attributes == {
        "workflow.transaction_id": transaction,
        "workflow.id": "order_processing",
        "multiagents.step.name": "charge",
        "multiagents.compensation.name": "refund_payment",
        "multiagents.event.receivers": 0,
        "error.type": "undelivered",
        "multiagents.sampling.keep": True,
    }
    assert observed.sums("multiagents.compensations") == {
        series(workflow__id="order_processing", status="undelivered"): 1
    }
    assert observed.sums("multiagents.events")[series(event__type="CompensationEvent", status="error")] == 1
    assert observed.exceptions == [("worker.ship_order", "ValueError")]


async def test_a_compensation_that_somebody_receives_hangs_under_the_root(observed: Observed) -> None:
    observed.instrument()
    bus = AnsweringBus()
    async with order_system(bus, monitors=False) as system:
        received = await subscribe_compensations(bus)
        await system.run(order_payload(fail_at="ship_order"))
        await bus.drain()
    assert [event["compensation_type"] for event in received] == ["refund_payment"]
    assert observed.tree.splitlines()[-3:] == [
        "  compensate.refund_payment INTERNAL",
        "    send compensation.refund_payment PRODUCER",
        "      process compensation.refund_payment CONSUMER",
    ]
    assert observed.one("compensate.refund_payment").attributes[RECEIVERS] == 1
    assert observed.sums("multiagents.compensations") == {
        series(workflow__id="order_processing", status="delivered"): 1
    }
    assert observed.sums("multiagents.events")[series(event__type="CompensationEvent", status="success")] == 1


async def test_a_status_event_and_a_users_own_event_to_nobody_are_no_errors(observed: Observed) -> None:
    observed.instrument(status_events=True)
    bus = AnsweringBus()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
        await bus.publish("shop.opened", {"id": "o-1", "payload": {}})
    assert observed.one("send shop.opened").attributes[RECEIVERS] == 0
    assert [s.attributes[RECEIVERS] for s in observed.named("send status.workflow")] == [0, 0]
    assert observed.statuses() == {}
    assert observed.sums("multiagents.events.undelivered") == {}
    assert observed.sums("multiagents.events") == {
        series(event__type="CommandEvent", status="success"): 3,
        series(event__type="ResultEvent", status="success"): 3,
    }


async def test_in_a_redis_cluster_no_receivers_are_recorded_and_no_error(observed: Observed) -> None:
    class RedisCluster:
        async def publish(self, channel: str, message: str) -> int:
            await bus.put_message(channel, message)
            return 0

    class ClusterBus(AnsweringBus):
        def __init__(self) -> None:
            super().__init__()
            self.redis_client: Any = RedisCluster()

        async def put_message(self, channel: str, message: str) -> None:
            await self.put(WireMessage(channel, message))

    observed.instrument()
    bus = ClusterBus()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert observed.statuses() == {}
    assert observed.root().attributes["workflow.status"] == "completed"
    assert observed.one("send command.ship_order").attributes[RECEIVERS] == 0
    assert observed.sums("multiagents.events.undelivered") == {}
