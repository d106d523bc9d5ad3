"""The worker's process: start it first, in a terminal of its own.

    python worker.py

It ends when the orchestrator says that the shop has closed; one in production waits for SIGTERM.
"""

import asyncio
import logging
import os

import structlog
from multiagents import WorkerManager, worker
from multiagents.event_bus.redis_bus import RedisEventBus

import multiagents_otel

os.environ.setdefault("OTEL_SERVICE_NAME", "shop-worker")
multiagents_otel.auto_instrument()

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

# The framework logs every event to standard output: LOG_LEVEL=INFO shows that.
level = getattr(logging, os.environ.get("LOG_LEVEL", "WARNING"))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


@worker("reserve_stock")
async def reserve_stock(order: dict) -> dict:
    return {"reserved": order["item"]}


@worker("ship_order")
def ship_order(order: dict) -> dict:  # a plain function: it runs in a thread, and stays in the trace
    return {"parcel": order["item"]}


async def main() -> None:
    bus = RedisEventBus(REDIS_URL)
    workers = WorkerManager(bus)
    workers.register(reserve_stock)
    workers.register(ship_order)
    closed = asyncio.Event()

    async def on_closed(event: dict) -> None:
        closed.set()

    await bus.start()
    await bus.subscribe("shop.closed", on_closed)
    await workers.start()
    print("worker: waiting for orders", flush=True)

    await closed.wait()
    await workers.stop()
    await bus.stop()
    print("worker: the shop has closed")


asyncio.run(main())
