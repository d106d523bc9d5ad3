"""The instruments as the contract has them: names, kinds, units, attributes, buckets, written down literally."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, Histogram, InMemoryMetricReader, Sum

from multiagents_otel import views
from tests.contract.answering import AnsweringBus
from tests.contract.conftest import Clock
from tests.contract.observed import Observed
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload, order_system, redis_parts

DURATION: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
QUEUE: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WORKFLOW: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
KIB: Final = 1024
SIZE: Final = (256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, KIB**2, 4 * KIB**2, 16 * KIB**2)
LAG: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
MESSAGING: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

COUNTER, UPDOWN, GAUGE = "counter", "updowncounter", "gauge"

TABLE: Final[dict[str, tuple[object, str, set[str]]]] = {
    "multiagents.events": (COUNTER, "{event}", {"event.type", "status"}),
    "multiagents.event.duration": (DURATION, "s", {"event.type"}),
    "multiagents.event.queue_time": (QUEUE, "s", {"worker.name"}),
    "multiagents.events.undelivered": (COUNTER, "{event}", {"event.type", "worker.name"}),
    "multiagents.events.stale": (COUNTER, "{event}", {"worker.name"}),
    "multiagents.events.publish_errors": (COUNTER, "{event}", {"event.type", "error.type"}),
    "multiagents.commands.duplicated": (COUNTER, "{command}", {"worker.name"}),
    "multiagents.events.in_flight": (UPDOWN, "{event}", {"worker.name"}),
    "multiagents.event.size": (SIZE, "By", {"event.type"}),
    "multiagents.worker.executions": (COUNTER, "{execution}", {"worker.name", "status"}),
    "multiagents.worker.errors": (COUNTER, "{error}", {"worker.name", "error.type"}),
    "multiagents.worker.duration": (DURATION, "s", {"worker.name"}),
    "multiagents.worker.active": (UPDOWN, "{execution}", {"worker.name"}),
    "multiagents.workflows.started": (COUNTER, "{workflow}", {"workflow.id"}),
    "multiagents.workflows": (COUNTER, "{workflow}", {"workflow.id", "status"}),
    "multiagents.workflow.duration": (WORKFLOW, "s", {"workflow.id", "status"}),
    "multiagents.workflow.stalls": (COUNTER, "{workflow}", {"workflow.id"}),
    "multiagents.workflows.stalled": (GAUGE, "{workflow}", {"workflow.id"}),
    "multiagents.active_workflows": (GAUGE, "{workflow}", {"workflow.id"}),
    "multiagents.step.duration": (DURATION, "s", {"workflow.id", "multiagents.step.name"}),
    "multiagents.compensations": (COUNTER, "{compensation}", {"workflow.id", "status"}),
    "multiagents.system.cpu": (GAUGE, "%", set()),
    "multiagents.system.memory": (GAUGE, "%", set()),
    "multiagents.process.running": (GAUGE, "", set()),
    "multiagents.event_loop.lag": (LAG, "s", set()),
    "multiagents.otel.errors": (COUNTER, "{error}", {"component"}),
}
"""Without the listener's gauge, which only a bus with a listener of the framework's has, a collector's, and what the
pipelines drop that are built here."""

MESSAGING_TABLE: Final[dict[str, tuple[object, str, set[str]]]] = {
    "messaging.process.duration": (
        MESSAGING,
        "s",
        {"messaging.operation.name", "messaging.system", "messaging.destination.name", "error.type"},
    ),
    "messaging.client.operation.duration": (
        MESSAGING,
        "s",
        {
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.system",
            "messaging.destination.name",
            "error.type",
        },
    ),
    "messaging.client.sent.messages": (
        COUNTER,
        "{message}",
        {"messaging.operation.name", "messaging.system", "messaging.destination.name", "error.type"},
    ),
    "messaging.client.consumed.messages": (
        COUNTER,
        "{message}",
        {"messaging.operation.name", "messaging.system", "messaging.destination.name", "error.type"},
    ),
}


def described(metric: Any) -> tuple[object, str, set[str]]:
    """A metric as the table has it: its buckets for a histogram, else its kind."""
    keys = {key for point in metric.data.data_points for key in point.attributes}
    if isinstance(metric.data, Histogram):
        (bounds,) = {tuple(point.explicit_bounds) for point in metric.data.data_points}
        return bounds, metric.unit, keys
    if isinstance(metric.data, Gauge):
        return GAUGE, metric.unit, keys
    assert isinstance(metric.data, Sum)
    return (COUNTER if metric.data.is_monotonic else UPDOWN), metric.unit, keys


async def everything(observed: Observed, clock: Clock, **options: Any) -> None:
    """One of each thing that is measured."""

    def raises(*_: Any) -> None:
        raise RuntimeError("hook")

    observed.instrument(workflow_hook=raises, **options)
    bus = AnsweringBus()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await system.run(order_payload(fail_at="ship_order"))
        await bus.drain()
        bus.failures["command.validate_order"] = ConnectionError("broker gone")
        await system.run()
        bus.failures.clear()
        bus.lost.add("result.validate_order")
        await system.run()
        await bus.drain()
        await clock.forward(311)
        bus.lost.clear()
        second = bus.peer()
        await second.start()
        await second.subscribe("command.validate_order", _swallow)
        await system.run()
        await bus.drain()
        result = next(m.event for m in bus.wire if m.event_type == "result.ship_order")
        await bus.publish("result.ship_order", result)
        await bus.drain()
        await second.stop()


async def _swallow(event: dict[str, Any]) -> None: ...


@pytest.mark.faults
async def test_every_instrument_is_as_the_contract_has_it(observed: Observed, clock: Clock) -> None:
    await everything(observed, clock)
    assert {name: described(metric) for name, metric in observed.metrics().items()} == TABLE


@pytest.mark.faults
async def test_messaging_metrics_adds_the_conventions_four_and_nothing_else(observed: Observed, clock: Clock) -> None:
    await everything(observed, clock, messaging_metrics=True)
    assert {name: described(metric) for name, metric in observed.metrics().items()} == TABLE | MESSAGING_TABLE


@pytest.mark.faults
async def test_every_sum_is_cumulative_and_every_name_has_a_description(observed: Observed, clock: Clock) -> None:
    await everything(observed, clock, messaging_metrics=True)
    for metric in observed.metrics().values():
        assert metric.description.endswith("."), metric.name
        if not isinstance(metric.data, Gauge):
            assert metric.data.aggregation_temporality.name == "CUMULATIVE"


@pytest.mark.faults
async def test_E1_no_metric_carries_an_id(observed: Observed, clock: Clock) -> None:
    await everything(observed, clock, messaging_metrics=True)
    values = {
        str(value)
        for metric in observed.metrics().values()
        for point in metric.data.data_points
        for value in point.attributes.values()
    }
    ids = {
        str(value)
        for span in observed.spans
        for key, value in (span.attributes or {}).items()
        if key in ("workflow.transaction_id", "messaging.message.id", "messaging.message.conversation_id")
    }
    assert ids
    assert not [(value, known) for value in values for known in ids if known in value]


@pytest.mark.faults
async def test_views_give_the_same_buckets_to_a_provider_of_the_users_own(clock: Clock) -> None:
    observed = Observed()
    observed.reader = InMemoryMetricReader()
    observed.meters = MeterProvider([observed.reader], views=views())
    await everything(observed, clock, messaging_metrics=True)
    assert {name: described(metric) for name, metric in observed.metrics().items()} == TABLE | MESSAGING_TABLE
    observed.close()


async def test_the_listeners_gauge_is_one_while_the_listener_lives(observed: Observed) -> None:
    observed.instrument()
    with RedisServer() as server:
        bus, store = redis_parts(server.url)
        async with order_system(bus, store, monitors=False):
            metric = observed.metrics()["multiagents.event_bus.listener.active"]
            assert described(metric) == (GAUGE, "", set())
            assert [point.value for point in metric.data.data_points] == [1]
            listener = bus._listener_task
            assert listener is not None
            while not listener.done():  # before Python 3.12 wait_for swallows a cancellation now and then
                listener.cancel()
                await asyncio.sleep(0)
            assert observed.sums("multiagents.event_bus.listener.active", zeros=True) == {frozenset(): 0}
