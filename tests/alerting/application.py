"""The application that the scenarios break: one workflow for each way to break, of one step for a worker of its own.

Processes are told what to do by lines on stdin. ``REDIS_URL``, ``WORKERS`` (names, with commas) and what the SDK takes
come from the environment.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
from typing import Any, Final

ORCHESTRATOR: Final = "from tests.alerting import application; application.orchestrator()"
WORKER: Final = "from tests.alerting import application; application.worker()"

SLOW_SECONDS: Final = 3.0
STEP_TIMEOUT: Final = 2
"""Of the one workflow whose worker dies at work, in seconds; the others' steps have the framework's 300."""


def worker_of(workflow: str) -> str:
    return f"{workflow}_worker"


def orchestrator() -> None:
    """Starts workflows: "on NAME PER_SECOND", "start NAME COUNT"; "off NAME" says when they have ended; "stop"."""
    _instrument()
    asyncio.run(_orchestrator())


async def _orchestrator() -> None:
    from multiagents.core.saga_context import SagaState
    from multiagents.event_bus.redis_bus import RedisStateStore
    from multiagents.orchestrator.orchestrator import Orchestrator
    from multiagents.orchestrator.workflow import WorkflowBuilder

    from tests.support.sagas import SilentLogger

    bus = await _bus()
    store: Any = RedisStateStore(os.environ["REDIS_URL"])
    orchestrators: dict[str, Any] = {}
    for name in os.environ["WORKFLOWS"].split(","):
        timeout = STEP_TIMEOUT if name == "stalling" else 300
        workflow = WorkflowBuilder(name).add_step("work", worker_of(name), timeout=timeout).build()
        orchestrators[name] = Orchestrator(workflow, bus, store, logger=SilentLogger())
        await orchestrators[name].start()
    print("ready", flush=True)

    loads: dict[str, asyncio.Task[None]] = {}
    going: set[str] = set()

    async def load(name: str, per_second: float) -> None:
        while name in going:
            await orchestrators[name].execute_workflow(name, {})
            await asyncio.sleep(1 / per_second)

    while (line := await _line()) not in ("", "stop"):
        order, name, *rest = line.split()
        if order == "on":
            going.add(name)
            loads[name] = asyncio.create_task(load(name, float(rest[0])))
        elif order == "off":
            going.remove(name)
            await loads.pop(name)
            while any(each.state is SagaState.RUNNING for each in orchestrators[name].active_workflows.values()):
                await asyncio.sleep(0.01)
            print("off", name, flush=True)
        else:
            for _ in range(int(rest[0])):
                await orchestrators[name].execute_workflow(name, {})
    going.clear()
    await asyncio.gather(*loads.values())
    await bus.stop()


def worker() -> None:
    """Runs its workers: "NAME MODE", one of good, flaky (2 of 5 fail), bad, slow, hanging; "stop" ends it."""
    _instrument()
    asyncio.run(_worker())


async def _worker() -> None:
    from multiagents.worker_sdk.decorators import worker as as_worker
    from multiagents.worker_sdk.worker_manager import WorkerManager

    from tests.support.sagas import SilentLogger

    modes: dict[str, str] = {}
    bus = await _bus()
    manager = WorkerManager(bus, logger=SilentLogger())
    for name in os.environ["WORKERS"].split(","):
        manager.register(as_worker(worker_of(name))(_working(worker_of(name), modes)))
    await manager.start()
    print("ready", flush=True)
    while (line := await _line()) not in ("", "stop"):
        name, mode = line.split()
        modes[worker_of(name)] = mode
    executions = list(manager._handler_tasks)
    await manager.stop()  # cancels them, and does not wait
    await asyncio.gather(*executions, return_exceptions=True)
    await bus.stop()


def _working(name: str, modes: dict[str, str]) -> Any:
    executions = itertools.count()

    async def work(payload: dict[str, Any]) -> dict[str, Any]:
        number, mode = next(executions), modes.get(name, "good")
        if mode == "bad" or (mode == "flaky" and number % 5 < 2):
            raise ValueError("declined")
        if mode == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if mode == "hanging":
            print("at work", flush=True)
            await asyncio.Event().wait()
        return {"number": number}

    work.__name__ = work.__qualname__ = name
    return work


async def _bus() -> Any:
    from multiagents.event_bus.redis_bus import RedisEventBus

    from tests.support.sagas import SilentLogger, wait_for_messages

    wait_for_messages()
    bus: Any = RedisEventBus(os.environ["REDIS_URL"], logger=SilentLogger())
    await bus.start()
    return bus


async def _line() -> str:
    """The next line of stdin; "" at its end."""
    return str(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)).strip()


def _instrument() -> None:
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    from multiagents_otel import auto_instrument
    from multiagents_otel.processing.guard import Guard

    Guard.strict = True
    auto_instrument(stall_grace=1.0)
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
