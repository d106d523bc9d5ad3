"""``publish`` of a user's own bus that is no plain coroutine function: it is called as it was without us."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
import wrapt

from multiagents_otel import instrument_event_bus
from tests.catalogue.recording import recording
from tests.support import trees
from tests.support.buses import MemoryBus
from tests.support.sagas import order_system


@wrapt.decorator
async def _noting(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    instance.seen.append(args[0])
    return await wrapped(*args, **kwargs)


class Decorated(MemoryBus):
    seen: list[str]

    async def _publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        await MemoryBus.publish(self, event_type, event_data)

    publish: Any = _noting(_publish)


class Partial(MemoryBus):
    seen: list[str]

    async def _publish(self, seen: str, event_type: str, event_data: dict[str, Any]) -> None:
        self.seen.append(seen)
        await MemoryBus.publish(self, event_type, event_data)

    publish: Any = functools.partialmethod(_publish, "order.placed")


class Static(MemoryBus):
    seen: list[str]

    @staticmethod
    async def _publish(event_type: str, event_data: dict[str, Any]) -> None:
        Static.seen.append(event_type)

    publish: Any = _publish


class Future(MemoryBus):
    seen: list[str]

    def publish(self, event_type: str, event_data: dict[str, Any]) -> Any:
        self.seen.append(event_type)
        return asyncio.ensure_future(MemoryBus.publish(self, event_type, event_data))


class Plain(MemoryBus):
    seen: list[str]

    def publish(self, event_type: str, event_data: dict[str, Any]) -> Any:
        self.seen.append(event_type)
        return super().publish(event_type, event_data)


@pytest.mark.parametrize("kind", [Decorated, Partial, Static, Future, Plain])
async def test_every_kind_of_publish_is_called_as_without_us(kind: Any) -> None:
    bus = kind()
    kind.seen = []
    before = vars(kind)["publish"]
    await bus.start()
    with recording() as record:
        instrument_event_bus(bus)
        await bus.publish("order.placed", {"id": "1"})
        assert kind.seen == ["order.placed"]
        assert record.span("send order.placed")
        assert not record.open.names
    assert vars(kind)["publish"] is before


async def test_a_publication_that_nobody_awaits_leaves() -> None:
    bus = Future()
    Future.seen = []
    await bus.start()
    with recording() as record:
        instrument_event_bus(bus)
        task = bus.publish("order.placed", {"id": "1"})
        assert isinstance(task, asyncio.Task)
        assert Future.seen == ["order.placed"]
        await asyncio.sleep(0.01)
        assert record.span("send order.placed")
        task = bus.publish("order.placed", {"id": "1"})
        task.cancel()
        await asyncio.sleep(0.01)
        assert not record.open.names


@pytest.mark.parametrize("kind", [Decorated, Future, Plain])
async def test_a_saga_over_such_a_bus_is_one_trace(kind: Any) -> None:
    kind.seen = []
    with recording() as record:
        async with order_system(kind()) as system:
            await system.wait_ended(await system.run())
            await system.bus.drain()
        assert len(trees.roots(record.spans)) == 1
        assert not trees.orphans(record.spans)
        assert not record.open.names
