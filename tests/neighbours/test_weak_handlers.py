"""A bus that holds its handlers weakly works as without us, and its deliveries are recorded."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from multiagents_otel import MultiAgentsInstrumentor, instrument_event_bus
from tests.contract.observed import Observed

RECEIVED: list[tuple[str, dict[str, Any]]] = []


class WeakBus:
    """Calls the handlers that are alive, as a signal library does."""

    def __init__(self) -> None:
        self.refs: list[tuple[str, Any]] = []

    async def subscribe(self, event_type: str, handler: Any) -> None:
        kind: Any = weakref.WeakMethod if hasattr(handler, "__self__") else weakref.ref
        self.refs.append((event_type, kind(handler)))

    async def unsubscribe(self, event_type: str, handler: Any) -> None:
        self.refs = [(other, ref) for other, ref in self.refs if other != event_type or ref() != handler]

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        for subscribed, ref in self.refs:
            handler = ref()
            if subscribed == event_type and handler is not None:
                result = handler(dict(event_data))
                if inspect.isawaitable(result):
                    await result


class Shop:
    async def on_order(self, event: dict[str, Any]) -> None:
        RECEIVED.append(("shop", event))


async def on_order(event: dict[str, Any]) -> None:
    RECEIVED.append(("function", event))


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nothing_received() -> None:
    RECEIVED.clear()


@pytest.mark.parametrize("instrumented", [False, True])
async def test_handlers_are_called_as_long_as_their_owner_lives(observed: Observed, instrumented: bool) -> None:
    bus, shop = WeakBus(), Shop()
    if instrumented:
        observed.instrument()
        instrument_event_bus(bus)
    await bus.subscribe("order.placed", shop.on_order)
    await bus.subscribe("order.placed", on_order)
    gc.collect()
    event = {"id": "1", "item": "tea"}
    await bus.publish("order.placed", event)
    assert [("shop", event), ("function", event)] == RECEIVED
    alive = weakref.ref(shop)
    del shop
    assert alive() is None
    await bus.publish("order.placed", event)
    assert [who for who, _ in RECEIVED] == ["shop", "function", "function"]
    await bus.unsubscribe("order.placed", on_order)
    await bus.publish("order.placed", event)
    assert len(RECEIVED) == 3
    if instrumented:
        names = [span.name for span in observed.spans]
        assert names.count("process order.placed") == 3
        assert names.count("send order.placed") == 3


async def test_a_method_with_two_event_types_is_called(observed: Observed) -> None:
    bus, shop = WeakBus(), Shop()
    observed.instrument()
    instrument_event_bus(bus)
    await bus.subscribe("order.placed", shop.on_order)
    await bus.subscribe("order.changed", shop.on_order)
    await bus.publish("order.changed", {"id": "2"})
    assert [who for who, _ in RECEIVED] == ["shop"]


async def test_handlers_are_the_application_s_after_uninstrument(observed: Observed) -> None:
    bus, shop = WeakBus(), Shop()
    observed.instrument()
    instrument_event_bus(bus)
    await bus.subscribe("order.placed", shop.on_order)
    MultiAgentsInstrumentor().uninstrument()
    await bus.publish("order.placed", {"id": "3"})
    assert RECEIVED == [("shop", {"id": "3"})]
    assert observed.spans == []
