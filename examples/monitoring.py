"""Monitors: three orders, one of them declined, and what the process then knows of itself.

python monitoring.py
"""

import asyncio
import logging
import os

import structlog
from multiagents import Orchestrator, WorkerManager, WorkflowBuilder, worker
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore

import multiagents_otel

# A dict, or the path of a YAML or JSON file of the same shape.
monitoring = multiagents_otel.auto_instrument(
    config={
        "logging": {"default_logger": "file"},  # ./logs/multiagents.log
        "worker_monitoring": {"error_rate_threshold": 0.05},
    }
)

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

# The framework logs every event to standard output: LOG_LEVEL=INFO shows that.
level = getattr(logging, os.environ.get("LOG_LEVEL", "CRITICAL"))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


@worker("reserve_stock")
async def reserve_stock(context: dict) -> dict:
    return {"reserved": True}


@worker("charge_card")
async def charge_card(context: dict) -> dict:
    if context["total"] > 1000:
        raise ValueError("card declined")
    await monitoring.metrics_collector.record_metric("order_value", context["total"], {"currency": "EUR"})
    return {"charged": True}


async def main() -> None:
    workflow = WorkflowBuilder("order_processing")
    workflow.add_step("reserve", "reserve_stock")
    workflow.add_step("charge", "charge_card")

    bus = RedisEventBus(REDIS_URL)  # the framework's own monitors give way to those of the configuration
    workers = WorkerManager(bus)
    workers.register(reserve_stock)
    workers.register(charge_card)
    orchestrator = Orchestrator(workflow.build(), bus, RedisStateStore(REDIS_URL))

    ended: asyncio.Queue[str] = asyncio.Queue()

    async def on_status(event: dict) -> None:
        if event["status"] in ("completed", "compensated"):
            await ended.put(event["metadata"]["transaction_id"])

    await bus.start()
    await bus.subscribe("status.workflow", on_status)
    await workers.start()
    await orchestrator.start()

    for total in (20, 35, 4200):
        transaction = await orchestrator.execute_workflow("order_processing", {"total": total})
        while await ended.get() != transaction:
            pass  # another one's, on the same Redis

    commands = await monitoring.event_monitor.get_event_type_metrics("CommandEvent")
    print(f"commands: {commands['count']}, failed: {commands['error_count']}")
    for name, health in (await monitoring.worker_monitor.get_all_workers_health()).items():
        print(": ".join([name, health["status"], *health["issues"]]))
    orders = await monitoring.metrics_collector.get_metric_aggregations("order_value")
    print(f"orders: {orders['count']}, on average {orders['avg']:.2f} EUR")
    for entry in await monitoring.event_monitor.get_transaction_trace(transaction):
        if entry["event_type"] == "CommandEvent":
            print(f"{entry['name']}: {entry['error'] or entry['stage']}")

    await orchestrator.stop()
    await workers.stop()
    await bus.stop()


asyncio.run(main())
