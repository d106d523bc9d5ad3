"""Memory does not grow with the number of events, transactions, names or questions."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from multiagents_otel import EventMonitor, WorkerMonitor, instrument_event_bus
from multiagents_otel.monitors import slots, tracked, windows
from tests.bench.workload import QueueBus
from tests.contract.observed import Observed
from tests.support.processes import Process


class Traffic:
    """Transactions of ten events, published and handled here: commands that are answered, some that never are."""

    def __init__(self) -> None:
        self.bus = QueueBus()
        instrument_event_bus(self.bus)
        self.number = 0

    async def subscribe(self) -> None:
        async def handler(_data: dict[str, Any]) -> None: ...

        for name in ("command.a", "result.a", "status.a"):
            await self.bus.subscribe(name, handler)
        assert self.bus.listener is not None
        self.bus.listener.cancel()

    async def transaction(self) -> None:
        number = self.number = self.number + 1
        metadata = {"transaction_id": f"tx-{number}", "correlation_id": f"tx-{number}.a", "source": f"s{number}"}
        for n in range(4):
            command = f"c-{number}-{n}"
            await self.one("command.a", {"id": command, "type": "command", "metadata": metadata})
            if n:
                result = {"id": f"r-{number}-{n}", "type": "result", "metadata": metadata, "command_id": command}
                await self.one("result.a", {**result, "success": n > 1, "error_message": f"failed {number}"})
        for n in range(3):
            await self.one("status.a", {"id": f"s-{number}-{n}", "type": "status", "metadata": metadata})

    async def one(self, name: str, event: dict[str, Any]) -> None:
        await self.bus.publish(name, event)
        published, data = self.bus.queue.get_nowait()
        if name != "command.a" or not event["id"].endswith("-0"):  # that one is lost
            for handler in self.bus.handlers[published]:
                await handler(data)


def held() -> int:
    """Bytes that the monitors have allocated and hold."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot()
    return sum(
        trace.size
        for trace in snapshot.filter_traces([tracemalloc.Filter(True, "*/multiagents_otel/monitors/*")]).traces
    )


async def test_memory_is_flat_after_the_caps(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked, "FINISHED_LIMIT", 200)
    monkeypatch.setattr(tracked, "PENDING_LIMIT", 50)
    # A slow machine would open slot after slot of every window, each of 32 kB.
    now = time.monotonic()
    monkeypatch.setattr(windows, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(slots, "time", SimpleNamespace(monotonic=lambda: now))
    observed.instrument(tracer_provider=None)
    events, workers = EventMonitor(max_trace_history=40, max_traces_per_transaction=20), WorkerMonitor()
    traffic = Traffic()
    await traffic.subscribe()
    tracemalloc.start()
    try:
        for _ in range(100):
            await traffic.transaction()
        await events.get_event_metrics()
        before = held()
        for _ in range(300):
            await traffic.transaction()
        metrics = await events.get_event_metrics()
        grown = held() - before
    finally:
        tracemalloc.stop()
    assert metrics["total_events"] == 400 * 10
    assert 40 < metrics["pending"] <= 50, "the oldest ones that nobody answers are let go"
    stats = events.get_monitor_stats()
    assert (stats["active_transactions"], stats["active_traces"]) == (40, 40 * 20)
    assert grown < 80_000, "3,000 events kept would be four times that"
    assert await workers.get_all_workers_health() == {}


async def test_questions_leave_nothing_behind() -> None:
    events, workers = EventMonitor(), WorkerMonitor()
    await workers.track_worker_execution("a", 1.0, True)
    for number in range(300):
        await events.get_event_metrics(number + 0.5)
        await events.get_event_type_metrics(f"type-{number}")
        await events.get_transaction_trace(f"tx-{number}")
        await workers.get_worker_performance(f"worker-{number}")
        await workers.check_worker_health(f"worker-{number}")
        await workers.get_worker_performance_summary(number + 0.5)
    assert set(await workers.get_all_workers_health()) == {"a"}
    assert sys.getsizeof(events._windows._windows) < 2_000


@pytest.mark.slow
def test_memory_after_a_million_events_of_100_000_transactions_is_that_after_200_000() -> None:
    """In a process of its own, where nothing else allocates."""
    with Process.python(
        """
        import asyncio
        from tests.soak.memory import quiet
        from tests.soak.monitors import growth
        quiet()
        print("grown", asyncio.run(growth()))
        """
    ) as process:
        output = process.wait_ok(timeout=3600)
    (grown,) = [float(line.split()[1]) for line in output.splitlines() if line.startswith("grown ")]
    assert grown < 10.0
