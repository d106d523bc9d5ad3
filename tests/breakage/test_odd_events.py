"""Events and handlers that a bus changes, copies or keeps: the application sees what it sees without us."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Iterator, MutableMapping
from types import MappingProxyType
from typing import Any

import pytest
from multiagents.event_bus.redis_bus import RedisEventBus
from opentelemetry.sdk.trace import TracerProvider

from multiagents_otel import MultiAgentsInstrumentor, instrument_event_bus
from tests.catalogue.recording import recording
from tests.support.buses import MemoryBus


class Filling(MemoryBus):
    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        event_data["id"] = "7"
        event_data.pop("draft", None)
        await asyncio.sleep(0)


async def test_what_a_bus_fills_in_its_publisher_finds() -> None:
    bus, event = Filling(), {"a": 1, "draft": True}
    with recording():
        instrument_event_bus(bus)
        await bus.publish("order.placed", event)
        assert event == {"a": 1, "id": "7"}


async def test_what_the_publisher_changes_meanwhile_stays() -> None:
    bus, event = Filling(), {"a": 1, "b": 1}
    with recording():
        instrument_event_bus(bus)
        publishing = asyncio.ensure_future(bus.publish("order.placed", event))
        await asyncio.sleep(0)
        event["a"] = 2
        del event["b"]
        await publishing
        assert event == {"a": 2, "id": "7"}


class Passing(MemoryBus):
    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        for handler in self.handlers[event_type]:
            await handler(event_data)


async def test_what_a_handler_answers_in_the_event_its_publisher_finds() -> None:
    async def handler(event: dict[str, Any]) -> None:
        assert set(event) == {"a"}
        event["answer"] = 42

    bus, event = Passing(), {"a": 1}
    with recording():
        instrument_event_bus(bus)
        await bus.subscribe("order.placed", handler)
        await bus.publish("order.placed", event)
        assert event == {"a": 1, "answer": 42}


class Own(MutableMapping[str, Any]):
    """Its copies share their storage."""

    def __init__(self, **items: Any) -> None:
        self.items_ = items

    def __getitem__(self, key: str) -> Any:
        return self.items_[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.items_[key] = value

    def __delitem__(self, key: str) -> None:
        del self.items_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.items_)

    def __len__(self) -> int:
        return len(self.items_)


class Keeping(MemoryBus):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    async def publish(self, event_type: str, event_data: Any) -> None:
        self.kept.append(event_data)


@pytest.mark.parametrize(
    "event", [Own(a=1), Own(a=1, _otel="old"), MappingProxyType({"a": 1})], ids=["own", "own-with-carrier", "read-only"]
)
async def test_events_that_have_no_copy_of_their_own_are_left_as_they_are(event: Any) -> None:
    bus, before = Keeping(), dict(event)
    with recording() as record:
        instrument_event_bus(bus)
        await bus.publish("order.placed", event)
        assert dict(event) == before
        assert bus.kept == [event]
        assert not record.open.names


class Slots:
    """Nobody can refer to it weakly."""

    __slots__ = ("subscribed",)

    def __init__(self) -> None:
        self.subscribed: list[Any] = []

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        for handler in self.subscribed:
            await handler(json.loads(json.dumps(event_data)))

    async def subscribe(self, event_type: str, handler: Any) -> None:
        self.subscribed.append(handler)

    async def unsubscribe(self, event_type: str, handler: Any) -> None:
        self.subscribed = [other for other in self.subscribed if other is not handler]


async def test_a_bus_without_weak_references_gives_its_handlers_the_event_without_the_carrier() -> None:
    received = []

    async def handler(event: dict[str, Any]) -> None:
        received.append(event)

    bus = Slots()
    with recording() as record:
        instrument_event_bus(bus)
        await bus.subscribe("order.placed", handler)
        await bus.publish("order.placed", {"a": 1})
        assert received == [{"a": 1}]
        assert len({span.context.trace_id for span in record.spans}) == 1
        await bus.unsubscribe("order.placed", handler)
        assert not bus.subscribed


async def kept_handler(_event: dict[str, Any]) -> None: ...


async def test_handlers_in_a_bus_can_be_copied_and_pickled() -> None:
    bus = MemoryBus()
    with recording():
        instrument_event_bus(bus)
        bus.handlers["order.placed"].append(kept_handler)
        instrument_event_bus(bus)
        assert copy.deepcopy(bus.handlers)["order.placed"] == [kept_handler]
        assert copy.copy(bus.handlers["order.placed"][0]) is kept_handler
        assert pickle.loads(pickle.dumps(bus.handlers["order.placed"])) == [kept_handler]


def test_many_threads_instrument_once() -> None:
    original = vars(RedisEventBus)["publish"]
    barrier, provider = threading.Barrier(8), TracerProvider(shutdown_on_exit=False)

    def instrument() -> None:
        barrier.wait()
        MultiAgentsInstrumentor().instrument(tracer_provider=provider)

    threads = [threading.Thread(target=instrument) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert vars(RedisEventBus)["publish"].__wrapped__ is original
    MultiAgentsInstrumentor().uninstrument()
    assert vars(RedisEventBus)["publish"] is original
