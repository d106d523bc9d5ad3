"""Monitoring tools that read along by a pattern: they are no receivers of a command."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from typing import Any

import pytest
from multiagents.worker_sdk.worker_manager import WorkerManager

from tests.contract.observed import Observed, series
from tests.support.redis_server import RedisServer
from tests.support.sagas import SilentLogger, order_system, order_workers, redis_parts

STARTED = series(workflow__id="order_processing")


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed()
    made.instrument()
    yield made
    made.close()


@pytest.fixture
def tap(redis: RedisServer) -> Iterator[socket.socket]:
    """``redis-cli psubscribe '*'``."""
    with closing(socket.create_connection(("127.0.0.1", redis.port))) as connection:
        connection.sendall(b"PSUBSCRIBE *\r\n")
        assert connection.recv(100).startswith(b"*3")
        yield connection


async def holds(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("tap")
async def test_a_tap_beside_the_worker_is_no_duplicate(redis: RedisServer, observed: Observed) -> None:
    bus, store = redis_parts(redis.url)
    async with order_system(bus, store, monitors=False) as system:
        for _ in range(5):
            await system.wait_ended(await system.run(), timeout=60)
        await holds(lambda: len(observed.named("workflow.order_processing")) == 5)
    assert observed.sums("multiagents.commands.duplicated") == {}
    assert observed.sums("multiagents.results.duplicated") == {}
    assert observed.sums("multiagents.events.undelivered").keys() == set()
    # What Redis answers is recorded as it is.
    assert {span.attributes["multiagents.event.receivers"] for span in observed.named("step.ship")} == {2}


@pytest.mark.usefixtures("tap")
async def test_a_command_that_only_a_tap_receives_is_undelivered(redis: RedisServer, observed: Observed) -> None:
    bus, store = redis_parts(redis.url)
    async with order_system(bus, store, monitors=False, workers=[]) as system:
        await system.run()
        await holds(lambda: observed.named("workflow.order_processing"))
    root = observed.one("workflow.order_processing")
    assert (root.attributes["workflow.status"], root.attributes["error.type"]) == ("stalled", "undelivered")
    assert observed.one("step.validate").attributes["error.type"] == "undelivered"
    labels = series(event__type="CommandEvent", worker__name="validate_order")
    assert observed.sums("multiagents.events.undelivered") == {labels: 1}
    assert observed.sums("multiagents.events.in_flight") == {}


@pytest.mark.usefixtures("tap")
async def test_two_workers_beside_a_tap_are_duplicates(redis: RedisServer, observed: Observed) -> None:
    bus, store = redis_parts(redis.url)
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(order_system(bus, store, monitors=False))
        second, _ = redis_parts(redis.url)
        replica = WorkerManager(second, logger=SilentLogger())
        replica.event_monitor = replica.worker_monitor = replica.monitoring_logger = None
        replica.register(order_workers()[0])
        await second.start()
        stack.push_async_callback(second.stop)
        await replica.start()
        stack.push_async_callback(replica.stop)
        await system.run()
        await holds(lambda: observed.sums("multiagents.commands.duplicated"))
    assert observed.sums("multiagents.commands.duplicated").keys() == {series(worker__name="validate_order")}


@pytest.mark.usefixtures("tap")
@pytest.mark.parametrize("answers", [True, False], ids=["too late", "never"])
async def test_a_bus_that_stops_before_redis_has_answered_reports_no_duplicate(
    redis: RedisServer, observed: Observed, answers: bool
) -> None:
    bus, store = redis_parts(redis.url)
    stopped = asyncio.Event()

    async def numsub(*_channels: str) -> Any:
        await stopped.wait()
        raise ConnectionError

    async with order_system(bus, store, monitors=False) as system:
        client: Any = bus.redis_client
        client.pubsub_numsub = numsub
        await system.wait_ended(await system.run(), timeout=60)
    if answers:
        stopped.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others)
    else:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
    assert observed.sums("multiagents.commands.duplicated") == {}


@pytest.mark.usefixtures("tap")
async def test_where_redis_must_not_be_asked_every_receiver_counts(redis: RedisServer, observed: Observed) -> None:
    """As the runbook says."""
    redis.command("ACL", "SETUSER", "app", "on", ">word", "~*", "&*", "+@all", "-pubsub")
    bus, store = redis_parts(redis.url.replace("redis://", "redis://app:word@"))
    async with order_system(bus, store, monitors=False) as system:
        await system.wait_ended(await system.run(), timeout=60)
        await holds(lambda: len(observed.sums("multiagents.commands.duplicated")) == 3)
    assert observed.sums("multiagents.otel.errors") == {}


async def test_redis_is_asked_rarely_and_not_in_a_span(redis: RedisServer, observed: Observed) -> None:
    def asked() -> int:
        info: Any = redis.command("INFO", "commandstats")
        lines = [line for line in str(info).splitlines() if line.startswith("cmdstat_pubsub")]
        return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)

    before = asked()
    bus, store = redis_parts(redis.url)
    async with order_system(bus, store, monitors=False) as system:
        for _ in range(30):
            await system.wait_ended(await system.run(), timeout=60)
        await holds(lambda: len(observed.named("workflow.order_processing")) == 30)
    # Once for each of six channels and now and then for other orchestrators, of 180 messages.
    assert asked() - before < 60
    assert redis.command("KEYS", "multiagents_otel:*") == []
    assert {span.name.split(" ")[0].split(".")[0] for span in observed.spans} == {
        "workflow", "step", "send", "process", "worker",
    }  # fmt: skip
