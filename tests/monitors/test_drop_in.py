"""The real framework on a real Redis, however the monitors reach it: the same true numbers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from multiagents.core.factory import create_simple_framework
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore
from multiagents.monitoring.interfaces import IEventMonitor
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.worker_sdk.worker_manager import WorkerManager

from multiagents_otel import EventMonitor, WorkerMonitor
from tests.contract.observed import Observed, series
from tests.support.deadline import DEADLINE
from tests.support.redis_server import RedisServer
from tests.support.sagas import (
    WORKERS,
    OrderSystem,
    SilentLogger,
    order_payload,
    order_workers,
    order_workflow,
    subscribe_compensations,
)

WAYS = ("create_simple_framework", "default construction", "on the bus", "on the bus and the manager", "everywhere")


@asynccontextmanager
async def system(url: str, way: str, events: Any, workers: Any) -> AsyncIterator[OrderSystem]:
    """The parts as a user wires them, with our monitors handed over in one of the ways."""
    bus, manager, orchestrator = await wired(url, way, events, workers)
    for worker in order_workers():
        manager.register(worker)
    async with AsyncExitStack() as running:
        await bus.start()
        running.push_async_callback(bus.stop)
        await manager.start()
        running.push_async_callback(manager.stop)
        await orchestrator.start()
        running.push_async_callback(orchestrator.stop)
        yield OrderSystem(bus, orchestrator.state_store, manager, orchestrator)


async def wired(url: str, way: str, events: Any, workers: Any) -> tuple[RedisEventBus, WorkerManager, Any]:
    orchestrator: Any
    if way == "create_simple_framework":
        bus, manager, orchestrator = await create_simple_framework(order_workflow(1), url)
        orchestrator.state_store = RedisStateStore(url)
        return bus, manager, orchestrator
    on_bus = None if way == "default construction" else events
    on_manager = events if way == "everywhere" else None
    of_manager = workers if way in ("on the bus and the manager", "everywhere") else None
    store: Any = RedisStateStore(url)
    logger = SilentLogger()
    bus = RedisEventBus(url, event_monitor=on_bus, logger=logger)
    manager = WorkerManager(bus, event_monitor=on_manager, worker_monitor=of_manager, logger=logger)
    orchestrator = Orchestrator(order_workflow(1), bus, store, logger=logger)
    return bus, manager, orchestrator


async def run_orders(parts: OrderSystem) -> list[str]:
    """Three orders: one is completed, one fails at its last step, one times out there."""
    payloads = [order_payload(), order_payload(fail_at="ship_order"), order_payload(hang_at="ship_order")]
    transactions = []
    for payload in payloads:
        transactions.append(await parts.run(payload))
        await parts.wait_ended(transactions[-1])
    return transactions


async def all_seen(events: EventMonitor, total: int) -> None:
    """Wait for the last events: a workflow has its state before it tells of it."""
    deadline = time.monotonic() + DEADLINE
    while (await events.get_event_metrics())["total_events"] < total:
        assert time.monotonic() < deadline, await events.get_event_metrics()
        await asyncio.sleep(0.005)


EXPECTED_WORKERS = {
    "validate_order": (3, 3, 0, 0),
    "charge_payment": (3, 3, 0, 0),
    "ship_order": (3, 1, 2, 1),
}
"""Executions, successes, errors, timeouts among them."""


def counts(metrics: dict[str, Any]) -> tuple[int, int, int, int]:
    return metrics["count"], metrics["success_count"], metrics["error_count"], metrics["timeout_count"]


async def check_workers(workers: WorkerMonitor) -> None:
    summary = await workers.get_worker_performance_summary()
    told = {
        name: (m["total_executions"], m["success_count"], m["error_count"], m["timeout_count"])
        for name, m in summary["worker_metrics"].items()
    }
    assert told == EXPECTED_WORKERS
    assert summary["total_workers"] == 3
    aggregated = summary["aggregated_metrics"]
    assert aggregated["total_commands"] == 9
    assert aggregated["average_success_rate"] == pytest.approx(100 * 7 / 9)
    assert (aggregated["failed_commands"], aggregated["timeout_commands"]) == (1, 1)
    assert (await workers.get_worker_performance("ship_order"))["p95_duration_ms"] > 900, "the timeout is a second"
    health = await workers.get_all_workers_health()
    assert {name: told["status"] for name, told in health.items()} == {
        "validate_order": "healthy",
        "charge_payment": "healthy",
        "ship_order": "failed",
    }
    json.dumps([summary, health])


@pytest.mark.parametrize("way", WAYS)
async def test_an_instrumented_system_is_told_of_whole(
    way: str, redis: RedisServer, observed: Observed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the framework's default logger writes ./logs
    observed.instrument()
    events, workers = EventMonitor(), WorkerMonitor()
    async with system(redis.url, way, events, workers) as parts:
        await subscribe_compensations(parts.bus)
        transactions = await run_orders(parts)
        await all_seen(events, 26)
    assert counts(await events.get_event_type_metrics("CommandEvent")) == (9, 7, 2, 1)
    assert counts(await events.get_event_type_metrics("result")) == (9, 7, 2, 1)
    assert counts(await events.get_event_type_metrics("CompensationEvent")) == (2, 2, 0, 0)
    assert counts(await events.get_event_type_metrics("StatusEvent")) == (6, 6, 0, 0)
    metrics = await events.get_event_metrics()
    assert metrics["total_events"] == 26
    assert metrics["pending"] == 0
    assert metrics["p99_latency_ms"] > 900
    assert metrics["avg_payload_bytes"] > 100
    assert issubclass(EventMonitor, IEventMonitor)
    await check_workers(workers)
    exported = observed.sums("multiagents.events")
    for kind in ("CommandEvent", "ResultEvent", "CompensationEvent"):
        _count, success, error, _timeout = counts(await events.get_event_type_metrics(kind))
        assert exported.get(series(event__type=kind, status="success"), 0) == success
        assert exported.get(series(event__type=kind, status="error"), 0) == error
    executions = observed.sums("multiagents.worker.executions")
    for name, (_total, success, error, _timeout) in EXPECTED_WORKERS.items():
        assert executions.get(series(worker__name=name, status="success"), 0) == success
        assert executions.get(series(worker__name=name, status="error"), 0) == error
    assert observed.sums("multiagents.worker.health", zeros=True) == {
        series(worker__name="validate_order"): 0,
        series(worker__name="charge_payment"): 0,
        series(worker__name="ship_order"): 2,
    }
    await check_trace(events, transactions[1], observed)


async def check_trace(events: EventMonitor, transaction: str, observed: Observed) -> None:
    trace = await events.get_transaction_trace(transaction)
    assert trace == sorted(trace, key=lambda entry: entry["timestamp"])
    stages: dict[str, list[str]] = {}
    for entry in trace:
        if entry["name"] != "status.workflow":
            stages.setdefault(entry["name"], []).append(entry["stage"])
    done, failed = ["published", "received", "completed"], ["published", "received", "error"]
    expected = {f"{kind}.{worker}": done for worker in WORKERS for kind in ("command", "result")}
    expected |= {"command.ship_order": failed, "result.ship_order": failed, "compensation.refund_payment": done}
    assert stages == expected
    (error,) = [entry for entry in trace if entry["name"] == "command.ship_order" and entry["stage"] == "error"]
    assert error["error"] == "declined"
    assert error["duration_ms"] > 0
    spans = {f"{span.context.trace_id:032x}" for span in observed.spans if span.context is not None}
    assert {entry["trace_id"] for entry in trace} - {None} <= spans
    told = await events.get_event_trace(error["event_id"])
    assert told is not None
    assert (told["status"], told["worker_type"], told["error_message"]) == ("failed", "ship_order", "declined")
    of_transaction = await events.get_transaction_events(transaction)
    assert len(of_transaction) == 9
    json.dumps([trace, told, of_transaction])


EXPECTED_BARE = {
    "on the bus": ((9, 0, 0, 0), (9, 0, 0, 0)),
    "on the bus and the manager": ((9, 7, 2, 1), (9, 7, 2, 1)),
    "everywhere": ((9, 7, 2, 1), (9, 7, 2, 1)),
}


@pytest.mark.parametrize("way", EXPECTED_BARE)
async def test_a_system_that_is_not_instrumented_is_told_of_by_the_framework(way: str, redis: RedisServer) -> None:
    """Nobody tells it of receipts; on the bus alone, nobody tells it of outcomes either."""
    events, workers = EventMonitor(), WorkerMonitor()
    async with system(redis.url, way, events, workers) as parts:
        await run_orders(parts)
        await all_seen(events, 26)
    commands, results = EXPECTED_BARE[way]
    assert counts(await events.get_event_type_metrics("CommandEvent")) == commands
    assert counts(await events.get_event_type_metrics("ResultEvent")) == results
    assert counts(await events.get_event_type_metrics("StatusEvent")) == (6, 6, 0, 0)
    assert (await events.get_event_metrics())["total_events"] == 26
    if way != "on the bus":
        await check_workers(workers)
        assert (await events.get_event_metrics())["pending"] == 0
        command = await events.get_event_type_metrics("command")
        assert command["p99_latency_ms"] > 900, "from the dispatch until the worker ended"
