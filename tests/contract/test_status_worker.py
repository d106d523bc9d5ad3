"""The status table, rows of the worker: success, raised, timeout, cancelled at shutdown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from multiagents.worker_sdk.base_worker import BaseWorker, WorkerConfig

from tests.contract.conftest import Clock
from tests.contract.observed import Observed, series
from tests.support.sagas import WORKERS, order_payload, order_system, order_workers, order_workflow


class CardError(Exception):
    """A cause with a module of its own."""


def outcomes(observed: Observed) -> dict[str, Any]:
    return {s.name: s.attributes["multiagents.worker.outcome"] for w in WORKERS for s in observed.named(f"worker.{w}")}


async def test_success_leaves_every_status_unset_and_says_completed(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert observed.statuses() == {}
    assert observed.exceptions == []
    assert observed.root().attributes["workflow.status"] == "completed"
    assert set(outcomes(observed).values()) == {"success"}
    assert not [s.name for s in observed.spans if "error.type" in (s.attributes or {})]


@pytest.mark.parametrize("monitors", [False, True])
async def test_a_worker_that_raised_is_an_error_with_the_causes_class(observed: Observed, monitors: bool) -> None:
    observed.instrument()
    async with order_system(monitors=monitors) as system:
        await system.run(order_payload(fail_at="ship_order", message="no stock"))
        await system.bus.drain()
    assert observed.statuses() == {
        "worker.ship_order": "ValueError: no stock",
        "process command.ship_order": "ValueError: no stock",
        "step.ship": "ValueError: Worker ship_order failed: no stock",
        "workflow.order_processing": "ValueError: Worker ship_order failed: no stock",
    }
    assert observed.exceptions == [("worker.ship_order", "ValueError")]
    root = observed.root().attributes
    assert root["workflow.status"] == "compensated"
    assert root["multiagents.workflow.failed_step"] == "ship"
    assert outcomes(observed) == {
        "worker.validate_order": "success",
        "worker.charge_payment": "success",
        "worker.ship_order": "error",
    }
    assert observed.tree.splitlines()[-8:] == [
        "  step.ship INTERNAL ERROR ValueError",
        "    send command.ship_order PRODUCER",
        "      process command.ship_order CONSUMER ERROR ValueError",
        "        worker.ship_order INTERNAL ERROR ValueError",
        "        send result.ship_order PRODUCER",
        "          process result.ship_order CONSUMER",
        "  compensate.refund_payment INTERNAL",
        "    send compensation.refund_payment PRODUCER",
    ]


async def test_without_a_compensation_to_publish_the_workflow_has_failed(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        transaction = await system.run(order_payload(fail_at="validate_order"))
        await system.bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "compensated"
    root = observed.root()
    assert root.status == "ERROR"
    assert root.attributes["workflow.status"] == "failed"
    assert root.attributes["multiagents.workflow.failed_step"] == "validate"
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="failed"): 1}


async def test_the_cause_is_unwrapped_and_named_with_its_module(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        await system.run(order_payload(fail_at="charge_payment", error=CardError, message="stolen"))
        await system.bus.drain()
    name = f"{__name__}.CardError"
    assert {said.split(": ")[0] for said in observed.statuses().values()} == {name}
    assert observed.exceptions == [("worker.charge_payment", name)]
    assert observed.sums("multiagents.worker.errors") == {series(worker__name="charge_payment", error__type=name): 1}


async def test_a_workers_own_timeout_error_is_told_from_the_frameworks_timeout(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        await system.run(order_payload(fail_at="validate_order", error=TimeoutError, message="bank"))
        await system.bus.drain()
    assert observed.one("step.validate").attributes["error.type"] == "TimeoutError"
    assert observed.one("worker.validate_order").attributes["multiagents.worker.outcome"] == "error"
    assert observed.exceptions == [("worker.validate_order", "TimeoutError")]


async def test_a_worker_that_raises_asyncios_own_timeout_without_a_wrapper_raised_it(observed: Observed) -> None:
    """A BaseWorker whose ``process`` is its own: nothing wraps what it raises."""

    class Impatient(BaseWorker):
        async def process(self, context: dict[str, Any]) -> dict[str, Any]:
            raise KeyError("missing")

        async def execute(self, context: dict[str, Any]) -> dict[str, Any]:
            return context

    observed.instrument()
    workers = [Impatient(WorkerConfig("validate_order")), *order_workers()[1:]]
    async with order_system(workers=workers, monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert observed.statuses() == {
        "worker.validate_order": "KeyError: 'missing'",
        "process command.validate_order": "KeyError: 'missing'",
        "step.validate": "KeyError: 'missing'",
        "workflow.order_processing": "KeyError: 'missing'",
    }
    assert observed.exceptions == [("worker.validate_order", "KeyError")]


async def test_a_timeout_is_an_error_of_type_timeout_without_an_exception(observed: Observed, clock: Clock) -> None:
    observed.instrument()
    started = asyncio.Event()
    workers = order_workers(probe=lambda name, _: started.set() if name == "charge_payment" else None)
    async with order_system(workers=workers, workflow=order_workflow(7), monitors=False) as system:
        await system.run(order_payload(hang_at="charge_payment"))
        await started.wait()
        await clock.forward(7.1)
        await system.bus.drain()
    assert observed.statuses() == {
        "worker.charge_payment": "timeout: Worker timeout after 7s",
        "process command.charge_payment": "timeout: Worker timeout after 7s",
        "step.charge": "timeout: Worker timeout after 7s",
        "workflow.order_processing": "timeout: Worker timeout after 7s",
    }
    assert observed.exceptions == []
    assert observed.one("worker.charge_payment").attributes == {
        "workflow.transaction_id": observed.root().attributes["workflow.transaction_id"],
        "workflow.id": "order_processing",
        "worker.name": "charge_payment",
        "multiagents.step.name": "charge",
        "multiagents.worker.outcome": "timeout",
        "multiagents.worker.timeout": 7.0,
        "error.type": "timeout",
        "multiagents.sampling.keep": True,
    }
    root = observed.root().attributes
    assert root["workflow.status"] == "failed"
    assert root["multiagents.workflow.failed_step"] == "charge"
    assert observed.sums("multiagents.worker.executions") == {
        series(worker__name="validate_order", status="success"): 1,
        series(worker__name="charge_payment", status="error"): 1,
    }
    assert observed.sums("multiagents.worker.errors") == {
        series(worker__name="charge_payment", error__type="timeout"): 1
    }
    assert observed.sums("multiagents.events") == {
        series(event__type="CommandEvent", status="success"): 1,
        series(event__type="CommandEvent", status="error"): 1,
        series(event__type="ResultEvent", status="success"): 1,
        series(event__type="ResultEvent", status="error"): 1,
    }


async def test_a_timeout_of_zero_never_calls_the_worker_and_is_a_timeout_all_the_same(observed: Observed) -> None:
    observed.instrument()
    called: list[str] = []
    workers = order_workers(probe=lambda name, _: called.append(name))
    async with order_system(workers=workers, workflow=order_workflow(0), monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert called == []
    statuses = observed.statuses()
    assert {statuses[name] for name in ("process command.validate_order", "step.validate")} == {
        "timeout: Worker timeout after 0s"
    }
    assert observed.root().attributes["workflow.status"] == "failed"
    assert observed.sums("multiagents.worker.errors") == {
        series(worker__name="validate_order", error__type="timeout"): 1
    }


async def test_a_worker_cancelled_at_shutdown_is_no_error_and_ends_no_workflow(observed: Observed) -> None:
    observed.instrument()
    started = asyncio.Event()
    workers = order_workers(probe=lambda name, _: started.set() if name == "charge_payment" else None)
    async with order_system(workers=workers, monitors=False) as system:
        await system.run(order_payload(hang_at="charge_payment"))
        await started.wait()
        assert observed.sums("multiagents.worker.active") == {series(worker__name="charge_payment"): 1}
        await system.manager.stop()
        await system.bus.drain()
        assert observed.sums("multiagents.worker.active") == {}
        assert observed.statuses() == {}
        assert observed.exceptions == []
        assert observed.one("worker.charge_payment").attributes["multiagents.worker.outcome"] == "cancelled"
        assert observed.named("process command.charge_payment")
        assert not observed.named("send result.charge_payment")
        assert not observed.named("step.charge")
        assert not observed.named("workflow.order_processing")
        assert observed.sums("multiagents.active_workflows") == {series(workflow__id="order_processing"): 1}
    assert observed.sums("multiagents.worker.executions") == {
        series(worker__name="validate_order", status="success"): 1,
        series(worker__name="charge_payment", status="cancelled"): 1,
    }
    assert observed.sums("multiagents.worker.errors") == {}
    # Neither a success nor an error: the command's outcome is not known.
    assert observed.sums("multiagents.events") == {
        series(event__type="CommandEvent", status="success"): 1,
        series(event__type="ResultEvent", status="success"): 1,
    }
