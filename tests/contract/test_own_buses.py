"""Event buses of the user's own: found when they are used, or handed over, one span for each call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from multiagents.event_bus.interface import IEventBus

from multiagents_otel import instrument_event_bus
from tests.contract.observed import Observed, tally
from tests.support.buses import MemoryBus
from tests.support.expected import COMPLETED
from tests.support.sagas import order_system

Handler = Callable[[dict[str, Any]], Awaitable[None]]


class Audited(MemoryBus):
    """A subclass whose methods call those of their base."""

    def __init__(self) -> None:
        super().__init__()
        self.published = 0

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        self.published += 1
        await super().publish(event_type, event_data)

    async def subscribe(self, event_type: str, handler: Handler) -> None:
        await super().subscribe(event_type, handler)


class Enriched(Audited):
    """Publishes a changed copy of what it is given, through two bases."""

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        await super().publish(event_type, {**event_data, "enriched": True})


class Slotted(IEventBus):
    """No dict, no weak references, equality of its own."""

    __slots__ = ("handlers", "sent")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.handlers: dict[str, list[Handler]] = {}
        self.sent: list[dict[str, Any]] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        self.sent.append(event_data)
        for handler in list(self.handlers.get(event_type, ())):
            await handler(dict(event_data))

    async def subscribe(self, event_type: str, handler: Handler) -> None:
        self.handlers.setdefault(event_type, []).append(handler)

    async def unsubscribe(self, event_type: str, handler: Handler) -> None:
        self.handlers[event_type].remove(handler)


def systems_of(observed: Observed) -> set[Any]:
    """The ``messaging.system`` of every ``send`` and ``process`` span."""
    messages = [s for s in observed.spans if s.name.startswith(("send ", "process "))]
    return {(s.attributes or {})["messaging.system"] for s in messages}


@pytest.mark.parametrize("kind", [MemoryBus, Audited, Enriched])
async def test_B2_a_subclass_that_calls_its_base_gives_one_span_for_each_call(
    observed: Observed, kind: type[MemoryBus]
) -> None:
    observed.instrument()
    bus = kind()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert observed.tree == COMPLETED
    assert set(tally(s.name for s in observed.spans).values()) == {1}
    if isinstance(bus, Audited):
        assert bus.published == 8
    if isinstance(bus, Enriched):
        assert all(m.event["enriched"] is True for m in bus.wire)


async def test_two_bus_classes_of_one_family_at_once_are_each_recorded_once(observed: Observed) -> None:
    observed.instrument()
    plain, audited = MemoryBus(), Audited()
    async with order_system(plain, monitors=False), order_system(audited, monitors=False):
        await plain.publish("own.plain", {"id": "1"})
        await audited.publish("own.audited", {"id": "2"})
    assert [s.name for s in observed.spans] == ["send own.plain", "send own.audited"]


@pytest.mark.parametrize("before", [True, False])
async def test_instrument_event_bus_names_the_system(observed: Observed, before: bool) -> None:
    bus = MemoryBus()
    if before:
        instrument_event_bus(bus, system="kafka")
    observed.instrument()
    if not before:
        instrument_event_bus(bus, system="kafka")
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert observed.tree == COMPLETED
    assert systems_of(observed) == {"kafka"}


async def test_instrument_event_bus_is_enough_for_a_bus_that_nothing_else_knows(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    seen: list[dict[str, Any]] = []

    async def handler(event: dict[str, Any]) -> None:
        seen.append(event)

    await bus.start()
    await bus.subscribe("own.event", handler)  # subscribed before it is handed over: taken up all the same
    instrument_event_bus(bus)
    await bus.publish("own.event", {"id": "1"})
    await bus.drain()
    await bus.stop()
    assert observed.tree == "send own.event PRODUCER\n  process own.event CONSUMER"
    assert observed.one("send own.event").attributes["messaging.system"] == "multiagents"
    assert seen == [{"id": "1"}]


async def test_a_bus_without_a_hash_and_without_weak_references_is_recorded_as_well(observed: Observed) -> None:
    observed.instrument()
    bus = Slotted()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        for task in list(system.manager._handler_tasks):
            await task
        while any(not task.done() for task in system.manager._handler_tasks):
            for task in list(system.manager._handler_tasks):
                await task
    assert observed.root().attributes["workflow.status"] == "completed"
    assert systems_of(observed) == {"multiagents"}
    assert len(observed.spans) == 19


async def test_unsubscribe_with_the_users_own_handler_works(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    seen: list[str] = []

    async def handler(event: dict[str, Any]) -> None:
        seen.append(event["id"])

    async with order_system(bus, monitors=False):
        await bus.subscribe("own.event", handler)
        await bus.publish("own.event", {"id": "1"})
        await bus.drain()
        await bus.unsubscribe("own.event", handler)
        await bus.publish("own.event", {"id": "2"})
        await bus.drain()
    assert seen == ["1"]
    assert bus.handlers["own.event"] == []


def test_a_system_that_is_no_string_is_refused(observed: Observed) -> None:
    observed.instrument()
    with pytest.raises(TypeError, match="system"):
        instrument_event_bus(MemoryBus(), system=3)  # type: ignore[arg-type]
