"""The orchestrator's process: three orders, each one trace that runs through both processes.

    python orchestrator.py

Start worker.py first: what an order needs and nobody serves is lost, and its workflow shows as stalled.
"""

import asyncio
import logging
import os

import structlog
from multiagents import Orchestrator, WorkflowBuilder
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore

import multiagents_otel

os.environ.setdefault("OTEL_SERVICE_NAME", "shop-orchestrator")
multiagents_otel.auto_instrument()

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

# The framework logs every event to standard output: LOG_LEVEL=INFO shows that.
level = getattr(logging, os.environ.get("LOG_LEVEL", "WARNING"))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


async def main() -> None:
    workflow = WorkflowBuilder("order_processing")
    workflow.add_step("reserve", "reserve_stock")
    workflow.add_step("ship", "ship_order")

    bus = RedisEventBus(REDIS_URL)
    orchestrator = Orchestrator(workflow.build(), bus, RedisStateStore(REDIS_URL))
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def on_status(event: dict) -> None:
        if event["status"] == "completed":
            await ended.put(event["metadata"]["transaction_id"])

    await bus.start()
    await bus.subscribe("status.workflow", on_status)
    await orchestrator.start()

    for item in ("teapot", "kettle", "samovar"):
        transaction = await orchestrator.execute_workflow("order_processing", {"item": item})
        while await ended.get() != transaction:
            pass  # another one's, on the same Redis
        print(f"orchestrator: {item} shipped, transaction {transaction}")

    # An event of one's own, outside any workflow, is a small trace by itself.
    await bus.publish("shop.closed", {"orders": 3})
    await orchestrator.stop()
    await bus.stop()


asyncio.run(main())
