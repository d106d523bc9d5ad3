"""The workers of the order saga in a process that can be told to go wrong, by lines on stdin.

``python -c 'from tests.dashboards import application; application.run()'``; the Redis URL is in ``REDIS_URL``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import Any, Final

from tests.support.ports import free_port

PROGRAM: Final = "from tests.dashboards import application; application.run()"

_SHOP: Final = "shop.opened"


def _hook(_span: Any, event_type: str, _event: Any) -> None:
    if event_type == _SHOP:
        raise LookupError("a hook of the user's")


def run() -> None:
    """Runs the workers until it is killed. A first line lets it take compensations, a second starts all workers again.

    Before that a hook of the user's raises, and an event is published on a bus that can't be reached.
    """
    from multiagents_otel import auto_instrument

    auto_instrument(config={"worker_monitoring": {"enabled": True}}, track_payload_size=True, publish_hook=_hook)
    asyncio.run(_run())


async def _run() -> None:
    from multiagents.event_bus.redis_bus import RedisEventBus

    from tests.support.sagas import SilentLogger, subscribe_compensations

    bus = await _workers()
    await bus.publish(_SHOP, {"door": 1})
    with suppress(Exception):
        await RedisEventBus(f"redis://127.0.0.1:{free_port()}", logger=SilentLogger()).publish(_SHOP, {"door": 2})
    print("ready", flush=True)
    await _line()
    await subscribe_compensations(bus)
    print("compensating", flush=True)
    await _line()
    await _workers()
    print("replicated", flush=True)
    await asyncio.Event().wait()


async def _line() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def _workers() -> Any:
    from multiagents.worker_sdk.worker_manager import WorkerManager

    from tests.support.sagas import SilentLogger, order_workers, redis_parts

    bus, _store = redis_parts(os.environ["REDIS_URL"])
    manager = WorkerManager(bus, logger=SilentLogger())
    for worker in order_workers():
        manager.register(worker)
    await bus.start()
    await manager.start()
    return bus
