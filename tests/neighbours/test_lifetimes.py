"""What is the application's dies when it does without us: at once where it did, else when it is collected."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.worker_sdk.base_worker import BaseWorker, WorkerConfig
from multiagents.worker_sdk.worker_manager import WorkerManager

from tests.catalogue.recording import recording
from tests.support.buses import MemoryBus
from tests.support.redis_server import RedisServer
from tests.support.sagas import SilentLogger, order_system, order_workflow, redis_parts

# A connection that is collected while it is open is told of by asyncio, with us and without.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

Alive = dict[str, list[bool]]
"""By object: whether it is alive when its last user is done, and whether it is after a collection."""


class Wrong(Exception):
    """A worker's fault, whose traceback holds the worker's frame."""


class Frame:
    """In a local variable of the worker that fails."""


class Fails(BaseWorker):
    def __init__(self, worker_type: str, born: dict[str, weakref.ref[Any]]) -> None:
        super().__init__(WorkerConfig(worker_type))
        self.born = born

    async def execute(self, context: dict[str, Any]) -> dict[str, Any]:
        local = Frame()
        self.born["frame"] = weakref.ref(local)
        wrong = Wrong()
        self.born["exception"] = weakref.ref(wrong)
        raise wrong


class Owner:
    async def handle(self, event: dict[str, Any]) -> None: ...


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@contextmanager
def collected_by_hand() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _a_bus(url: str, born: dict[str, weakref.ref[Any]], *, stop: bool) -> None:
    bus, _store = redis_parts(url)
    await bus.start()
    await bus.publish("order.placed", {"id": "1"})
    born["bus"], born["client"] = weakref.ref(bus), weakref.ref(bus.redis_client)
    if stop:
        await bus.stop()


async def _a_handler(url: str, born: dict[str, weakref.ref[Any]]) -> None:
    owner, (bus, _store) = Owner(), redis_parts(url)
    await bus.start()
    await bus.subscribe("order.placed", owner.handle)
    await bus.publish("order.placed", {"id": "1"})
    await bus.unsubscribe("order.placed", owner.handle)
    await bus.stop()
    born["bus"], born["owner"] = weakref.ref(bus), weakref.ref(owner)


async def _a_store(url: str, born: dict[str, weakref.ref[Any]]) -> None:
    store = RedisStateStore(url)
    await store.connect()
    await store.list_contexts()
    born["store"], born["client"] = weakref.ref(store), weakref.ref(store.redis_client)
    await store.disconnect()


async def _unused(url: str, born: dict[str, weakref.ref[Any]]) -> None:
    bus = RedisEventBus(url, logger=SilentLogger())
    manager = WorkerManager(bus, logger=SilentLogger())
    orchestrator = Orchestrator(order_workflow(), bus, logger=SilentLogger())
    for name, thing in (("bus", bus), ("manager", manager), ("orchestrator", orchestrator)):
        born[name] = weakref.ref(thing)


async def _a_workflow(url: str, born: dict[str, weakref.ref[Any]], *, fails: bool) -> None:
    bus: Any = MemoryBus()
    workers = [Fails("validate_order", born)] if fails else None
    async with order_system(bus, workers=workers, monitors=False) as system:
        await system.wait_ended(await system.run())
        await bus.drain()
        for name in ("bus", "manager", "orchestrator"):
            born[name] = weakref.ref(getattr(system, name))
        system.manager._handler_tasks.clear()


async def _classes(_url: str, born: dict[str, weakref.ref[Any]]) -> None:
    class Bus(MemoryBus):
        async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
            await super().publish(event_type, event_data)

    class Manager(WorkerManager):
        async def _handle_command(self, worker: Any, event_data: Any) -> None:
            await super()._handle_command(worker, event_data)

    bus = Bus()
    Manager(bus, logger=SilentLogger())
    await bus.start()
    await bus.publish("order.placed", {"id": "1"})
    await bus.stop()
    born["bus class"], born["manager class"] = weakref.ref(Bus), weakref.ref(Manager)


SCENARIOS = {
    "a bus that is stopped": lambda url, born: _a_bus(url, born, stop=True),
    "a bus that is never stopped": lambda url, born: _a_bus(url, born, stop=False),
    "a handler": _a_handler,
    "a state store": _a_store,
    "parts that are never used": _unused,
    "a workflow": lambda url, born: _a_workflow(url, born, fails=False),
    "a worker that fails": lambda url, born: _a_workflow(url, born, fails=True),
    "classes of the application's own": _classes,
}


async def _alive(scenario: str, url: str) -> Alive:
    born: dict[str, weakref.ref[Any]] = {}
    with collected_by_hand():
        await SCENARIOS[scenario](url, born)
        for _ in range(20):
            await asyncio.sleep(0)
        at_once = {name: ref() is not None for name, ref in born.items()}
        for _ in range(2):  # the first may leave what a finalizer still needs
            gc.collect()
        return {name: [at_once[name], ref() is not None] for name, ref in born.items()}


@pytest.mark.parametrize(
    "options", [{}, {"framework_logs": False, "replace_builtin_monitors": False}], ids=["", "bare"]
)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_nothing_lives_longer_than_without_us(redis: RedisServer, scenario: str, options: dict[str, Any]) -> None:
    off = await _alive(scenario, redis.url)
    with ExitStack() as instrumented:
        instrumented.enter_context(recording(**options))
        on = await _alive(scenario, redis.url)
        longer = {name: (on[name], off[name]) for name in off if on[name] > off[name]}
        assert not longer
    assert off


async def test_connections_of_buses_that_nothing_stops_are_closed_when_they_are_collected(redis: RedisServer) -> None:
    async def connections() -> int:
        info = str(redis.command("INFO", "clients"))
        return int(info.split("connected_clients:")[1].split()[0])

    before = await connections()
    with recording():
        for _ in range(20):
            await _a_bus(redis.url, {}, stop=False)
        deadline = asyncio.get_running_loop().time() + 60
        while True:
            gc.collect()
            if await connections() <= before:
                break
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
