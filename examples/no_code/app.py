"""No code: nothing in this file knows of OpenTelemetry. The launcher does all of it.

opentelemetry-instrument python app.py
multiagents-otel run python app.py
"""

import asyncio
import logging
import os

import structlog
from multiagents import Orchestrator, WorkerManager, WorkflowBuilder, worker
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

# The framework logs every event to standard output: LOG_LEVEL=INFO shows that.
level = getattr(logging, os.environ.get("LOG_LEVEL", "WARNING"))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


@worker("find_words")
async def find_words(context: dict) -> dict:
    return {"words": len(context["text"].split())}


async def main() -> None:
    workflow = WorkflowBuilder("word_count")
    workflow.add_step("count", "find_words")

    bus = RedisEventBus(REDIS_URL)
    workers = WorkerManager(bus)
    workers.register(find_words)
    orchestrator = Orchestrator(workflow.build(), bus, RedisStateStore(REDIS_URL))
    ended: asyncio.Queue[dict] = asyncio.Queue()

    async def on_status(event: dict) -> None:
        if event["status"] == "completed":
            await ended.put(event)

    await bus.start()
    await bus.subscribe("status.workflow", on_status)
    await workers.start()
    await orchestrator.start()

    transaction = await orchestrator.execute_workflow("word_count", {"text": "a trace reads as its workflow reads"})
    while (event := await ended.get())["metadata"]["transaction_id"] != transaction:
        pass  # another one's, on the same Redis
    print(f"{event['payload']['step_results']['count']['words']} words")

    await orchestrator.stop()
    await workers.stop()
    await bus.stop()


asyncio.run(main())
