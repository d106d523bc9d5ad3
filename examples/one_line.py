"""One file, one line: a workflow of two steps, seen as one trace.

python one_line.py
"""

import asyncio
import logging
import os

import structlog
from multiagents import Orchestrator, WorkerManager, WorkflowBuilder, worker
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore

import multiagents_otel

multiagents_otel.auto_instrument()  # the one line

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

# The framework logs every event to standard output: LOG_LEVEL=INFO shows that.
level = getattr(logging, os.environ.get("LOG_LEVEL", "WARNING"))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


@worker("write_greeting")
async def write_greeting(context: dict) -> dict:
    return {"greeting": f"Hello {context['name']}!"}


@worker("send_greeting")
async def send_greeting(context: dict) -> dict:
    return {"sent": True}


async def main() -> None:
    workflow = WorkflowBuilder("greeting")
    workflow.add_step("write", "write_greeting")
    workflow.add_step("send", "send_greeting")

    bus = RedisEventBus(REDIS_URL)
    workers = WorkerManager(bus)
    workers.register(write_greeting)
    workers.register(send_greeting)
    orchestrator = Orchestrator(workflow.build(), bus, RedisStateStore(REDIS_URL))

    ended: asyncio.Queue[str] = asyncio.Queue()

    async def on_status(event: dict) -> None:
        if event["status"] == "completed":
            await ended.put(event["metadata"]["transaction_id"])

    await bus.start()
    await bus.subscribe("status.workflow", on_status)
    await workers.start()
    await orchestrator.start()

    transaction = await orchestrator.execute_workflow("greeting", {"name": "Ada"})
    while await ended.get() != transaction:
        pass  # another one's, on the same Redis
    print(f"workflow {transaction} completed")

    await orchestrator.stop()
    await workers.stop()
    await bus.stop()


asyncio.run(main())
