"""An application that does everything, and what it sees of it: the same with us, without us, and with faults in us."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from multiagents.core.exceptions import EventBusException
from multiagents.event_bus.events import CommandEvent, EventMetadata
from multiagents.worker_sdk.worker_manager import WorkerManager

from tests.support.buses import MemoryBus
from tests.support.sagas import SilentLogger, order_payload, order_system, order_workers, subscribe_compensations


class Refused(Exception):
    """What the application itself raises."""


async def seen_by_the_application() -> dict[str, Any]:
    """Everything that the application can see, without what differs from run to run (ids, times)."""
    seen: dict[str, Any] = {}
    before = asyncio.all_tasks()
    await _sagas(seen)
    await _events(seen)
    await _commands(seen)
    await asyncio.sleep(0)
    seen["tasks left"] = [task.get_name() for task in asyncio.all_tasks() - before]
    return seen


async def _sagas(seen: dict[str, Any]) -> None:
    payloads: list[tuple[str, list[str]]] = []
    workers = order_workers(sync=["charge_payment"], probe=lambda name, data: payloads.append((name, sorted(data))))
    async with order_system(workers=workers) as system:
        statuses: list[dict[str, Any]] = []

        async def on_status(event: dict[str, Any]) -> None:
            statuses.append(event)

        await system.bus.subscribe("status.workflow", on_status)
        received = await subscribe_compensations(system.bus)
        for name, payload in (
            ("completed", order_payload()),
            ("compensated", order_payload(fail_at="ship_order", error=Refused)),
            ("failed at once", order_payload(fail_at="validate_order", error=Refused, message="no")),
        ):
            started = copy.deepcopy(payload)
            transaction = await system.orchestrator.execute_workflow("order_processing", started)
            status = await system.wait_ended(transaction)
            await system.bus.drain()
            seen[name] = {
                "id": (type(transaction), status["transaction_id"] == transaction),
                "state": status["state"],
                "results": status["step_results"],
                "error": status["error"],
                "history": [(step["step"], step["status"]) for step in status["execution_history"]],
                # The framework itself adds results to it.
                "payload": {key: started[key] for key in payload} == payload,
                "stored": transaction in system.store.rows,
            }
        seen["payloads"] = payloads
        seen["statuses"] = [(sorted(event), event["status"], event["message"]) for event in statuses]
        seen["compensations"] = [(sorted(event), event["compensation_type"]) for event in received]
        seen["cancelled"] = await system.orchestrator.cancel_workflow(transaction)
        seen["cancelled nothing"] = await system.orchestrator.cancel_workflow("unknown")
        # A publish that fails inside the workflow, and a store that fails before it.
        system.bus.failures["command.charge_payment"] = ConnectionError("gone")
        status = await system.wait_ended(await system.run())
        await system.bus.drain()
        seen["failed publish"] = (status["state"], status["error"])
        error = Refused("no store")
        with raised(seen, "failed save", error):
            system.store.save_context = functools.partial(_raise, error)
            await system.run()
        seen["wire"] = [(message.event_type, sorted(set(message.event) - {"_otel"})) for message in system.bus.wire]


async def _raise(error: BaseException, *_: object) -> None:
    raise error


async def _events(seen: dict[str, Any]) -> None:
    bus: Any = MemoryBus()
    WorkerManager(bus, logger=SilentLogger())
    await bus.start()
    got: list[Any] = []
    error = Refused("handler")

    async def handler(event: dict[str, Any]) -> None:
        got.append(event)

    async def failing(event: dict[str, Any]) -> None:
        got.append(event)
        raise error

    def sync(event: dict[str, Any]) -> str:
        got.append(event)
        return "sync"

    def sync_failing(event: dict[str, Any]) -> None:
        raise error

    async def cancelling(event: dict[str, Any]) -> None:
        raise asyncio.CancelledError

    for each in (handler, failing, functools.partial(handler), lambda event: handler(event)):
        await bus.subscribe("user.event", each)
    event = {"id": "1", "metadata": {"transaction_id": "t", "correlation_id": "c"}, "payload": {"n": [1]}}
    before = copy.deepcopy(event)
    seen["published"] = [
        await bus.publish("user.event", event),
        await bus.publish(event_type="user.event", event_data=event),
        await bus.publish("user.event", event_data=event),
    ]
    await bus.drain()
    await bus.unsubscribe("user.event", handler)
    await bus.unsubscribe(event_type="user.event", handler=failing)
    await bus.publish("user.event", event)
    await bus.drain()
    seen["event"] = event == before
    cause = bus.failures["user.failing"] = ConnectionError("gone")
    try:
        await bus.publish("user.failing", event)
    except EventBusException as exception:
        frames = traceback.extract_tb(exception.__traceback__)
        seen["failing publish"] = (str(exception), exception.__cause__ is cause, frames[-1].name)
    outcomes: list[tuple[str, Any, Any]] = [
        ("failing", failing, error),
        ("sync_failing", sync_failing, error),
        ("cancelling", cancelling, asyncio.CancelledError),
    ]
    for name, one, wanted in outcomes:
        await bus.subscribe(name, one)
        with raised(seen, name, wanted):
            result = bus.handlers[name][0]({"id": "2"})
            if inspect.isawaitable(result):
                await result
    await bus.subscribe("sync", sync)
    seen["sync"] = bus.handlers["sync"][0]({"id": "3"})
    seen["got"] = got
    await bus.stop()


async def _commands(seen: dict[str, Any]) -> None:
    """Timeout and cancellation, called as the framework calls them and by keyword."""
    async with order_system() as system:
        results: list[Any] = []

        async def on_result(event: dict[str, Any]) -> None:
            results.append((event["success"], event["error_message"], event["error_details"]))

        await system.bus.subscribe("result.validate_order", on_result)
        manager: Any = system.manager
        worker = manager.get_worker("validate_order")
        metadata = EventMetadata(transaction_id="t", correlation_id="t.validate", source="test")
        hanging = CommandEvent(
            metadata=metadata,
            worker_type="validate_order",
            payload=order_payload(hang_at="validate_order"),
            timeout_seconds=0,
        )
        seen["timed out"] = await manager._execute_worker_with_timeout(worker=worker, command=hanging)
        fine = CommandEvent(metadata=metadata, worker_type="validate_order", payload={})
        seen["handled"] = await manager._handle_command(worker=worker, event_data=fine.dict())
        await asyncio.wait(manager._handler_tasks)
        await system.bus.drain()
        hanging.timeout_seconds = 300
        await manager._handle_command(worker, hanging.dict())
        task = manager._handler_tasks[-1]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        seen["cancelled task"] = task.cancelled()
        seen["nonsense"] = await manager._handle_command(worker, {"no": "command"})
        await system.bus.drain()
        seen["results"] = results


@contextmanager
def raised(seen: dict[str, Any], name: str, wanted: Any) -> Iterator[None]:
    """Notes what is raised: by identity if an exception is wanted, with the end of its traceback."""
    try:
        yield
    except BaseException as exception:
        frames = traceback.extract_tb(exception.__traceback__)
        same = exception is wanted or (isinstance(wanted, type) and type(exception) is wanted)
        seen[name] = (same, frames[-1].name, frames[-1].filename == __file__, exception.__cause__)
    else:
        seen[name] = "nothing raised"
