"""An order saga without an LLM: one order goes through, one fails and its payment is refunded.

    python order_saga.py

The framework publishes ``compensation.*`` events and subscribes nobody to them: ``refund_payment`` below is
subscribed by hand. Without that, the trace would show the refund as undelivered.
"""

import asyncio
import logging
import os

import structlog
from multiagents import Orchestrator, WorkerManager, WorkflowBuilder, worker
from multiagents.event_bus.redis_bus import RedisEventBus, RedisStateStore
from multiagents.monitoring.config import LoggingConfig, MonitoringConfig

import multiagents_otel

multiagents_otel.auto_instrument()

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

# The framework logs every event and every failure to standard output: LOG_LEVEL=INFO shows them.
level = getattr(logging, os.environ.get("LOG_LEVEL", "CRITICAL"))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
to_file = MonitoringConfig(logging=LoggingConfig(default_logger="file"))  # ./logs/multiagents.log


class OutOfStockError(Exception):
    """Nothing left to ship."""


@worker("validate_order")
async def validate_order(order: dict) -> dict:
    return {"valid": order["quantity"] > 0}


@worker("charge_payment")
async def charge_payment(order: dict) -> dict:
    await asyncio.sleep(0.02)  # the bank takes its time
    return {"payment": f"payment for {order['item']}"}


@worker("ship_order")
async def ship_order(order: dict) -> dict:
    if order["quantity"] > 10:
        raise OutOfStockError(f"not {order['quantity']} of {order['item']} in stock")
    return {"parcel": f"parcel with {order['item']}"}


async def refund_payment(event: dict) -> None:
    print(f"  refunded: {event['payload']['item']}")


def order_workflow():
    workflow = WorkflowBuilder("order_processing")
    workflow.add_step("validate", "validate_order")
    workflow.add_step("charge", "charge_payment", compensation="refund_payment")
    workflow.add_step("ship", "ship_order")
    return workflow.build()


async def main() -> None:
    bus = RedisEventBus(REDIS_URL, monitoring_config=to_file)
    workers = WorkerManager(bus, monitoring_config=to_file)
    for each in (validate_order, charge_payment, ship_order):
        workers.register(each)
    orchestrator = Orchestrator(order_workflow(), bus, RedisStateStore(REDIS_URL), monitoring_config=to_file)

    ended: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def on_status(event: dict) -> None:
        if event["status"] in ("completed", "compensated"):
            await ended.put((event["metadata"]["transaction_id"], event["status"]))

    await bus.start()
    await bus.subscribe("status.workflow", on_status)
    await bus.subscribe("compensation.refund_payment", refund_payment)
    await workers.start()
    await orchestrator.start()

    for order in ({"item": "teapot", "quantity": 1}, {"item": "samovar", "quantity": 11}):
        print(f"order: {order['quantity']} {order['item']}")
        transaction = await orchestrator.execute_workflow("order_processing", order)
        ended_transaction = status = ""
        while ended_transaction != transaction:
            ended_transaction, status = await ended.get()
        print(f"  {status}: {transaction}")

    await orchestrator.stop()
    await workers.stop()
    await bus.stop()


asyncio.run(main())
