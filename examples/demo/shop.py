"""The demo's orchestrator process: three orders, one of each fate.

A workflow hook tells how each of them ended. For the third one it is the only way to know: the framework
waits for ever for a worker that is not there.
"""

import asyncio
import functools
import logging
import os

import structlog
from multiagents import Orchestrator, WorkflowBuilder, WorkflowDefinition
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore

import multiagents_otel

REDIS_URL = os.environ["REDIS_URL"]
TIMEOUT = 30.0

ended: asyncio.Queue[str] = asyncio.Queue()


def on_workflow(span, context, status: str) -> None:
    """A workflow has ended, or can't."""
    ended.put_nowait(status)


multiagents_otel.auto_instrument(workflow_hook=on_workflow, excluded_events="shop.*")
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def workflow(name: str, last_step: str, last_worker: str) -> WorkflowDefinition:
    """Validate, charge, and one step more."""
    builder = WorkflowBuilder(name)
    builder.add_step("validate", "validate_order")
    builder.add_step("charge", "charge_payment", compensation="refund")
    builder.add_step(last_step, last_worker)
    return builder.build()


async def take(definition: WorkflowDefinition, *orders: dict) -> None:
    """Run orders, one after the other."""
    bus = RedisEventBus(REDIS_URL)
    orchestrator = Orchestrator(definition, bus, RedisStateStore(REDIS_URL))
    settled = asyncio.Event()

    async def on_settled(event: dict) -> None:
        settled.set()

    await bus.start()
    # The framework polls, and keeps a core busy: wait for a message instead, as `multiagents-otel doctor` advises.
    bus.pubsub.get_message = functools.partial(bus.pubsub.get_message, timeout=0.5)
    await bus.subscribe("shop.settled", on_settled)
    await orchestrator.start()
    for order in orders:
        await orchestrator.execute_workflow(definition.get_id(), order)
        status = await asyncio.wait_for(ended.get(), TIMEOUT)
        print(f"{order['number']}|{order['quantity']} {order['item']}|{status}", flush=True)
    # The bus handles one message after the other: when this one comes, those before it are done.
    await bus.publish("shop.settled", {})
    await asyncio.wait_for(settled.wait(), TIMEOUT)
    await orchestrator.stop()
    await bus.stop()


async def main() -> None:
    await take(
        workflow("order_processing", "ship", "ship_order"),
        {"number": 1001, "quantity": 1, "item": "teapot"},
        {"number": 1002, "quantity": 11, "item": "samovars"},
    )
    await take(
        workflow("gift_order", "wrap", "wrap_gift"),
        {"number": 1003, "quantity": 2, "item": "tea sets, as a gift"},
    )


asyncio.run(main())
