"""Providers that are unhashable, compare by value, are proxies or false are used as any other."""

from __future__ import annotations

import pytest

from multiagents_otel import MultiAgentsInstrumentor
from tests.catalogue.recording import Recording
from tests.neighbours.providers import KINDS
from tests.support.processes import Process
from tests.support.sagas import order_system


@pytest.mark.parametrize("kind", KINDS)
async def test_a_provider_of_any_kind_records_a_workflow(kind: str) -> None:
    record = Recording()
    providers = [KINDS[kind](each) for each in (record.tracer_provider, record.meter_provider, record.logger_provider)]
    for _ in range(2):  # what is kept by provider is found again
        record.exporter.clear()
        MultiAgentsInstrumentor().instrument(
            tracer_provider=providers[0], meter_provider=providers[1], logger_provider=providers[2]
        )
        async with order_system() as system:
            await system.wait_ended(await system.run())
            await system.bus.drain()
        started = record.metrics()["multiagents.workflows.started"]
        MultiAgentsInstrumentor().uninstrument()
        assert sum(started.values()) >= 1
        assert any("order_processing" in span.name for span in record.spans)


@pytest.mark.parametrize("kind", ["called as the placeholder", "incomparable"])
def test_global_providers_of_any_kind_are_kept_and_used(kind: str) -> None:
    program = f"""
    import asyncio, logging
    logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
    from opentelemetry import _logs, metrics, trace
    from tests.catalogue.recording import Recording
    from tests.neighbours.providers import KINDS
    record, wrap = Recording(), KINDS[{kind!r}]
    given = [wrap(each) for each in (record.tracer_provider, record.meter_provider, record.logger_provider)]
    trace._TRACER_PROVIDER, metrics._internal._METER_PROVIDER, _logs._internal._LOGGER_PROVIDER = given

    import multiagents_otel
    multiagents_otel.auto_instrument()
    now = trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()
    assert all(one is other for one, other in zip(now, given)), now

    from tests.support.sagas import order_system
    async def main():
        async with order_system() as system:
            await system.wait_ended(await system.run())
    asyncio.run(main())
    print("spans", sum(span.name == "workflow.order_processing" for span in record.spans))
    print("started", sum(record.metrics()["multiagents.workflows.started"].values()))
    """
    with Process.python(program) as process:
        process.wait_ok(60)
        assert {"spans 1", "started 1"} <= set(process.lines)
        assert "Traceback" not in process.output


@pytest.mark.parametrize(
    "methods",
    [
        "def __getattr__(self, name): raise RuntimeError('not here')",
        "def __getattr__(self, name): return lambda scope: None  # an API of before the schema URL",
        "def __getattr__(self, name): return lambda *scope, **more: None",
        "def force_flush(self): raise SystemExit(3)",
    ],
    ids=["raises", "takes one argument", "returns None", "exits"],
)
def test_a_provider_that_can_not_be_used_stops_nothing(methods: str) -> None:
    program = f"""
import asyncio, logging, multiagents_otel
logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
class Provider:
    {methods}
multiagents_otel.auto_instrument(tracer_provider=Provider(), meter_provider=Provider(), logger_provider=Provider())
from tests.support.sagas import order_system
async def main():
    async with order_system() as system:
        await system.wait_ended(await system.run())
asyncio.run(main())
print("flushed", multiagents_otel.flush())
"""
    with Process.python(program) as process:
        process.wait_ok(60)
        assert any(line.startswith("flushed ") for line in process.lines)
        assert "Traceback" not in process.output
