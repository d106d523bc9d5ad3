"""On a real Redis: server, channel, receivers, and the size of a message without our carrier."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Redis as AsyncRedis

from tests.contract.expected import message
from tests.contract.observed import Observed, series, whole
from tests.support.expected import COMPLETED
from tests.support.redis_server import RedisServer
from tests.support.sagas import WORKERS, order_system, redis_parts

SIZE = "messaging.message.body.size"
TYPES = [f"{kind}.{name}" for name in WORKERS for kind in ("command", "result")]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def run_one(redis: RedisServer) -> dict[str, int]:
    """Runs an order; gives the bytes of each event as they would have been published without us."""
    bus, store = redis_parts(redis.url)
    sizes: dict[str, int] = {}

    class Spying(AsyncRedis):  # type: ignore[misc,type-arg,unused-ignore]
        async def publish(self, channel: Any, message: Any, **kwargs: Any) -> Any:
            event = json.loads(message)
            event.pop("_otel", None)
            sizes[channel.removeprefix("multiagent:")] = len(json.dumps(event).encode())
            return await super().publish(channel, message, **kwargs)

    async with order_system(bus, store, monitors=False) as system:
        client: Any = bus.redis_client
        client.__class__ = Spying
        transaction = await system.run({"order_id": "ordér-1", "note": 'a "quoted", {nested} text: "_otel": {}'})
        await system.wait_ended(transaction)
    return sizes


async def test_the_body_size_is_that_of_the_event_without_the_carrier_on_send_and_process(
    observed: Observed, redis: RedisServer
) -> None:
    observed.instrument()
    sizes = await run_one(redis)
    for name in TYPES:
        assert observed.one(f"send {name}").attributes[SIZE] == sizes[name]
        assert observed.one(f"process {name}").attributes[SIZE] == sizes[name]
    points = observed.metrics()["multiagents.event.size"].data.data_points
    sums = {point.attributes["event.type"]: point.sum for point in points}
    assert sums["CommandEvent"] == sum(sizes[name] for name in TYPES if name.startswith("command"))
    assert sums["ResultEvent"] == sum(sizes[name] for name in TYPES if name.startswith("result"))


async def test_without_track_payload_size_no_size_is_recorded(observed: Observed, redis: RedisServer) -> None:
    observed.instrument(track_payload_size=False)
    await run_one(redis)
    assert observed.tree == COMPLETED
    assert not [span.name for span in observed.spans if SIZE in (span.attributes or {})]
    assert "multiagents.event.size" not in observed.metrics()


async def test_send_and_process_have_the_servers_attributes_and_the_channel_with_its_prefix(
    observed: Observed, redis: RedisServer
) -> None:
    observed.instrument(track_payload_size=False)
    await run_one(redis)
    server: dict[str, Any] = {"server.address": "127.0.0.1", "server.port": redis.port}
    spans = whole(s for s in observed.spans if s.name.endswith(" command.validate_order"))
    common = ("multiagent:command.validate_order", "MSG1", "TX1.validate", "CommandEvent", "redis")
    assert [shown["attributes"] for shown in spans] == [
        message("send", *common) | server | {"multiagents.event.receivers": 1},
        message("process", *common) | server,
    ]


async def test_messaging_metrics_count_and_measure_each_operation(observed: Observed, redis: RedisServer) -> None:
    observed.instrument(messaging_metrics=True)
    await run_one(redis)
    destinations = [f"multiagent:{name}" for name in TYPES]

    def operation(name: str, destination: str, **more: str) -> Any:
        return series(
            messaging__operation__name=name, messaging__system="redis", messaging__destination__name=destination, **more
        )

    status = "multiagent:status.workflow"
    assert observed.sums("messaging.client.sent.messages") == {
        **{operation("send", destination): 1 for destination in destinations},
        operation("send", status): 2,
    }
    assert observed.sums("messaging.client.consumed.messages") == {
        operation("process", destination): 1 for destination in destinations
    }
    assert observed.counts("messaging.process.duration") == {
        operation("process", destination): 1 for destination in destinations
    }
    assert observed.counts("messaging.client.operation.duration") == {
        **{operation("send", d, messaging__operation__type="send"): 1 for d in destinations},
        operation("send", status, messaging__operation__type="send"): 2,
    }


async def test_G1_credentials_of_the_url_are_in_no_attribute(observed: Observed) -> None:
    observed.instrument()
    with RedisServer(password="s3cret-canary") as server:
        await run_one(server)
    assert observed.one("send command.ship_order").attributes["server.address"] == "127.0.0.1"
    assert "s3cret-canary" not in repr([(s.name, s.attributes, s.status.description, s.events) for s in observed.spans])
