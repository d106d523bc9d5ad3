"""``multiagents.event_loop.lag``: how late a loop is, of every loop that has a bus, for as long as it lives."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from multiagents_otel import MultiAgentsInstrumentor
from tests.contract.conftest import Clock, clock
from tests.contract.observed import Observed
from tests.support.buses import MemoryBus
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_system, redis_parts

__all__ = ["clock"]

LAG = "multiagents.event_loop.lag"


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed().instrument()
    yield made
    made.close()


def lag(observed: Observed) -> tuple[Any, ...]:
    """How often a loop was probed, and how late it was in all."""
    metric = observed.metrics().get(LAG)
    if metric is None:
        return 0, 0.0
    (point,) = metric.data.data_points
    assert dict(point.attributes) == {}
    return point.count, point.sum


async def test_a_loop_that_is_held_up_shows_by_how_much(observed: Observed, clock: Clock) -> None:
    async with order_system(monitors=False):
        for _ in range(3):
            await clock.forward(1.001)
        assert lag(observed) == (3, pytest.approx(0, abs=0.5))
        await clock.forward(8)  # nobody had a turn for 8 s, a probe was due after 1
        assert lag(observed) == (4, pytest.approx(7, abs=0.5))
        points = observed.metrics()[LAG].data.data_points
        assert all(not point.exemplars or not point.exemplars[0].span_id for point in points)


async def test_several_buses_of_a_loop_are_probed_once(observed: Observed, clock: Clock) -> None:
    async with order_system(monitors=False), order_system(monitors=False):
        await clock.forward(1.001)
        assert lag(observed)[0] == 1


async def test_uninstrumented_it_is_probed_no_more_and_instrumented_again_it_is(
    observed: Observed, clock: Clock
) -> None:
    async with order_system(monitors=False):
        await clock.forward(1.001)
        MultiAgentsInstrumentor().uninstrument()
        await clock.forward(5)
        assert lag(observed)[0] == 1
        observed.instrument()
        await clock.forward(1.001)
        assert lag(observed)[0] == 2


async def test_a_bus_that_only_publishes_has_its_loop_probed(observed: Observed, clock: Clock) -> None:
    with RedisServer() as server:
        bus, _store = redis_parts(server.url)
        await bus.start()
        await bus.publish("user.thing", {"id": "1"})
        await clock.forward(1.001)
        assert lag(observed)[0] == 1
        await bus.stop()


def test_every_loop_is_probed_and_none_is_kept(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    loops: list[weakref.ref[Any]] = []
    probed = threading.Barrier(3)

    async def subscribed() -> None:
        bus = MemoryBus()
        await bus.start()

        async def handler(_event: dict[str, Any]) -> None: ...

        await bus.subscribe("user.thing", handler)
        await asyncio.sleep(1.05)
        await bus.stop()

    def thread() -> None:
        loop = asyncio.new_event_loop()
        loop.set_debug(True)
        loops.append(weakref.ref(loop))
        loop.run_until_complete(subscribed())
        loop.close()
        probed.wait(20)

    threads = [threading.Thread(target=thread) for _ in range(2)]
    MultiAgentsInstrumentor().instrument_event_bus(MemoryBus())  # its class is known from here on
    for one in threads:
        one.start()
    probed.wait(20)
    for one in threads:
        one.join()
    assert lag(observed)[0] == 2
    gc.collect()
    assert [ref() for ref in loops] == [None, None]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
