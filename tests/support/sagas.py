"""The order saga that the tests run: validate, charge, ship, with compensations; no LLM.

Its payload carries the switches: what fails where, and with what. They survive the wire.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from multiagents.event_bus.interface import IEventBus
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore
from multiagents.monitoring.interfaces import ILogger, LogLevel
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.orchestrator.workflow import WorkflowBuilder, WorkflowDefinition
from multiagents.worker_sdk.decorators import worker
from multiagents.worker_sdk.interface import IWorker
from multiagents.worker_sdk.worker_manager import WorkerManager
from redis.asyncio.client import PubSub

from tests.support.buses import MemoryBus, MemoryStore
from tests.support.deadline import DEADLINE

WORKFLOW: Final = "order_processing"
STEPS: Final = ("validate", "charge", "ship")
WORKERS: Final = ("validate_order", "charge_payment", "ship_order")
COMPENSATIONS: Final = ("refund_payment", "cancel_shipment")
ENDED: Final = ("completed", "compensated", "cancelled")

Probe: TypeAlias = Callable[[str, dict[str, Any]], None]
"""Called inside a worker, before its switches, with the worker's name and payload."""

_RESULTS: Final[Mapping[str, dict[str, Any]]] = {
    "validate_order": {"valid": True},
    "charge_payment": {"payment_id": "pay-1"},
    "ship_order": {"tracking_id": "trk-1"},
}
_POLL: Final = 0.005


def order_workflow(timeout: int = 300, *, workflow_id: str = WORKFLOW) -> WorkflowDefinition:
    """The steps' timeout is in whole seconds; 0 times out before the worker starts."""
    builder = WorkflowBuilder(workflow_id)
    builder.add_step("validate", "validate_order", timeout=timeout)
    builder.add_step("charge", "charge_payment", compensation="refund_payment", timeout=timeout)
    builder.add_step("ship", "ship_order", compensation="cancel_shipment", timeout=timeout)
    return builder.build()


def order_payload(
    *,
    fail_at: str | None = None,
    error: type[BaseException] = ValueError,
    message: str = "declined",
    hang_at: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A payload whose worker ``fail_at`` raises ``error(message)``, or ``hang_at`` waits until cancelled."""
    payload: dict[str, Any] = {"order_id": "order-1", **more}
    if fail_at is not None:
        if "<locals>" in error.__qualname__:
            raise ValueError(f"{error} can't be named on the wire: define it in a module")
        payload |= {"fail_at": fail_at, "error": f"{error.__module__}:{error.__qualname__}", "message": message}
    if hang_at is not None:
        payload["hang_at"] = hang_at
    return payload


def order_workers(*, sync: Collection[str] = (), probe: Probe | None = None) -> list[IWorker]:
    """The three workers as functions; those named in ``sync`` are plain ones, run in the executor."""
    return [_order_worker(name, name in sync, probe) for name in WORKERS]


def _order_worker(name: str, sync: bool, probe: Probe | None) -> IWorker:
    def work(payload: dict[str, Any]) -> dict[str, Any]:
        if probe:
            probe(name, payload)
        if sync and payload.get("hang_at") == name:
            raise RuntimeError(f"{name} is sync: nothing could cancel it, so it can't hang")
        if payload.get("fail_at") == name:
            raise _error_class(payload["error"])(payload["message"])
        return dict(_RESULTS[name])

    async def work_async(payload: dict[str, Any]) -> dict[str, Any]:
        result = work(payload)
        if payload.get("hang_at") == name:
            await asyncio.Event().wait()
        return result

    function = work if sync else work_async
    function.__name__ = function.__qualname__ = name
    made: IWorker = worker(name)(function)
    return made


def _error_class(path: str) -> type[BaseException]:
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    raised: type[BaseException] = found
    return raised


async def run_order(orchestrator: Orchestrator, payload: Mapping[str, Any] | None = None) -> str:
    """Starts an order and returns its transaction id; the workflow goes on."""
    started = dict(order_payload() if payload is None else payload)
    return await orchestrator.execute_workflow(orchestrator.workflow.get_id(), started)


async def wait_ended(
    orchestrator: Orchestrator, transaction: str, timeout: float = DEADLINE, states: Collection[str] = ENDED
) -> dict[str, Any]:
    """Waits until the workflow has one of these states, and returns ``get_status`` then.

    The framework sets the state before its last saves and events: what it does after that, and the spans
    of it, may still be under way (``MemoryBus.drain`` or ``OtlpReceiver.wait_for`` waits for those).
    """
    # Polled, not subscribed: a subscriber to status.workflow would change what is being tested. While
    # the workflow is in the orchestrator's memory, get_status does not touch the store either.
    deadline = time.monotonic() + timeout
    while True:
        status: dict[str, Any] = await orchestrator.get_status(transaction)
        # A completed workflow leaves the memory after its last event.
        leaving = status["state"] == "completed" and transaction in orchestrator.active_workflows
        if status["state"] in states and not leaving:
            return status
        if time.monotonic() > deadline:
            raise AssertionError(f"{transaction} has not ended within {timeout} s: {status}")
        await asyncio.sleep(_POLL)


async def subscribe_compensations(bus: IEventBus) -> list[dict[str, Any]]:
    """Lets the compensations reach somebody (the framework subscribes nobody); returns what arrives."""
    received: list[dict[str, Any]] = []

    async def compensate(event: dict[str, Any]) -> None:
        received.append(event)

    for compensation in COMPENSATIONS:
        await bus.subscribe(f"compensation.{compensation}", compensate)
    return received


class SilentLogger(ILogger):
    """Keeps the framework from its default, a file under ./logs."""

    async def log(
        self,
        level: LogLevel,
        message: str,
        metadata: dict[str, Any] | None = None,
        error: Exception | None = None,
    ) -> None: ...

    async def debug(self, message: str, **kwargs: Any) -> None: ...

    async def info(self, message: str, **kwargs: Any) -> None: ...

    async def warning(self, message: str, **kwargs: Any) -> None: ...

    async def error(self, message: str, error: Exception | None = None, **kwargs: Any) -> None: ...

    async def critical(self, message: str, error: Exception | None = None, **kwargs: Any) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class OrderSystem:
    """The parts of one process that runs orders; ``store`` and ``bus`` are whatever was given."""

    bus: Any
    store: Any
    manager: WorkerManager
    orchestrator: Orchestrator

    async def run(self, payload: Mapping[str, Any] | None = None) -> str:
        return await run_order(self.orchestrator, payload)

    async def wait_ended(
        self, transaction: str, timeout: float = DEADLINE, states: Collection[str] = ENDED
    ) -> dict[str, Any]:
        return await wait_ended(self.orchestrator, transaction, timeout, states)


def wait_for_messages() -> None:
    """Let the listeners of this process wait for a message. The framework's own polls, which takes a core a bus.

    ``multiagents-otel doctor`` advises the same; the buses of the tests in which it matters poll as the framework does.
    """
    get_message: Any = PubSub.get_message
    get_message.__defaults__ = (False, 0.1)  # ignore_subscribe_messages, timeout in seconds


def redis_parts(url: str) -> tuple[RedisEventBus, RedisStateStore]:
    """A bus and a store on this server, not started, writing no log files; see ``wait_for_messages``."""
    wait_for_messages()
    return RedisEventBus(url, logger=SilentLogger()), RedisStateStore(url)


@asynccontextmanager
async def order_system(
    bus: IEventBus | None = None,
    store: Any = None,
    *,
    workers: Sequence[IWorker] | None = None,
    workflow: WorkflowDefinition | None = None,
    timeout: int = 300,
    monitors: bool = True,
) -> AsyncIterator[OrderSystem]:
    """Everything started, with the framework's own monitors unless ``monitors=False``; stopped at the end.

    By default on a MemoryBus and a MemoryStore; ``redis_parts`` gives a real bus and store.
    """
    bus = bus or MemoryBus()
    store = store if store is not None else MemoryStore()
    manager = WorkerManager(bus, logger=SilentLogger())
    orchestrator = Orchestrator(workflow or order_workflow(timeout), bus, store, logger=SilentLogger())
    if not monitors:
        manager.event_monitor = manager.worker_monitor = manager.monitoring_logger = None
    for order_worker in order_workers() if workers is None else workers:
        manager.register(order_worker)
    async with AsyncExitStack() as running:
        await bus.start()
        running.push_async_callback(bus.stop)
        await manager.start()
        running.push_async_callback(manager.stop)
        await orchestrator.start()
        running.push_async_callback(orchestrator.stop)
        yield OrderSystem(bus, store, manager, orchestrator)
