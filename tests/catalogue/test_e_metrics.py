"""Rows E2 to E7: labels that leak, names and units off the specification, broken sums, streams that survive.

E1 is in test_e_cardinality.py.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, Sum
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import REGISTRY, generate_latest

from multiagents_otel import MultiAgentsInstrumentor, instrument_event_bus, semconv
from tests.contract.observed import QUEUE_TIME, Observed, series
from tests.support.buses import MemoryBus
from tests.support.sagas import order_payload, order_system, order_workers
from tests.support.trees import received


@pytest.fixture(autouse=True)
def no_garbage() -> None:
    """Workers of an earlier test that are not collected yet would be found by ``instrument()``, and shown at 0."""
    gc.collect()


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed()
    yield made
    made.close()


async def _two_orders(*, fail_at: str = "ship_order") -> None:
    async with order_system() as system:
        for payload in (order_payload(), order_payload(fail_at=fail_at)):
            await system.wait_ended(await system.run(payload))
        await system.bus.drain()


async def test_E2_workers_at_once_have_their_own_labels_and_an_error_does_not_stick(observed: Observed) -> None:
    observed.instrument()
    async with order_system() as system:
        payloads = [order_payload(fail_at="charge_payment"), *(order_payload() for _ in range(4))]
        transactions = await asyncio.gather(*(system.run(payload) for payload in payloads))
        for transaction in transactions:
            await system.wait_ended(transaction)
        await system.bus.drain()
    assert observed.sums(semconv.WORKER_EXECUTIONS.name) == {
        series(worker__name="validate_order", status="success"): 5,
        series(worker__name="charge_payment", status="error"): 1,
        series(worker__name="charge_payment", status="success"): 4,
        series(worker__name="ship_order", status="success"): 4,
    }
    assert observed.sums(semconv.WORKER_ERRORS.name) == {
        frozenset({("worker.name", "charge_payment"), ("error.type", "ValueError")}): 1
    }


async def test_E3_what_is_exported_is_the_table_and_prometheus_sees_the_guide_s_names() -> None:
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    try:
        MultiAgentsInstrumentor().instrument(meter_provider=provider)
        await _two_orders()
        scraped = generate_latest(REGISTRY).decode()
    finally:
        provider.shutdown()
    lines = [line for line in scraped.splitlines() if line.startswith("multiagents_")]
    samples: dict[tuple[str, ...], float] = {}
    for line in lines:
        name, _, rest = line.partition("{")
        labels, _, value = rest.rpartition("} ")
        told = sorted(part for part in labels.split(",") if not part.startswith("otel_scope_") and 'le="' not in part)
        key = (name, *told)
        samples[key] = float(value)
    assert samples["multiagents_events_total", 'event_type="CommandEvent"', 'status="success"'] == 5
    assert samples["multiagents_events_total", 'event_type="CommandEvent"', 'status="error"'] == 1
    assert samples["multiagents_event_duration_seconds_count", 'event_type="CommandEvent"'] == 6
    assert samples["multiagents_worker_executions_total", 'status="success"', 'worker_name="ship_order"'] == 1
    assert samples["multiagents_worker_duration_seconds_count", 'worker_name="ship_order"'] == 2
    assert samples["multiagents_active_workflows", 'workflow_id="order_processing"'] == 0
    assert samples["multiagents_workflows_total", 'status="completed"', 'workflow_id="order_processing"'] == 1
    ending = {"s": "_seconds", "By": "_bytes", "%": "_percent"}
    expected = {
        row.name.replace(".", "_") + ending.get(row.unit, "") + ("_total" if row.kind == semconv.COUNTER else "")
        for row in semconv.INSTRUMENTS
    }
    assert {
        name.removesuffix("_count").removesuffix("_sum").removesuffix("_bucket") for name, *_ in samples
    } <= expected


async def test_E3_every_name_unit_kind_and_bucket_is_the_table_s(observed: Observed) -> None:
    observed.instrument(track_payload_size=True)
    await _two_orders()
    metrics = observed.metrics()
    rows = {row.name: row for row in semconv.INSTRUMENTS}
    wrong = []
    for name, metric in metrics.items():
        row, data = rows[name], metric.data
        kind = semconv.HISTOGRAM if isinstance(data, Histogram) else semconv.GAUGE
        if isinstance(data, Sum):
            kind = semconv.COUNTER if data.is_monotonic else semconv.UP_DOWN_COUNTER
        bounds = {tuple(getattr(point, "explicit_bounds", ())) for point in data.data_points}
        keys = {key for point in data.data_points for key in point.attributes}
        if (kind, metric.unit, bounds) != (row.kind, row.unit, {row.boundaries}) or not keys <= set(row.attributes):
            wrong.append((name, kind, metric.unit, bounds, keys))
    assert wrong == []
    assert {semconv.EVENT_DURATION.name, semconv.WORKER_ACTIVE.name, semconv.ACTIVE_WORKFLOWS.name} <= metrics.keys()


async def test_E4_instrumenting_again_goes_on_with_the_same_streams(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            observed.instrument()
            await _two_orders()
            MultiAgentsInstrumentor().uninstrument()
    observed.instrument()
    metrics = observed.reader.get_metrics_data()
    assert metrics is not None
    names = [
        metric.name
        for resource in metrics.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    assert len(names) == len(set(names))
    assert [record.message for record in caplog.records if record.name.startswith("opentelemetry")] == []
    observed.reader.force_flush()
    assert sum(observed.sums(semconv.WORKFLOWS.name).values()) == 6


async def test_E5_a_wall_clock_that_is_set_back_leaves_times_true(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed.instrument()
    real, back = time.time_ns, 0
    monkeypatch.setattr(time, "time_ns", lambda: real() - back)
    bus = MemoryBus()
    instrument_event_bus(bus)

    async def set_back(_event: dict[str, Any]) -> None:
        nonlocal back
        back = 3_600_000_000_000

    await bus.start()
    await bus.subscribe("user.event", set_back)
    await bus.publish("user.event", {"id": "1"})
    await bus.drain()
    await bus.publish("user.event", {"id": "2"})
    await bus.drain()
    await bus.stop()
    assert all(span.end_ns >= span.start_ns for span in observed.named("process user.event"))
    (point,) = observed.metrics()[semconv.EVENT_DURATION.name].data.data_points
    assert (point.count, point.min >= 0, point.max < 3600) == (2, True, True)


async def test_E5_a_wall_clock_that_is_set_back_in_a_workflow_leaves_every_time_true(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, back = time.time_ns, 0

    def set_back(_worker: str, _payload: dict[str, Any]) -> None:
        nonlocal back
        back += 3_600_000_000_000

    # Modules of ours hold the function itself.
    for name, module in list(sys.modules.items()):
        if name == "time" or (name.startswith("multiagents_otel") and hasattr(module, "time_ns")):
            monkeypatch.setattr(module, "time_ns", lambda: real() - back)
    observed.instrument()
    async with order_system(workers=order_workers(probe=set_back)) as system:
        await system.wait_ended(await system.run())
        await system.bus.drain()
    assert back == 3 * 3_600_000_000_000
    spans = [received(span) for span in observed.spans]
    assert [span.name for span in spans if not 0 <= span.end_ns - span.start_ns < 60_000_000_000] == []
    queued = [span.attributes[QUEUE_TIME] for span in spans if QUEUE_TIME in span.attributes]
    histograms = [row.name for row in semconv.INSTRUMENTS if row.kind == semconv.HISTOGRAM and row.unit == "s"]
    metrics = observed.metrics()
    points = [point for name in histograms if name in metrics for point in metrics[name].data.data_points]
    assert len(queued) == 3
    assert [point for point in points if not 0 <= point.min <= point.max < 60] == []
    assert all(isinstance(seconds, float) and 0 <= seconds < 60 for seconds in queued)
    assert {semconv.EVENT_QUEUE_TIME.name, semconv.WORKFLOW_DURATION.name} <= metrics.keys()


@pytest.mark.parametrize("ahead_ns", [3_600_000_000_000, -3_600_000_000_000])
async def test_E5_the_clock_of_another_process_may_be_wrong(observed: Observed, ahead_ns: int) -> None:
    observed.instrument()
    bus = MemoryBus()
    instrument_event_bus(bus)
    data: dict[str, Any] = {"id": "1", "_otel": {"ts": time.time_ns() + ahead_ns}}

    async def handler(_event: dict[str, Any]) -> None: ...

    await bus.start()
    await bus.subscribe("user.event", handler)
    await bus.handlers["user.event"][0](data)
    await bus.stop()
    metrics = observed.metrics()
    assert semconv.EVENT_DURATION.name not in metrics  # no time between the two clocks is true
    (point,) = [point for point in metrics[semconv.EVENTS_CLOCK_SKEW.name].data.data_points if point.value]
    assert (point.value, dict(point.attributes)) == (1, {"event.type": "Event"})


async def test_E6_nothing_that_is_counted_depends_on_sampling() -> None:
    counted = []
    for sampler in (None, ALWAYS_OFF):
        observed = Observed(sampler)
        observed.instrument()
        await _two_orders(fail_at="charge_payment")
        rows = [row for row in semconv.INSTRUMENTS if row.kind == semconv.COUNTER]
        histograms = [row for row in semconv.INSTRUMENTS if row.kind == semconv.HISTOGRAM]
        counted.append(
            (
                {row.name: observed.sums(row.name, zeros=True) for row in rows},
                {row.name: observed.counts(row.name) for row in histograms},
                {span.name for span in observed.spans if semconv.SAMPLING_KEEP not in (span.attributes or {})},
            )
        )
        MultiAgentsInstrumentor().uninstrument()
        observed.close()
    assert counted[0][:2] == counted[1][:2]
    assert counted[0][2]
    assert counted[1][2] == set()  # nothing is recorded but what is kept because it failed


async def test_E7_after_uninstrument_nothing_is_observed(observed: Observed) -> None:
    observed.instrument()
    await _two_orders()
    assert semconv.EVENTS.name in observed.metrics()
    MultiAgentsInstrumentor().uninstrument()
    histograms = [row.name for row in semconv.INSTRUMENTS if row.kind == semconv.HISTOGRAM]
    recorded = {name: observed.counts(name) for name in histograms}
    await _two_orders()
    assert {name: observed.counts(name) for name in histograms} == recorded
    observable = {row.name for row in semconv.INSTRUMENTS if row.kind != semconv.HISTOGRAM}
    told = observable & {name for name, metric in observed.metrics().items() if metric.data.data_points}
    assert told == {semconv.PROCESS_RUNNING.name}
    # The histograms' last state is exported on: without this the process would seem to hang.
    assert [point.value for point in observed.metrics()[semconv.PROCESS_RUNNING.name].data.data_points] == [0]
    observed.instrument()
    async with order_system(monitors=False):
        assert observed.sums(semconv.PROCESS_RUNNING.name) == {series(): 1}
