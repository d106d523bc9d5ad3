"""The status table, rows of what raised: ``execute_workflow``, a user's handler, the orchestrator's own."""

from __future__ import annotations

from typing import Any

import pytest
from multiagents.core.exceptions import EventBusException, WorkflowException
from multiagents.core.saga_context import SagaContext
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.orchestrator.workflow import WorkflowBuilder, WorkflowDefinition

from tests.contract.observed import Observed, series
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.sagas import SilentLogger, order_payload, order_system, order_workflow


class FullStore(MemoryStore):
    """Refuses the n-th save and every later one."""

    def __init__(self, refuse_from: int) -> None:
        super().__init__()
        self._left = refuse_from - 1

    async def save_context(self, context: SagaContext) -> None:
        if self._left <= 0:
            raise OSError("disk full")
        self._left -= 1
        await super().save_context(context)


class Undecided(WorkflowDefinition):  # type: ignore[misc,unused-ignore]
    """Does not know what comes after its first step."""

    def get_next_step(self, current_step: str, context: SagaContext) -> Any:
        raise LookupError("no rule for this order")


def undecided() -> WorkflowDefinition:
    definition = order_workflow()
    definition.__class__ = Undecided
    return definition


async def test_a_first_save_that_fails_makes_a_failed_workflow_with_the_exception(observed: Observed) -> None:
    observed.instrument()
    async with order_system(store=FullStore(1), monitors=False) as system:
        with pytest.raises(OSError, match="disk full") as raised:
            await system.run()
        await system.bus.drain()
    assert type(raised.value) is OSError
    assert observed.tree == "workflow.order_processing INTERNAL ERROR OSError"
    assert observed.statuses() == {"workflow.order_processing": "OSError: disk full"}
    assert observed.exceptions == [("workflow.order_processing", "OSError")]
    (transaction,) = system.orchestrator.active_workflows
    assert observed.root().attributes == {
        "workflow.transaction_id": transaction,
        "workflow.id": "order_processing",
        "workflow.status": "failed",
        "error.type": "OSError",
        "multiagents.sampling.keep": True,
    }
    assert observed.sums("multiagents.workflows.started") == {series(workflow__id="order_processing"): 1}
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="failed"): 1}
    assert observed.sums("multiagents.active_workflows") == {}


async def test_a_workflow_without_a_first_step_has_failed(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    await bus.start()
    empty = WorkflowBuilder("empty").build()
    orchestrator = Orchestrator(empty, bus, MemoryStore(), logger=SilentLogger())
    await orchestrator.start()
    with pytest.raises(WorkflowException, match="No initial step"):
        await orchestrator.execute_workflow("empty", {})
    await bus.stop()
    name = "multiagents.core.exceptions.WorkflowException"
    assert observed.tree == f"workflow.empty INTERNAL ERROR {name}"
    assert observed.statuses() == {"workflow.empty": f"{name}: No initial step defined in workflow"}
    assert observed.exceptions == [("workflow.empty", name)]
    assert observed.root().attributes["workflow.status"] == "failed"


async def test_a_status_event_that_cannot_be_published_fails_the_workflow_with_the_cause(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    bus.failures["status.workflow"] = ConnectionError("broker gone")
    async with order_system(bus, monitors=False) as system:
        with pytest.raises(EventBusException):
            await system.run()
    assert observed.statuses() == {"workflow.order_processing": "ConnectionError: broker gone"}
    assert observed.exceptions == [("workflow.order_processing", "ConnectionError")]
    assert observed.root().attributes["workflow.status"] == "failed"


async def test_a_failed_workflow_below_a_callers_span_does_not_touch_that_span(observed: Observed) -> None:
    observed.instrument()
    tracer = observed.tracers.get_tracer("shop")
    async with order_system(store=FullStore(1), monitors=False) as system:
        with tracer.start_as_current_span("request"), pytest.raises(OSError, match="disk full"):
            await system.run()
    assert observed.tree == "request INTERNAL\n  workflow.order_processing INTERNAL ERROR OSError"
    assert observed.exceptions == [("workflow.order_processing", "OSError")]


async def test_a_users_handler_that_raises_outside_a_workflow_is_an_error_of_its_process_span(
    observed: Observed,
) -> None:
    observed.instrument()
    bus = MemoryBus()

    async def handler(event: dict[str, Any]) -> None:
        raise ValueError("bad entry")

    async with order_system(bus, monitors=False):
        await bus.subscribe("audit.entry", handler)
        await bus.publish("audit.entry", {"id": "a-1"})
        await bus.drain()
    assert observed.tree == "send audit.entry PRODUCER\n  process audit.entry CONSUMER ERROR ValueError"
    assert observed.statuses() == {"process audit.entry": "ValueError: bad entry"}
    assert observed.exceptions == [("process audit.entry", "ValueError")]
    assert observed.sums("multiagents.events") == {series(event__type="Event", status="error"): 1}


async def test_a_users_handler_that_raises_on_a_result_channel_leaves_the_workflow_as_it_goes(
    observed: Observed,
) -> None:
    observed.instrument()
    bus = MemoryBus()

    async def watcher(event: dict[str, Any]) -> None:
        raise KeyError("gone")

    async with order_system(bus, monitors=False) as system:
        await bus.subscribe("result.charge_payment", watcher)
        await system.run()
        await bus.drain()
    handled = observed.named("process result.charge_payment")
    assert sorted(span.status for span in handled) == ["ERROR", "UNSET"]
    assert observed.statuses() == {"process result.charge_payment": "KeyError: 'gone'"}
    assert observed.exceptions == [("process result.charge_payment", "KeyError")]
    assert observed.root().attributes["workflow.status"] == "completed"
    # One message, counted once, by the worst of its handlers.
    assert observed.sums("multiagents.events") == {
        series(event__type="CommandEvent", status="success"): 3,
        series(event__type="ResultEvent", status="success"): 2,
        series(event__type="ResultEvent", status="error"): 1,
    }


async def test_an_orchestrator_that_cannot_decide_raised_and_its_workflow_cannot_end(observed: Observed) -> None:
    observed.instrument()
    async with order_system(workflow=undecided(), monitors=False) as system:
        transaction = await system.run()
        await system.bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "running"
    failed = "LookupError: no rule for this order"
    assert observed.statuses() == {"process result.validate_order": failed, "workflow.order_processing": failed}
    assert observed.exceptions == [("process result.validate_order", "LookupError")]
    assert observed.root().attributes["workflow.status"] == "stalled"
    assert observed.one("step.validate").status == "UNSET"
    assert observed.sums("multiagents.events")[series(event__type="ResultEvent", status="error")] == 1
    assert observed.sums("multiagents.workflow.stalls") == {series(workflow__id="order_processing"): 1}


async def test_a_save_that_fails_in_the_next_step_fails_that_step_and_then_the_orchestrator(
    observed: Observed,
) -> None:
    # Saves: at the start, at step validate, and then at step charge, where nothing can be saved any more.
    observed.instrument()
    async with order_system(store=FullStore(3), monitors=False) as system:
        await system.run()
        await system.bus.drain()
    failed = "OSError: disk full"
    assert observed.statuses() == {
        "process result.validate_order": failed,
        "step.charge": failed,
        "workflow.order_processing": failed,
    }
    # Two saves raised, the step's and then that of its failure: each exception is told once, where it was raised.
    assert observed.exceptions == [("step.charge", "OSError"), ("process result.validate_order", "OSError")]
    assert observed.root().attributes["workflow.status"] == "failed"
    assert observed.root().attributes["multiagents.workflow.failed_step"] == "charge"
    assert observed.named("send command.charge_payment") == []


async def test_a_save_that_fails_in_the_first_step_is_told_by_the_step_and_by_the_workflow(observed: Observed) -> None:
    observed.instrument()
    async with order_system(store=FullStore(2), monitors=False) as system:
        with pytest.raises(OSError, match="disk full"):
            await system.run()
        await system.bus.drain()
    assert observed.statuses() == {
        "step.validate": "OSError: disk full",
        "workflow.order_processing": "OSError: disk full",
    }
    assert observed.exceptions == [("step.validate", "OSError"), ("workflow.order_processing", "OSError")]
    assert observed.root().attributes["workflow.status"] == "failed"


async def test_a_save_that_fails_after_a_failed_step_leaves_the_steps_failure_and_the_orchestrators(
    observed: Observed,
) -> None:
    observed.instrument()
    async with order_system(store=FullStore(3), monitors=False) as system:
        await system.run(order_payload(fail_at="validate_order"))
        await system.bus.drain()
    assert observed.statuses() == {
        "worker.validate_order": "ValueError: declined",
        "process command.validate_order": "ValueError: declined",
        "step.validate": "ValueError: Worker validate_order failed: declined",
        "process result.validate_order": "OSError: disk full",
        "workflow.order_processing": "OSError: disk full",
    }
    assert observed.exceptions == [
        ("worker.validate_order", "ValueError"),
        ("process result.validate_order", "OSError"),
    ]
    assert observed.root().attributes["workflow.status"] == "failed"


async def test_a_save_that_fails_at_the_very_end_ends_the_workflow_as_its_state_says(observed: Observed) -> None:
    # Saves: at the start, at each of three steps, at the end.
    observed.instrument()
    async with order_system(store=FullStore(5), monitors=False) as system:
        transaction = await system.run()
        await system.bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    assert observed.statuses() == {"process result.ship_order": "OSError: disk full"}
    assert observed.exceptions == [("process result.ship_order", "OSError")]
    assert observed.root().attributes["workflow.status"] == "completed"


async def test_a_command_that_cannot_be_read_is_an_error_of_its_process_span(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False):
        await bus.publish("command.charge_payment", {"id": "c-1", "type": "command", "payload": "no dict"})
        await bus.drain()
    (span,) = observed.named("process command.charge_payment")
    assert span.status == "ERROR"
    assert span.attributes["error.type"] == "pydantic_core._pydantic_core.ValidationError"
    assert observed.exceptions == [("process command.charge_payment", "pydantic_core._pydantic_core.ValidationError")]
    assert observed.sums("multiagents.events") == {series(event__type="CommandEvent", status="error"): 1}
