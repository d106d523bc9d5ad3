"""CPU of a three-step workflow with every monitor on, against the framework as it wires itself.

``create_simple_framework`` in both arms: with the framework's own monitors and file logger, and with ours in their
place, all metrics, log records and spans included. Redis is an object in this process, so that only the code counts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import multiagents.event_bus.redis_bus as redis_bus
import structlog
from multiagents import WorkflowBuilder
from multiagents.core.factory import create_simple_framework
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from multiagents_otel import MultiAgentsInstrumentor
from tests.bench.cpu import ONE_PERCENT, measure, traced
from tests.bench.workload import STEPS, Echo

ROUNDS: Final = 9
WORKFLOWS: Final = 150


class LocalRedis:
    """What the framework uses of a Redis client, within one process."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._subscribers: dict[str, list[asyncio.Queue[Any]]] = defaultdict(list)
        self._messages: asyncio.Queue[Any] = asyncio.Queue()

    async def publish(self, channel: str, message: str) -> int:
        subscribers = self._subscribers.get(channel, ())
        for queue in subscribers:
            queue.put_nowait({"type": "message", "channel": channel.encode(), "data": message})
        return len(subscribers)

    def pubsub(self) -> LocalRedis:
        return self

    async def subscribe(self, channel: str) -> None:
        self._subscribers[channel].append(self._messages)

    async def get_message(self, ignore_subscribe_messages: bool = True) -> Any:
        return await self._messages.get()

    async def setex(self, key: str, _seconds: int, value: str) -> None:
        self._values[key] = value

    async def get(self, key: str) -> Any:
        return self._values.get(key)

    async def close(self) -> None:
        self._values.clear()


class _Redis:
    """In the place of the module ``redis.asyncio``: everybody in the process gets one client."""

    def __init__(self) -> None:
        self._client = LocalRedis()

    async def from_url(self, _url: str) -> LocalRedis:
        return self._client


class WiredSystem:
    """What ``create_simple_framework`` makes, with three workers; or bare, without monitors and loggers."""

    def __init__(self, *, bare: bool = False) -> None:
        self._bare = bare

    async def run(self, workflows: int) -> None:
        """Run workflows one after the other, each to its end."""
        vars(redis_bus)["redis"] = _Redis()
        builder = WorkflowBuilder("order_processing")
        for step in STEPS:
            builder.add_step(step, f"{step}_worker")
        bus, manager, orchestrator = await create_simple_framework(builder.build())
        if self._bare:
            for part in (bus, manager, orchestrator):
                for name in ("event_monitor", "worker_monitor", "metrics_collector", "monitoring_logger"):
                    setattr(part, name, None)
        for step in STEPS:
            manager.register(Echo(f"{step}_worker"))
        await bus.start()
        await manager.start()
        await orchestrator.start()
        active = orchestrator.active_workflows
        for _ in range(workflows):
            transaction = await orchestrator.execute_workflow("order_processing", {"order": 1})
            while transaction in active:
                await asyncio.sleep(0)
        await orchestrator.stop()
        await manager.stop()
        await bus.stop()


@contextmanager
def ours(sampler: Sampler = ALWAYS_ON, **options: Any) -> Iterator[WiredSystem]:
    with traced(sampler) as provider:
        instrumentor = MultiAgentsInstrumentor()
        instrumentor.instrument(
            tracer_provider=provider,
            meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False),
            logger_provider=LoggerProvider(shutdown_on_exit=False),
            **options,
        )
        try:
            yield WiredSystem()
        finally:
            instrumentor.uninstrument()


@contextmanager
def theirs(*, bare: bool = False) -> Iterator[WiredSystem]:
    yield WiredSystem(bare=bare)


FRAMEWORK: Final = "the framework as it wires itself"
ARMS: dict[str, Callable[[], Any]] = {
    FRAMEWORK: theirs,
    "bare": lambda: theirs(bare=True),
    "every monitor on, all spans": ours,
    "every monitor on, detailed_timing off": lambda: ours(detailed_timing=False),
    "every monitor on, 1 % head sampling": lambda: ours(ONE_PERCENT),
}
REACH: Final = {
    "bare": "-",
    "every monitor on, all spans": "1.20",
    "every monitor on, detailed_timing off": "0.80",
    "every monitor on, 1 % head sampling": "0.60",
}


def main() -> None:
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)  # where the log file goes
        taken: dict[str, list[float]] = {name: [] for name in ARMS}
        for name in ARMS:
            measure(ARMS[name], 20)
        for _ in range(rounds):
            for name in ARMS:
                taken[name].append(measure(ARMS[name], WORKFLOWS))
        os.chdir("/")
    median = {name: statistics.median(values) for name, values in taken.items()}
    print(f"{FRAMEWORK}: {median[FRAMEWORK] * 1e6:.0f} us of CPU for a three-step workflow")
    for name, reach in REACH.items():
        print(f"{name + ', x that':60} {median[name] / median[FRAMEWORK]:6.2f}   (reach {reach})")


if __name__ == "__main__":
    main()
