"""H3, T14: the Redis instrumentation beside ours: no span twice, and the application's own calls stay traced."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import from_url

from multiagents_otel import MultiAgentsInstrumentor
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_system, order_workers, redis_parts
from tests.support.trees import tree


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    RedisInstrumentor().instrument(tracer_provider=provider)
    MultiAgentsInstrumentor().instrument(tracer_provider=provider)
    yield exporter
    RedisInstrumentor().uninstrument()
    provider.shutdown()


async def test_H3_the_bus_s_and_the_store_s_own_calls_have_no_second_span(
    redis: RedisServer, exported: InMemorySpanExporter
) -> None:
    bus, store = redis_parts(redis.url)
    async with order_system(bus, store) as system:
        await system.wait_ended(await system.run())
    assert {span.name.split(".")[0].split(" ")[0] for span in exported.get_finished_spans()} == {
        "workflow",
        "step",
        "send",
        "process",
        "worker",
    }


async def test_H3_the_application_s_own_calls_stay_traced_where_they_belong(
    redis: RedisServer, exported: InMemorySpanExporter
) -> None:
    async with from_url(redis.url) as own:
        bus, store = redis_parts(redis.url)
        workers = order_workers()
        async with order_system(bus, store, workers=workers) as system:
            original = system.manager.workers["charge_payment"].process

            async def process(context: dict[str, object]) -> dict[str, object]:
                await own.set("stock", 1)
                return await original(context)

            system.manager.workers["charge_payment"].process = process  # type: ignore[method-assign]
            await system.wait_ended(await system.run())
    rendered = tree(exported.get_finished_spans())
    assert "        worker.charge_payment INTERNAL\n          SET CLIENT\n" in rendered, rendered
