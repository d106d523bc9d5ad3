"""Rows H1, H2, H3 and H5: suppression, and neighbours.

H3 in two processes is in tests/integration/test_two_processes.py, H4 in tests/contract/test_sampling.py. H5 (a tail
buffer that replays spans which have ended) is a matter of the Collector's tail sampling; what concerns us is that
every span is exported once, at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from redis.asyncio import from_url

from multiagents_otel import instrument_event_bus, semconv
from tests.contract.observed import Observed
from tests.support.buses import MemoryBus
from tests.support.deadline import DEADLINE
from tests.support.expected import COMPLETED
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_system, redis_parts
from tests.support.trees import forest


@contextmanager
def _by_the_api_s_key() -> Iterator[None]:
    token = context_api.attach(context_api.set_value(context_api._SUPPRESS_INSTRUMENTATION_KEY, True))
    yield
    context_api.detach(token)


@contextmanager
def _by_the_plain_key() -> Iterator[None]:
    token = context_api.attach(context_api.set_value("suppress_instrumentation", True))
    yield
    context_api.detach(token)


class Last(SpanProcessor):
    """Tells when the span that ends last has ended: the listener's handler outlives the workflow."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = asyncio.Event()

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == self.name:
            self.ended.set()


SUPPRESSIONS = {
    "the API's key": _by_the_api_s_key,
    "the plain key": _by_the_plain_key,
    "utils": suppress_instrumentation,
}


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed()
    yield made
    made.close()


@pytest.mark.parametrize("how", SUPPRESSIONS)
@pytest.mark.parametrize("in_task", [False, True], ids=["awaited", "in a task"])
@pytest.mark.parametrize("inline", [False, True], ids=["queued", "inline"])
async def test_H1_H2_suppressed_code_has_no_spans_and_hands_context_on(
    observed: Observed, how: str, in_task: bool, inline: bool
) -> None:
    observed.instrument()
    suppression: Callable[[], AbstractContextManager[None]] = SUPPRESSIONS[how]
    bus = MemoryBus(inline=inline)
    instrument_event_bus(bus)
    parents: list[int] = []

    async def handler(_event: dict[str, Any]) -> None:
        from opentelemetry import trace

        parents.append(trace.get_current_span().get_span_context().trace_id)

    async def publish() -> None:
        await bus.publish("user.event", {"id": "1"})

    await bus.start()
    await bus.subscribe("user.event", handler)
    tracer = observed.tracers.get_tracer("app")
    with tracer.start_as_current_span("caller") as caller, suppression():
        await (asyncio.create_task(publish()) if in_task else publish())
        await bus.drain()
    await bus.stop()
    names = [span.name for span in observed.spans]
    # A handler that the queue calls later is not in suppressed code any more; one that is called inside publish is.
    assert names == ([] if inline else ["process user.event"])
    assert parents == [caller.get_span_context().trace_id]
    assert sum(observed.sums(semconv.EVENTS.name).values()) == 1


async def test_H2_a_workflow_in_suppressed_code_runs_and_is_counted(observed: Observed) -> None:
    observed.instrument()
    async with order_system() as system:
        with suppress_instrumentation():
            transaction = await system.run()
        status = await system.wait_ended(transaction)
        await system.bus.drain()
    assert status["state"] == "completed"
    assert sum(observed.sums(semconv.WORKFLOWS.name).values()) == 1
    assert sum(observed.sums(semconv.WORKER_EXECUTIONS.name).values()) == 3


async def test_H3_the_redis_instrumentation_doubles_nothing_and_parents_stay(observed: Observed) -> None:
    if version("opentelemetry-instrumentation-redis").startswith("0.59"):
        pytest.skip("it can't be suppressed: not among the versions that the extra [redis] takes")
    from opentelemetry.instrumentation.redis import RedisInstrumentor  # not in every environment that tests the rest

    redis, last = RedisInstrumentor(), Last("process result.ship_order")
    observed.tracers.add_span_processor(last)
    redis.instrument(tracer_provider=observed.tracers, skip_dep_check=True)
    observed.instrument()
    try:
        with RedisServer() as server:
            bus, store = redis_parts(server.url)
            async with order_system(bus, store) as system:
                await system.wait_ended(await system.run())
                await asyncio.wait_for(last.ended.wait(), DEADLINE)
            client = from_url(server.url)
            await client.get("a-users-own-key")
            await client.aclose()
    finally:
        redis.uninstrument()
    assert forest(observed.spans) == COMPLETED
    others = [span.name for span in observed.exported.get_finished_spans() if span not in observed.spans]
    assert others.count("GET") == 1
    assert not {"PUBLISH", "SET", "SETEX"} & set(others)


async def test_H5_every_span_is_exported_once_at_its_end(observed: Observed) -> None:
    observed.instrument()
    async with order_system() as system:
        await system.wait_ended(await system.run())
        await system.bus.drain()
    ids = [span.context.span_id for span in observed.spans if span.context is not None]
    assert len(ids) == len(set(ids)) == 19
