"""Programs with monitors: an orchestrator and a worker in processes of their own, and one that forks.

Each tells, as a line of JSON, what its monitors say when it is asked to stop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from typing import Any


def _monitors() -> tuple[Any, Any]:
    import structlog

    from multiagents_otel import EventMonitor, WorkerMonitor
    from multiagents_otel.processing.guard import Guard

    Guard.strict = True
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if "OPTIONS" in os.environ:
        from multiagents_otel import auto_instrument

        auto_instrument(**json.loads(os.environ["OPTIONS"]))
    return EventMonitor(), WorkerMonitor()


async def _told(events: Any, workers: Any) -> None:
    kinds = ("CommandEvent", "ResultEvent", "CompensationEvent", "StatusEvent")
    told = {
        "events": {kind: await events.get_event_type_metrics(kind) for kind in kinds},
        "metrics": await events.get_event_metrics(),
        "workers": await workers.get_worker_performance_summary(),
        "health": await workers.get_all_workers_health(),
    }
    print("told", json.dumps(told), flush=True)


async def _statuses(events: Any, count: int) -> None:
    """Wait for the last status event, which is published after the state of the workflow has been set."""
    deadline = time.monotonic() + 60
    while (await events.get_event_type_metrics("StatusEvent"))["count"] < count and time.monotonic() < deadline:
        await asyncio.sleep(0.01)


async def _line() -> str:
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return str(line).strip()


def worker() -> None:
    asyncio.run(_worker())


async def _worker() -> None:
    events, workers = _monitors()
    from multiagents.event_bus.redis_bus import RedisEventBus
    from multiagents.worker_sdk.worker_manager import WorkerManager

    from tests.support.sagas import SilentLogger, order_workers, subscribe_compensations, wait_for_messages

    wait_for_messages()
    bus = RedisEventBus(os.environ["REDIS_URL"], event_monitor=events, logger=SilentLogger())
    manager = WorkerManager(bus, worker_monitor=workers, logger=SilentLogger())
    for order_worker in order_workers():
        manager.register(order_worker)
    await bus.start()
    await manager.start()
    await subscribe_compensations(bus)
    print("ready", flush=True)
    await _line()
    await manager.stop()
    await bus.stop()
    await _told(events, workers)


def orchestrator() -> None:
    asyncio.run(_orchestrator())


async def _orchestrator() -> None:
    events, workers = _monitors()
    from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore
    from multiagents.orchestrator.orchestrator import Orchestrator

    from tests.support.sagas import SilentLogger, order_workflow, run_order, wait_ended, wait_for_messages

    wait_for_messages()
    bus = RedisEventBus(os.environ["REDIS_URL"], event_monitor=events, logger=SilentLogger())
    store: Any = RedisStateStore(os.environ["REDIS_URL"])
    orchestrator = Orchestrator(order_workflow(), bus, store, logger=SilentLogger())
    await bus.start()
    await store.connect()
    await orchestrator.start()
    print("ready", flush=True)
    orders = 0
    while (line := await _line()) not in ("", "stop"):
        transaction = await run_order(orchestrator, json.loads(line))
        await wait_ended(orchestrator, transaction, timeout=60)
        orders += 1
        await _statuses(events, 2 * orders)
        print("ended", transaction, flush=True)
    await orchestrator.stop()
    await bus.stop()
    await store.disconnect()
    await _told(events, workers)
