"""Failure catalogue B2: subclasses of the framework's classes that do it their own way, without super()."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest
from multiagents.core.exceptions import EventBusException
from multiagents.core.saga_context import SagaContext, SagaState
from multiagents.event_bus.events import CommandEvent, EventMetadata, ResultEvent, StatusEvent
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.worker_sdk.worker_manager import WorkerManager

from tests.catalogue.observed import Observed, instrumented, records
from tests.support import trees
from tests.support.buses import MemoryBus
from tests.support.expected import COMPENSATED, COMPLETED
from tests.support.sagas import order_payload, order_system, order_workers, subscribe_compensations


class OwnOrchestrator(Orchestrator):
    """Calls no method of its base class that it overrides; its parameters have names of their own."""

    async def execute_workflow(self, workflow_id: str, initial: Any, *, tenant: str = "none") -> str:
        saga = SagaContext(workflow_id=workflow_id, data=initial, state=SagaState.RUNNING)
        self.active_workflows[saga.transaction_id] = saga
        await self.state_store.save_context(saga)
        await self._publish_status_event(saga, f"started for {tenant}")
        await self._execute_step(saga, self.workflow.get_initial_step(), attempt=1)
        return str(saga.transaction_id)

    async def cancel_workflow(self, transaction_id: str) -> bool:
        saga = await self._load_context(transaction_id)
        saga.state = SagaState.CANCELLED
        await self.state_store.save_context(saga)
        return True

    async def _execute_step(self, saga: Any, step: Any, attempt: int = 1) -> None:
        command = CommandEvent(
            metadata=EventMetadata(
                transaction_id=saga.transaction_id, correlation_id=f"{saga.transaction_id}.{step.name}", source="own"
            ),
            worker_type=step.worker_type,
            timeout_seconds=step.timeout_seconds,
            payload={**saga.data, "attempt": attempt},
        )
        saga.record_step_start(step.name, command.id)
        await self.state_store.save_context(saga)
        await self.event_bus.publish(f"command.{step.worker_type}", command.dict())

    async def _handle_result_event(self, event: Any) -> None:
        result = ResultEvent(**event)
        saga = await self._load_context(result.metadata.transaction_id)
        if result.success:
            following = self.workflow.get_next_step(saga.current_step, saga)
            saga.record_step_completion(saga.current_step, result.payload)
            if following is not None:
                await self._execute_step(saga, following, attempt=1)
                return
            saga.state = SagaState.COMPLETED
            await self.state_store.save_context(saga)
            await self._publish_status_event(saga, "completed")
            del self.active_workflows[saga.transaction_id]
        else:
            saga.record_step_failure(saga.current_step, result.error_message)
            await self._trigger_compensations(saga)

    async def _load_context(self, transaction: str) -> Any:
        return self.active_workflows.get(transaction)

    async def _publish_status_event(self, saga: Any, text: str) -> None:
        metadata = EventMetadata(
            transaction_id=saga.transaction_id, correlation_id=saga.transaction_id, source=saga.workflow_id
        )
        event = StatusEvent(metadata=metadata, status=saga.state.value, message=text, payload={})
        await self.event_bus.publish("status.workflow", event.dict())


class OwnManager(WorkerManager):
    """Executes workers its own way, and looks at what it is given."""

    seen: Counter[str]

    def register(self, worker: Any, *, weight: int = 1) -> None:
        self.workers[worker.get_worker_type()] = worker
        self.seen = Counter()

    async def _handle_command(self, worker: Any, event: Any) -> None:
        self._handler_tasks.append(
            asyncio.create_task(self._execute_worker_with_timeout(worker, CommandEvent(**event)))
        )

    async def _execute_worker_with_timeout(self, its_worker: Any, command: Any) -> None:
        worker: Any = its_worker
        registered: Any = self.workers[command.worker_type]
        worker.calls = getattr(worker, "calls", 0) + 1
        assert registered.calls == worker.calls
        assert isinstance(worker, type(registered))
        assert worker == registered
        self.seen[command.worker_type] += 1
        metadata = EventMetadata(
            transaction_id=command.metadata.transaction_id,
            correlation_id=command.metadata.correlation_id,
            source=command.worker_type,
        )
        try:
            result = await asyncio.wait_for(worker.process(command.payload), command.timeout_seconds)
            event = ResultEvent(metadata=metadata, command_id=command.id, success=True, payload=result)
        except Exception as error:
            event = ResultEvent(metadata=metadata, command_id=command.id, success=False, error_message=str(error))
        with contextlib.suppress(EventBusException):  # stopped meanwhile
            await self.event_bus.publish(f"result.{command.worker_type}", event.dict())


class Lower(OwnOrchestrator):
    """Inherits what its base class does its own way, and calls super() for the rest."""

    async def execute_workflow(self, *args: Any, **kwargs: Any) -> str:
        return await super().execute_workflow(*args, **kwargs)

    async def _execute_step(self, *args: Any, **kwargs: Any) -> None:
        await super()._execute_step(*args, **kwargs)

    async def _load_context(self, transaction: str) -> Any:
        return await super()._load_context(transaction)

    async def _handle_result_event(self, event: Any) -> None:
        await super()._handle_result_event(event)

    async def _publish_status_event(self, saga: Any, text: str) -> None:
        await super()._publish_status_event(saga, text)


class LowerManager(OwnManager):
    async def _handle_command(self, worker: Any, event: Any) -> None:
        await super()._handle_command(worker, event)

    async def _execute_worker_with_timeout(self, its_worker: Any, command: Any) -> None:
        await super()._execute_worker_with_timeout(its_worker, command)


CLASSES = [(OwnOrchestrator, OwnManager), (Lower, LowerManager)]


def use(monkeypatch: pytest.MonkeyPatch, orchestrator: type = Orchestrator, manager: type = WorkerManager) -> None:
    monkeypatch.setattr("tests.support.sagas.WorkerManager", manager)
    monkeypatch.setattr("tests.support.sagas.Orchestrator", orchestrator)


async def run(system: Any, **payload: Any) -> None:
    await system.wait_ended(await system.run(order_payload(**payload)))
    await system.bus.drain()


@pytest.mark.parametrize("live", [False, True], ids=["before", "live"])
@pytest.mark.parametrize(("orchestrator", "manager"), CLASSES, ids=["own", "below"])
async def test_B2_what_a_subclass_does_its_own_way_is_recorded_once(
    orchestrator: type, manager: type, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, orchestrator, manager)
    before = {cls: dict(vars(cls)) for pair in CLASSES for cls in pair}
    observed = Observed()
    for payload, expected in [({}, COMPLETED), ({"fail_at": "ship_order"}, COMPENSATED)]:
        if live:
            async with order_system() as system:
                await subscribe_compensations(system.bus)
                with instrumented(observed):
                    await run(system, **payload)
        else:
            with instrumented(observed):
                async with order_system() as system:
                    await subscribe_compensations(system.bus)
                    await run(system, **payload)
        assert trees.tree(observed.ours) == expected
        observed.clear()
    assert {cls: dict(vars(cls)) for pair in CLASSES for cls in pair} == before


@pytest.mark.parametrize(("orchestrator", "manager"), CLASSES, ids=["own", "below"])
async def test_B2_what_a_subclass_does_its_own_way_is_counted_once(
    orchestrator: type, manager: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, orchestrator, manager)
    with instrumented() as observed:
        async with order_system() as system:
            await run(system)
            await run(system, fail_at="charge_payment")
            transaction = await system.run(order_payload(hang_at="charge_payment"))
            assert await system.orchestrator.cancel_workflow(transaction)
            late = ResultEvent(
                metadata=EventMetadata(transaction_id=transaction, correlation_id="late", source="x"),
                command_id="nobody waits for this",
                success=True,
                payload={},
            ).dict()
            await system.orchestrator._handle_result_event(late)
            counted = {
                name: {key: value for key, value in observed.metric(name).items() if value}
                for name in (
                    "multiagents.workflows.started",
                    "multiagents.workflows",
                    "multiagents.workflow.duration",
                    "multiagents.worker.errors",
                    "multiagents.events.stale",
                )
            }
    assert counted == {
        "multiagents.workflows.started": {("order_processing",): 3},
        "multiagents.workflows": {
            ("completed", "order_processing"): 1,
            ("failed", "order_processing"): 1,
            ("cancelled", "order_processing"): 1,
        },
        "multiagents.workflow.duration": {
            ("completed", "order_processing"): 1,
            ("failed", "order_processing"): 1,
            ("cancelled", "order_processing"): 1,
        },
        "multiagents.worker.errors": {("ValueError", "charge_payment"): 1},
        "multiagents.events.stale": {(): 1},
    }


class Retrying(OwnManager):
    """Tries three times."""

    async def _execute_worker_with_timeout(self, its_worker: Any, command: Any) -> None:
        for _ in range(2):
            try:
                await its_worker.process(command.payload)
            except Exception:
                self.seen["failed"] += 1
        await super()._execute_worker_with_timeout(its_worker, command)


async def test_B2_each_attempt_of_a_manager_that_retries_is_an_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, manager=Retrying)
    calls: Counter[str] = Counter()

    def fail_twice(name: str, _payload: Any) -> None:
        calls[name] += 1
        if name == "charge_payment" and calls[name] < 3:
            raise ConnectionError("not yet")

    with instrumented() as observed:
        async with order_system(workers=order_workers(probe=fail_twice)) as system:
            await run(system)
            executions = {
                key: value for key, value in observed.metric("multiagents.worker.executions").items() if value
            }
            assert set(observed.metric("multiagents.worker.active").values()) == {0}
    assert [trees.received(span).status for span in observed.ours if span.name == "worker.charge_payment"] == [
        "ERROR",
        "ERROR",
        "UNSET",
    ]
    assert not trees.orphans(observed.ours)
    assert {span.name for span in observed.ours if trees.received(span).status == "ERROR"} == {"worker.charge_payment"}
    assert executions == {
        ("success", "validate_order"): 3,
        ("error", "charge_payment"): 2,
        ("success", "charge_payment"): 1,
        ("success", "ship_order"): 3,
    }


class Failing(OwnOrchestrator):
    async def execute_workflow(self, *args: Any, **kwargs: Any) -> str:
        return await super().execute_workflow(*args, **kwargs)

    async def _execute_step(self, saga: Any, step: Any, attempt: int = 1) -> None:
        raise LookupError("no such step")


async def test_B2_a_start_that_fails_in_both_classes_has_one_root(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, orchestrator=Failing)
    with instrumented() as observed:
        async with order_system() as system:
            with pytest.raises(LookupError):
                await system.run()
            assert observed.metric("multiagents.workflows")["failed", "order_processing"] == 1
    assert [span.name for span in observed.ours if span.parent is None] == ["workflow.order_processing"]


class Plain(Orchestrator):
    """Its ``_execute_step`` is no coroutine function any more, though it can be awaited."""

    def _execute_step(self, saga: Any, step: Any) -> Any:
        return super()._execute_step(saga, step)


async def test_B2_an_override_of_another_kind_is_left_alone_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, orchestrator=Plain)
    own = vars(Plain)["_execute_step"]
    with records("multiagents_otel") as told, instrumented() as observed:
        for _ in range(2):
            async with order_system(MemoryBus()) as system:
                assert vars(Plain)["_execute_step"] is own
                await run(system)
            assert trees.tree(observed.ours) == COMPLETED
            observed.clear()
    assert [record.getMessage() for record in told] == [
        "Plain._execute_step is no coroutine function, unlike the one that it overrides: what it does is not recorded"
    ]
