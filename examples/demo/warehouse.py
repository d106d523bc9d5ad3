"""The demo's worker process. Nobody here wraps gifts."""

import asyncio
import functools
import logging
import os
import signal

import structlog
from multiagents import WorkerManager, worker
from multiagents.event_bus.redis_bus import RedisEventBus
from multiagents.monitoring.config import LoggingConfig, MonitoringConfig

import multiagents_otel

multiagents_otel.auto_instrument()
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
TO_FILE = MonitoringConfig(logging=LoggingConfig(default_logger="file"))  # and not to standard error


class OutOfStockError(Exception):
    """Nothing left to ship."""


@worker("validate_order")
async def validate_order(order: dict) -> dict:
    await asyncio.sleep(0.004)
    return {"valid": order["quantity"] > 0}


@worker("charge_payment")
async def charge_payment(order: dict) -> dict:
    await asyncio.sleep(0.018)
    return {"payment": f"payment {order['number']}"}


@worker("ship_order")
async def ship_order(order: dict) -> dict:
    await asyncio.sleep(0.009)
    if order["quantity"] > 10:
        raise OutOfStockError(f"not {order['quantity']} {order['item']} in stock")
    return {"parcel": f"parcel {order['number']}"}


async def refund(event: dict) -> None:
    await asyncio.sleep(0.006)


async def main() -> None:
    bus = RedisEventBus(os.environ["REDIS_URL"], monitoring_config=TO_FILE)
    workers = WorkerManager(bus, monitoring_config=TO_FILE)
    for each in (validate_order, charge_payment, ship_order):
        workers.register(each)

    await bus.start()
    # The framework polls, and keeps a core busy: wait for a message instead, as `multiagents-otel doctor` advises.
    bus.pubsub.get_message = functools.partial(bus.pubsub.get_message, timeout=0.5)
    await bus.subscribe("compensation.refund", refund)
    await workers.start()
    closing = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, closing.set)
    print("open", flush=True)

    await closing.wait()
    await workers.stop()
    await bus.stop()


asyncio.run(main())
