"""What is pickled or copied with the instrumentation on works where this package is not installed."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import weakref
from typing import Any
from unittest import mock

from multiagents.event_bus.redis_bus import RedisEventBus
from multiagents.worker_sdk.worker_manager import WorkerManager

from tests.catalogue.recording import recording
from tests.support.buses import MemoryBus
from tests.support.processes import Process
from tests.support.sagas import order_system

SENDER = """
import base64, pickle, sys
import cloudpickle
from multiagents import IEventBus, WorkerManager
from multiagents.worker_sdk.decorators import worker
import multiagents_otel
multiagents_otel.MultiAgentsInstrumentor().instrument()

class MyBus(IEventBus):
    sent = ()
    async def start(self): ...
    async def stop(self): ...
    async def subscribe(self, event_type, handler): ...
    async def unsubscribe(self, event_type, handler): ...
    async def publish(self, event_type, event_data): self.sent += (event_type,)

class MyManager(WorkerManager):
    async def _handle_command(self, worker, event_data): return "mine"

@worker("echo")
async def echo(context): return context

def make(): return MyManager(MyBus())
make()
print("pickled", base64.b64encode(cloudpickle.dumps((MyBus, MyManager, make, echo, MyBus().publish))).decode())
"""

RECEIVER = """
import asyncio, base64, pickle, sys
sys.modules["multiagents_otel"] = None  # it is not installed here
MyBus, MyManager, make, echo, publish = pickle.loads(base64.b64decode(sys.stdin.readline()))
async def main():
    bus = MyBus()
    await bus.publish("a", {})
    await bus.subscribe("a", print)
    await publish("b", {})
    print("sent", bus.sent, publish.__self__.sent, await make()._handle_command(None, {}))
    print("echo", echo.get_worker_type(), await echo.process({"x": 1}))
asyncio.run(main())
"""


def test_classes_of_the_main_module_are_pickled_by_value_for_a_process_without_us() -> None:
    with Process.python(SENDER) as sender:
        sender.wait_ok(60)
        pickled = sender.wait_line("pickled ").split()[1]
    with Process.python(RECEIVER) as receiver:
        receiver.send_line(pickled)
        receiver.wait_ok(60)
        assert "sent ('a',) ('b',) mine" in receiver.output
        assert "echo echo {'x': 1}" in receiver.output


async def test_instances_and_their_methods_are_copied_weakly_held_and_inspected_as_without_us() -> None:
    bus = MemoryBus()
    signatures = {name: inspect.signature(getattr(RedisEventBus, name)) for name in ("publish", "subscribe")}
    with recording():
        manager = WorkerManager(bus)
        assert {name: inspect.signature(getattr(RedisEventBus, name)) for name in signatures} == signatures
        method = weakref.WeakMethod(manager._handle_command)
        assert method() == manager._handle_command
        assert inspect.iscoroutinefunction(RedisEventBus.publish)
        assert pickle.loads(pickle.dumps(RedisEventBus.publish)) is RedisEventBus.publish
        assert pickle.loads(pickle.dumps(functools.partial(RedisEventBus.publish, "x"))).func is RedisEventBus.publish
        assert copy.deepcopy(RedisEventBus.publish) is RedisEventBus.publish


async def test_mocks_by_the_framework_s_classes_count_the_application_s_calls_only() -> None:
    with recording():
        bus = mock.create_autospec(RedisEventBus, instance=True)
        manager = WorkerManager(bus)
        client = mock.AsyncMock()
        held = MemoryBus()
        held.redis_client = client  # type: ignore[attr-defined]
        WorkerManager(held)
        async with order_system(held) as system:
            await system.wait_ended(await system.run())
        await manager.event_bus.publish("order.placed", {"id": "1"})
        bus.publish.assert_awaited_once_with("order.placed", {"id": "1"})
        client.publish.assert_not_called()


class Unhashable(MemoryBus):
    def __eq__(self, other: object) -> bool:
        raise TypeError("not to be compared")

    __hash__ = None  # type: ignore[assignment]


class Handler:
    """A callable that can't be hashed or referred to weakly, and compares by value."""

    __slots__ = ("seen",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handler) and self.seen == other.seen

    async def __call__(self, event: dict[str, Any]) -> None:
        self.seen.append(event)


async def test_buses_and_handlers_that_are_unhashable_or_compare_by_value_work() -> None:
    with recording() as record:
        bus = Unhashable()
        async with order_system(bus) as system:
            handlers = [Handler(), Handler()]
            for handler in handlers:
                await bus.subscribe("order.placed", handler)
            await bus.publish("order.placed", {"id": "1"})
            await bus.drain()
            assert [handler.seen for handler in handlers] == [[{"id": "1"}]] * 2
            await bus.unsubscribe("order.placed", handlers[0])
            await system.wait_ended(await system.run())
            await bus.drain()
        assert any(span.name == "workflow.order_processing" for span in record.spans)
        assert len([span for span in record.spans if span.name == "process order.placed"]) == 2
