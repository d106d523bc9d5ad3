"""What the tests run in processes of their own: an orchestrator, a worker, told what to do by lines on stdin.

``python -c 'from tests.integration import programs; programs.orchestrator()'``; the Redis URL is in ``REDIS_URL``,
the options of ``auto_instrument`` as JSON in ``OPTIONS`` (without it nothing is instrumented: the launcher's case).
``CLOCK_AHEAD`` sets the process' wall clock forward by so many seconds; a line ``clock SECONDS`` does it later.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Coroutine
from typing import Any, Final

ORCHESTRATOR: Final = "from tests.integration import programs; programs.orchestrator()"
WORKER: Final = "from tests.integration import programs; programs.worker()"


_wall_clock = {"ahead": 0.0}


def _set_wall_clock() -> None:
    """Replace the wall clock before anything takes a reference to it."""
    _wall_clock["ahead"] = float(os.environ.get("CLOCK_AHEAD", "0"))
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + _wall_clock["ahead"]
    time.time_ns = lambda: real_ns() + int(_wall_clock["ahead"] * 1e9)


def _instrument() -> None:
    _set_wall_clock()
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    if "OPTIONS" in os.environ:
        from multiagents_otel import auto_instrument
        from multiagents_otel.processing.guard import Guard

        Guard.strict = True
        auto_instrument(**json.loads(os.environ["OPTIONS"]))
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def _line() -> str:
    """Return the next line of stdin; "" at its end. ``clock`` and ``block`` are obeyed here."""
    while True:
        line = str(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)).strip()
        command, _, seconds = line.partition(" ")
        if command == "clock":
            _wall_clock["ahead"] = float(seconds)
        elif command == "block":  # the event loop, as a synchronous call to a model does
            print("blocked", flush=True)
            time.sleep(float(seconds))
        else:
            return line
        print("done", command, flush=True)


def worker() -> None:
    """Runs all three workers, and takes the compensations (unless ``COMPENSATIONS=nobody``), until "stop" comes.

    The worker that ``HOLD`` names waits inside its work for a line "go".
    """
    _instrument()
    _run(_worker())


async def _worker() -> None:
    from multiagents.worker_sdk.worker_manager import WorkerManager

    from tests.support.sagas import SilentLogger, order_workers, redis_parts, subscribe_compensations

    bus, _store = redis_parts(os.environ["REDIS_URL"])
    manager = WorkerManager(bus, logger=SilentLogger())
    go = asyncio.Event()
    held = os.environ.get("HOLD")
    order_worker: Any
    for order_worker in order_workers(probe=lambda name, _payload: print("working", name, flush=True)):
        is_held = order_worker.get_worker_type() == held
        registered: Any = _Held(order_worker, go) if is_held else order_worker
        manager.register(registered)
    await bus.start()
    await manager.start()
    if os.environ.get("COMPENSATIONS") != "nobody":
        await subscribe_compensations(bus)
    print("ready", flush=True)
    while await _line() == "go":
        go.set()
    await manager.stop()
    await bus.stop()


class _Held:
    """A worker that does not end before it is told to."""

    def __init__(self, worker: Any, go: asyncio.Event) -> None:
        self._worker = worker
        self._go = go

    def get_worker_type(self) -> str:
        return str(self._worker.get_worker_type())

    async def process(self, *args: Any) -> Any:
        result = await self._worker.process(*args)
        await self._go.wait()
        return result


def orchestrator() -> None:
    """Starts an order for each line (its payload, as JSON), and tells how it ended; "stop" ends it."""
    _instrument()
    _run(_orchestrator())


async def _orchestrator() -> None:
    from multiagents.orchestrator.orchestrator import Orchestrator

    from tests.support.sagas import SilentLogger, order_workflow, redis_parts, run_order, wait_ended

    store: Any
    bus, store = redis_parts(os.environ["REDIS_URL"])
    timeout = int(os.environ.get("STEP_TIMEOUT", "300"))
    orchestrator = Orchestrator(order_workflow(timeout), bus, store, logger=SilentLogger())
    await bus.start()
    await store.connect()
    await orchestrator.start()
    print("ready", flush=True)
    while (line := await _line()) not in ("", "stop"):
        order = json.loads(line)
        waits = order.pop("wait", True)
        transaction = await run_order(orchestrator, order)
        print("started", transaction, flush=True)
        if waits:
            status = await wait_ended(orchestrator, transaction, timeout=60)
            print("ended", transaction, status["state"], flush=True)
    await orchestrator.stop()
    await bus.stop()
