"""A process of an application in which multiagents-otel meets faults that are not its own: a hook that raises, a bus
that can't be reached.

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


def _raising(*_given: Any) -> None:
    raise LookupError("a hook of the user's")


def run() -> None:
    """Publishes over a bus that is there and over one that is not, then waits for a line, and ends."""
    from multiagents_otel import auto_instrument

    auto_instrument(publish_hook=_raising)
    asyncio.run(_run())


async def _run() -> None:
    from multiagents.event_bus.redis_bus import RedisEventBus

    from tests.support.sagas import SilentLogger, redis_parts

    bus, _store = redis_parts(os.environ["REDIS_URL"])
    lost = RedisEventBus(f"redis://127.0.0.1:{free_port()}", logger=SilentLogger())
    await bus.start()
    await bus.publish("shop.opened", {"door": 1})
    with suppress(Exception):
        await lost.publish("shop.opened", {"door": 2})
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await bus.stop()
