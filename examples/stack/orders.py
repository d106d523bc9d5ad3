"""The stack's orchestrator process: orders without end. Some are for more than there is, a few are gifts.

The first are compensated. Nobody wraps gifts: those stall.
"""

import asyncio
import functools
import logging
import os
import signal

import structlog
from multiagents import Orchestrator, WorkflowBuilder, WorkflowDefinition
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore
from multiagents.monitoring.config import LoggingConfig, MonitoringConfig

import multiagents_otel

multiagents_otel.auto_instrument()
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
TO_FILE = MonitoringConfig(logging=LoggingConfig(default_logger="file"))  # and not to standard error

REDIS_URL = os.environ["REDIS_URL"]
PAUSE = 1 / float(os.environ.get("ORDERS_PER_SECOND", "5"))
TOO_MANY, GIFT = 12, 100  # one of so many


def workflows() -> tuple[WorkflowDefinition, WorkflowDefinition]:
    """Parcels and gifts. No worker is in both: each orchestrator would take the other's results for its own."""
    parcels, gifts = WorkflowBuilder("order_processing"), WorkflowBuilder("gift_order")
    parcels.add_step("validate", "validate_order")
    parcels.add_step("charge", "charge_payment", compensation="refund")
    parcels.add_step("ship", "ship_order")
    gifts.add_step("wrap", "wrap_gift")
    return parcels.build(), gifts.build()


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bus = RedisEventBus(REDIS_URL, monitoring_config=TO_FILE)
    store = RedisStateStore(REDIS_URL)
    parcels, gifts = workflows()
    orchestrators = {each: Orchestrator(each, bus, store, monitoring_config=TO_FILE) for each in (parcels, gifts)}
    await bus.start()
    # The framework polls, and keeps a core busy: wait for a message instead, as `multiagents-otel doctor` advises.
    bus.pubsub.get_message = functools.partial(bus.pubsub.get_message, timeout=0.5)
    for orchestrator in orchestrators.values():
        await orchestrator.start()
    print("open", flush=True)

    number = 0
    while not stop.is_set():
        number += 1
        kind = parcels if number % GIFT else gifts
        order = {"number": number, "quantity": 1 if number % TOO_MANY else 11, "item": "samovars"}
        await orchestrators[kind].execute_workflow(kind.get_id(), order)
        try:
            await asyncio.wait_for(stop.wait(), PAUSE)
        except asyncio.TimeoutError:
            pass

    for orchestrator in orchestrators.values():
        await orchestrator.stop()
    await bus.stop()


asyncio.run(main())
