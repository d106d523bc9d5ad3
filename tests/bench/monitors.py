"""What the monitors cost: CPU added to a workflow, and the time of their answers beside the framework's own."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import structlog
from multiagents.monitoring.event_monitor import EventMonitor as BuiltinEventMonitor
from multiagents.monitoring.worker_monitor import WorkerMonitor as BuiltinWorkerMonitor

from multiagents_otel import EventMonitor, WorkerMonitor
from tests.bench import cpu
from tests.bench.workload import System

EVENTS: Final = 50_000
WORKERS: Final = 10
WINDOWS: Final = (5, 60, 1440)
QUESTIONS: Final = 50
SLOTS: Final = 20


@contextmanager
def monitored() -> Iterator[System]:
    with cpu.ours(metrics=True) as system:
        kept = EventMonitor(), WorkerMonitor()
        yield system
        del kept


class Clock:
    """The monotonic clock, put forward so that a day's slots are filled."""

    def __init__(self) -> None:
        self._real = time.monotonic
        self.ahead = 0.0

    def monotonic(self) -> float:
        return self._real() + self.ahead


async def filled(clock: Clock) -> tuple[list[Any], list[Any]]:
    """Our monitors and the framework's after a day of the same events."""
    ours: list[Any] = [EventMonitor(), WorkerMonitor(alert_on_high_error_rate=False)]
    builtin: list[Any] = [BuiltinEventMonitor(), BuiltinWorkerMonitor()]
    for number in range(EVENTS):
        clock.ahead += 86_400 / EVENTS
        name, worker, seconds = f"event-{number}", f"worker-{number % WORKERS}", (number % 997 + 1) / 1000
        for events, workers in (ours, builtin):
            await events.track_event_dispatch(
                name, "command", f"tx-{number // 10}", f"tx-{number // 10}.a", "bench", {}
            )
            await workers.track_command_start(worker, name)
            if number % 7:
                await workers.track_command_success(worker, name, seconds)
                await events.track_event_completion(name)
            else:
                await workers.track_command_failure(worker, name, seconds, "declined")
                await events.track_event_failure(name, "declined")
    return ours, builtin


def questions(monitors: list[Any]) -> dict[str, Callable[[], Awaitable[Any]]]:
    events, workers = monitors
    asked: dict[str, Callable[[], Awaitable[Any]]] = {}
    for minutes in WINDOWS:
        asked[f"get_event_metrics({minutes})"] = partial(events.get_event_metrics, minutes)
        asked[f"get_worker_performance_summary({minutes})"] = partial(workers.get_worker_performance_summary, minutes)
    if isinstance(events, EventMonitor):
        asked["get_event_type_metrics"] = partial(events.get_event_type_metrics, "CommandEvent")
        asked["get_transaction_trace"] = partial(events.get_transaction_trace, f"tx-{EVENTS // 10 - 1}")
        asked["get_worker_performance"] = partial(workers.get_worker_performance, "worker-1")
        asked["check_worker_health"] = partial(workers.check_worker_health, "worker-1")
        asked["get_all_workers_health"] = workers.get_all_workers_health
    return asked


async def milliseconds(question: Callable[[], Awaitable[Any]]) -> float:
    started = time.thread_time()
    await question()
    return (time.thread_time() - started) * 1e3


async def ask(clock: Clock) -> None:
    ours, builtin = await filled(clock)
    own = {name: [await milliseconds(q) for _ in range(5)] for name, q in questions(builtin).items()}
    asked = questions(ours)
    for question in asked.values():
        await question()
    print(f"answers after {EVENTS:,} events of a day, ms: median (reach 1), the first after a slot (reach 10), theirs")
    for name, question in asked.items():
        median = statistics.median([await milliseconds(question) for _ in range(QUESTIONS)])
        firsts = []
        for _ in range(SLOTS):
            clock.ahead += 61
            await ours[1].track_worker_execution("worker-1", 5.0, True)
            await ours[0].track_event_lifecycle({"id": f"{name}-{clock.ahead}", "type": "command"}, "published")
            firsts.append(await milliseconds(question))
        theirs = f"{statistics.median(own[name]):8.2f}" if name in own else "       -"
        print(f"  {name:58} {median:6.2f} {max(firsts):8.2f} {theirs}")


def main() -> None:
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    cpu.ARMS["monitored"] = monitored
    median = cpu.run(["bare", "metrics", "monitored", "the framework's own monitors"])
    added = {name: value - median["bare"] for name, value in median.items()}
    ratio = added["monitored"] / added["metrics"]
    print(f"{'EventMonitor and WorkerMonitor, x all metrics without them':60} {ratio:6.2f}")
    ratio = (added["monitored"] - added["metrics"]) / added["the framework's own monitors"]
    print(f"{'what they add, x what the framework`s own monitors add':60} {ratio:6.2f}")
    clock = Clock()
    time.monotonic = clock.monotonic
    asyncio.run(ask(clock))


if __name__ == "__main__":
    main()
