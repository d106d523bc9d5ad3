"""The numbers: against a count that the application keeps itself, over a run with a bit of everything."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.orchestrator.workflow import WorkflowBuilder
from multiagents.worker_sdk.decorators import worker
from multiagents.worker_sdk.worker_manager import WorkerManager
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from multiagents_otel import MultiAgentsInstrumentor
from tests.contract.answering import AnsweringBus
from tests.contract.observed import Observed, Series, series, values_of
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.sagas import (
    SilentLogger,
    order_payload,
    order_system,
    order_workers,
    subscribe_compensations,
)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Orchestrators and managers of other tests are gone: ``instrument()`` takes up those that still exist."""
    gc.collect()
    yield
    gc.collect()


def workflows(**statuses: int) -> dict[Series, int]:
    return {series(workflow__id="order_processing", status=status): n for status, n in statuses.items()}


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF])
async def test_every_number_is_the_applications_own_count_whatever_the_sampling(sampler: Sampler) -> None:
    observed = Observed(sampler=sampler).instrument()
    called: Counter[str] = Counter()
    failed: Counter[str] = Counter()

    def probe(name: str, payload: dict[str, Any]) -> None:
        called[name] += 1
        failed[name] += payload.get("fail_at") == name

    bus = AnsweringBus()
    compensated = 0
    async with order_system(bus, workers=order_workers(probe=probe), monitors=False) as system:
        received = await subscribe_compensations(bus)
        for _ in range(5):
            await system.run()
        for worker_name in ("validate_order", "charge_payment", "ship_order", "ship_order"):
            await system.run(order_payload(fail_at=worker_name))
        await bus.drain()
        compensated = len(received)
        bus.lost.add("command.ship_order")
        for _ in range(2):
            await system.run()
        await bus.drain()
        bus.lost.clear()
        bus.failures["command.charge_payment"] = ConnectionError("broker gone")
        await system.run()
        await bus.drain()
    wire = Counter(m.event_type for m in bus.wire)
    kinds = Counter(m.event["type"] for m in bus.wire)
    executions = sum(called.values())
    errors = sum(failed.values())
    assert errors == 4
    assert compensated == 2
    assert observed.sums("multiagents.workflows.started") == {series(workflow__id="order_processing"): 12}
    assert observed.sums("multiagents.workflows") == workflows(completed=5, compensated=2, failed=3, stalled=2)
    assert observed.counts("multiagents.workflow.duration") == workflows(
        completed=5, compensated=2, failed=3, stalled=2
    )
    assert observed.sums("multiagents.worker.executions") == {
        **{series(worker__name=n, status="success"): c - failed[n] for n, c in called.items() if c > failed[n]},
        **{series(worker__name=n, status="error"): c for n, c in failed.items() if c},
    }
    assert observed.counts("multiagents.worker.duration") == {series(worker__name=n): c for n, c in called.items()}
    assert observed.counts("multiagents.event.queue_time") == {series(worker__name=n): c for n, c in called.items()}
    assert observed.sums("multiagents.worker.errors") == {
        series(worker__name=n, error__type="ValueError"): c for n, c in failed.items() if c
    }
    assert observed.sums("multiagents.events") == {
        series(event__type="CommandEvent", status="success"): executions - errors,
        series(event__type="CommandEvent", status="error"): errors + 2 + 1,  # lost, and not published
        series(event__type="ResultEvent", status="success"): executions - errors,
        series(event__type="ResultEvent", status="error"): errors,
        series(event__type="CompensationEvent", status="success"): compensated,
    }
    assert observed.counts("multiagents.event.duration") == {
        series(event__type="CommandEvent"): executions,
        series(event__type="ResultEvent"): executions,
        series(event__type="CompensationEvent"): compensated,
    }
    assert executions == sum(n for name, n in wire.items() if name.startswith("result."))
    assert observed.sums("multiagents.events.undelivered") == {
        series(event__type="CommandEvent", worker__name="ship_order"): 2
    }
    assert observed.sums("multiagents.events.publish_errors") == {
        series(event__type="CommandEvent", error__type="ConnectionError"): 1
    }
    assert observed.sums("multiagents.compensations") == {
        series(workflow__id="order_processing", status="delivered"): compensated
    }
    steps = observed.counts("multiagents.step.duration")
    assert sum(steps.values()) == kinds["command"] + 1
    sizes = observed.counts("multiagents.event.size")
    assert sizes == {
        series(event__type="CommandEvent"): kinds["command"],
        series(event__type="ResultEvent"): kinds["result"],
        series(event__type="CompensationEvent"): kinds["compensation"],
        series(event__type="StatusEvent"): kinds["status"],
    }
    for gauge in ("events.in_flight", "worker.active", "active_workflows"):
        assert observed.sums(f"multiagents.{gauge}") == {}
    assert observed.sums("multiagents.workflows.stalled") == {series(workflow__id="order_processing"): 2}
    assert observed.sums("multiagents.workflow.stalls") == {series(workflow__id="order_processing"): 2}
    assert observed.sums("multiagents.otel.errors") == {}
    observed.close()


async def test_known_series_are_there_at_zero_from_registration_on(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False):
        metrics = observed.metrics()
    order, names = "order_processing", ("validate_order", "charge_payment", "ship_order")
    every_worker = {series(worker__name=name): 0 for name in names}
    statuses = ("completed", "failed", "compensated", "cancelled", "stalled")
    counted = {name: metric for name, metric in metrics.items() if not name.startswith("multiagents.system.")}
    assert {name: values_of(metric, zeros=True) for name, metric in counted.items()} == {
        "multiagents.events": {
            series(event__type=kind, status=status): 0
            for kind in ("CommandEvent", "ResultEvent")
            for status in ("success", "error")
        },
        "multiagents.events.undelivered": {
            series(event__type=kind, worker__name=name): 0 for kind in ("CommandEvent", "ResultEvent") for name in names
        },
        "multiagents.events.stale": every_worker,
        "multiagents.events.clock_skew": {series(event__type=kind): 0 for kind in ("CommandEvent", "ResultEvent")},
        "multiagents.commands.duplicated": every_worker,
        "multiagents.results.duplicated": every_worker,
        "multiagents.events.in_flight": every_worker,
        "multiagents.worker.active": every_worker,
        "multiagents.worker.executions": {
            series(worker__name=name, status=status): 0
            for name in names
            for status in ("success", "error", "cancelled")
        },
        "multiagents.worker.errors": {series(worker__name=name, error__type="timeout"): 0 for name in names},
        "multiagents.process.running": {series(): 1},
        "multiagents.workflows.started": {series(workflow__id=order): 0},
        "multiagents.workflows": {series(workflow__id=order, status=status): 0 for status in statuses},
        "multiagents.workflow.stalls": {series(workflow__id=order): 0},
        "multiagents.workflows.stalled": {series(workflow__id=order): 0},
        "multiagents.active_workflows": {series(workflow__id=order): 0},
        "multiagents.compensations": {
            series(workflow__id=order, status=status): 0 for status in ("delivered", "undelivered")
        },
    }


async def test_exemplars_are_the_spans_that_the_measurement_is_about(observed: Observed) -> None:
    observed.instrument()
    async with order_system(AnsweringBus(), monitors=False) as system:
        await system.run()
        await system.bus.drain()
    root, metrics = observed.root(), observed.metrics()

    def exemplars(name: str) -> set[str]:
        points = metrics[name].data.data_points
        found = [exemplar for point in points for exemplar in point.exemplars]
        assert {f"{e.trace_id:032x}" for e in found} == {root.trace_id}, name
        return {f"{e.span_id:016x}" for e in found}

    def spans(*prefixes: str) -> set[str]:
        return {f"{s.context.span_id:016x}" for s in observed.spans if s.context and s.name.startswith(prefixes)}

    assert exemplars("multiagents.workflow.duration") == {root.span_id}
    assert exemplars("multiagents.step.duration") == spans("step.")
    assert exemplars("multiagents.worker.duration") == spans("worker.")
    assert exemplars("multiagents.event.queue_time") == spans("process command.")
    assert exemplars("multiagents.event.duration") <= spans("process ")
    assert exemplars("multiagents.event.size") <= spans("send ", "workflow.")


def wild_worker(number: int) -> Any:
    """A worker with a name and an error of its own."""
    error: Any = type(f"Wild{number}", (Exception,), {"__module__": "builtins"})

    async def work(payload: dict[str, Any]) -> dict[str, Any]:
        raise error("wild")

    return worker(f"w{number}")(work)


async def test_E1_names_that_run_wild_are_other_beyond_the_limits(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    await bus.start()
    manager = WorkerManager(bus, logger=SilentLogger())
    manager.event_monitor = manager.worker_monitor = manager.monitoring_logger = None
    for number in range(205):
        manager.register(wild_worker(number))
    await manager.start()
    for number in range(205):
        builder = WorkflowBuilder(f"flow{number}").add_step(f"step{number}", f"w{number}")
        orchestrator = Orchestrator(builder.build(), bus, MemoryStore(), logger=SilentLogger())
        await orchestrator.start()
        await orchestrator.execute_workflow(f"flow{number}", {})
    await bus.drain()
    await manager.stop()
    await bus.stop()

    def values(name: str, key: str) -> set[Any]:
        return {dict(attributes)[key] for attributes in observed.sums(name)}

    executed = observed.sums("multiagents.worker.executions")
    assert values("multiagents.worker.executions", "worker.name") == {f"w{n}" for n in range(200)} | {"_OTHER"}
    assert executed[series(worker__name="_OTHER", status="error")] == 5
    assert sum(executed.values()) == 205
    assert values("multiagents.workflows", "workflow.id") == {f"flow{n}" for n in range(200)} | {"_OTHER"}
    assert sum(observed.sums("multiagents.workflows").values()) == 205
    errors = values("multiagents.worker.errors", "error.type")
    assert "_OTHER" in errors
    assert len(errors) <= 51
    assert sum(observed.sums("multiagents.worker.errors").values()) == 205
    names = {span.name for span in observed.spans if span.name.startswith("worker.")}
    assert names == {f"worker.w{n}" for n in range(200)} | {"worker._OTHER"}
    # Spans keep the true names.
    assert len({(s.attributes or {})["worker.name"] for s in observed.spans if s.name.startswith("worker.")}) == 205


async def test_D3_E7_gauges_are_zero_again_and_unobserved_after_uninstrument(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        await system.run()
        assert observed.sums("multiagents.active_workflows") == {series(workflow__id="order_processing"): 1}
        assert observed.sums("multiagents.events.in_flight") == {series(worker__name="validate_order"): 1}
        MultiAgentsInstrumentor().uninstrument()
        assert observed.sums("multiagents.active_workflows") == {}
        assert observed.sums("multiagents.events.in_flight") == {}
        await system.bus.drain()
    observed.instrument()
    for gauge in ("events.in_flight", "worker.active", "active_workflows"):
        assert observed.sums(f"multiagents.{gauge}") == {}
