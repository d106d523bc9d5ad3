"""H3, T14: the Redis instrumentation beside ours in one process; test_two_processes.py has it in several.

No span for a call of the bus's or the store's own, and the application's own calls stay where they belong.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from redis.asyncio import from_url

from multiagents_otel import MultiAgentsInstrumentor
from tests.catalogue.observed import Observed
from tests.support.expected import COMPLETED
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload, order_system, order_workers, redis_parts
from tests.support.trees import tree

pytestmark = pytest.mark.skipif(
    version("opentelemetry-instrumentation-redis").startswith("0.59"),
    reason="it can't be suppressed: not among the versions that the extra [redis] takes",
)

OF_THE_CONNECTION = {"SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "PING"}
"""What a pub/sub connection sends is neither a publication nor the store's."""


@pytest.fixture
def both() -> Iterator[Observed]:
    observed = Observed()
    RedisInstrumentor().instrument(tracer_provider=observed.tracer_provider)
    MultiAgentsInstrumentor().instrument(
        tracer_provider=observed.tracer_provider, meter_provider=observed.meter_provider
    )
    yield observed
    RedisInstrumentor().uninstrument()  # type: ignore[no-untyped-call,unused-ignore]


def calls(observed: Observed) -> list[ReadableSpan]:
    """The Redis instrumentation's spans, those of the pub/sub connection left out."""
    return [
        span
        for span in observed.spans
        if span.instrumentation_scope is not None
        and span.instrumentation_scope.name == "opentelemetry.instrumentation.redis"
        and span.name not in OF_THE_CONNECTION
    ]


def parent(observed: Observed, call: ReadableSpan) -> str:
    """The name of the span that a call hangs below; "" for a root."""
    if call.parent is None:
        return ""
    spans = {span.context.span_id: span.name for span in observed.spans if span.context is not None}
    return spans[call.parent.span_id]


class _Asks:
    """A worker that makes a Redis call of its application's own."""

    def __init__(self, worker: Any, client: Any) -> None:
        self._worker, self._client = worker, client

    def get_worker_type(self) -> str:
        return str(self._worker.get_worker_type())

    async def process(self, *args: Any) -> Any:
        await self._client.set("stock", 1)
        return await self._worker.process(*args)


@pytest.mark.parametrize(("fails_at", "state"), [(None, "completed"), ("ship_order", "compensated")])
async def test_H3_calls_of_the_bus_and_the_store_have_no_span_however_the_workflow_ends(
    redis: RedisServer, both: Observed, fails_at: str | None, state: str
) -> None:
    payload = order_payload() if fails_at is None else order_payload(fail_at=fails_at)
    async with order_system(*redis_parts(redis.url)) as system:
        ended = await system.wait_ended(await system.run(payload))
    assert ended["state"] == state
    assert calls(both) == []
    if fails_at is None:
        assert tree(both.ours) == COMPLETED


async def test_H3_the_applications_own_calls_hang_below_the_span_that_is_current(
    redis: RedisServer, both: Observed
) -> None:
    async with from_url(redis.url) as own:
        workers: list[Any] = [_Asks(worker, own) for worker in order_workers()]
        async with order_system(*redis_parts(redis.url), workers=workers) as system:
            with both.tracer.start_as_current_span("request"):
                await own.get("before")
                transaction = await system.run()
                await own.get("after")  # the suppression of our own calls has not leaked out of them
            await system.wait_ended(transaction)
            await own.publish("a-channel", "hello")
    assert sorted((call.name, parent(both, call)) for call in calls(both)) == [
        ("GET", "request"),
        ("GET", "request"),
        ("PUBLISH", ""),
        ("SET", "worker.charge_payment"),
        ("SET", "worker.ship_order"),
        ("SET", "worker.validate_order"),
    ]


async def test_H3_a_publication_and_a_save_that_fail_leave_the_applications_calls_traced(
    redis: RedisServer, both: Observed
) -> None:
    bus, store = redis_parts(redis.url)
    await store.connect()
    await bus.start()
    async with from_url(redis.url) as own:
        for call in (bus.publish("an-event", {"odd": object}), store.save_context(object())):
            with pytest.raises(Exception):  # noqa: B017 - whatever the framework makes of it
                await call
        await own.get("key")
    await bus.stop()
    assert [(call.name, parent(both, call)) for call in calls(both)] == [("GET", "")]
