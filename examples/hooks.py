"""Hooks: what only you know about a workflow, on its spans.

    python hooks.py

A hook is a plain function, called where the span is open. What it raises is counted and never reaches the
application.
"""

import asyncio
import logging
import os
import socket

import structlog
from multiagents import Orchestrator, WorkerManager, WorkflowBuilder, worker
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore
from opentelemetry.trace import Span

import multiagents_otel


def on_publish(span: Span, event_type: str, event: dict) -> None:
    """Before an event is sent: on the `send` span."""
    span.set_attribute("shop.priority", event["payload"].get("priority", "normal"))


def on_process(span: Span, event_type: str, event: dict) -> None:
    """Before an event is handled: on the `process` span."""
    span.set_attribute("shop.handled_by", socket.gethostname())


def on_step(span: Span, context, step: str) -> None:
    """When a step ends: on the `step` span. `context` is the framework's SagaContext."""
    span.set_attribute("shop.results_so_far", len(context.step_results))


def on_workflow(span: Span, context, status: str) -> None:
    """When a workflow ends: on the root, whatever its status."""
    span.set_attribute("shop.customer.tier", context.data["tier"])
    print(f"{context.workflow_id} of a {context.data['tier']} customer: {status}")


multiagents_otel.auto_instrument(
    publish_hook=on_publish,
    process_hook=on_process,
    step_hook=on_step,
    workflow_hook=on_workflow,
)

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

# The framework logs every event to standard output: LOG_LEVEL=INFO shows that.
level = getattr(logging, os.environ.get("LOG_LEVEL", "WARNING"))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


@worker("price_order")
async def price_order(order: dict) -> dict:
    return {"price": 42}


@worker("pack_order")
async def pack_order(order: dict) -> dict:
    return {"packed": True}


async def main() -> None:
    workflow = WorkflowBuilder("order_processing")
    workflow.add_step("price", "price_order")
    workflow.add_step("pack", "pack_order")

    bus = RedisEventBus(REDIS_URL)
    workers = WorkerManager(bus)
    workers.register(price_order)
    workers.register(pack_order)
    orchestrator = Orchestrator(workflow.build(), bus, RedisStateStore(REDIS_URL))
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def on_status(event: dict) -> None:
        if event["status"] == "completed":
            await ended.put(event["metadata"]["transaction_id"])

    await bus.start()
    await bus.subscribe("status.workflow", on_status)
    await workers.start()
    await orchestrator.start()

    transaction = await orchestrator.execute_workflow("order_processing", {"tier": "gold", "priority": "high"})
    while await ended.get() != transaction:
        pass  # another one's, on the same Redis

    await orchestrator.stop()
    await workers.stop()
    await bus.stop()


asyncio.run(main())
