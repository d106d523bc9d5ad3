"""Memory of the monitors after a million events of 100,000 transactions, against that when their caps are reached."""

from __future__ import annotations

import asyncio
from typing import Final

from multiagents_otel import EventMonitor, WorkerMonitor
from multiagents_otel.monitors import tracked
from tests.monitors.test_bounded import Traffic
from tests.soak.memory import instrumented, megabytes, quiet

REACH_MB: Final = 10.0
FIRST: Final = 20_000
TRANSACTIONS: Final = 100_000


async def growth(transactions: int = TRANSACTIONS, first: int = FIRST) -> float:
    """Megabytes that are held after ``transactions`` of ten events beyond those after ``first`` of them."""
    # So that every cap is reached by then.
    tracked.PENDING_LIMIT = first // 2  # type: ignore[misc]
    with instrumented() as flush:
        events, workers = EventMonitor(), WorkerMonitor()
        traffic = Traffic()
        await traffic.subscribe()
        while traffic.number < first:
            await traffic.transaction()
        flush()
        before = megabytes()
        while traffic.number < transactions:
            await traffic.transaction()
        flush()
        after = megabytes()
        metrics = await events.get_event_metrics(1440)
        assert metrics["total_events"] == 10 * transactions
        assert metrics["success_count"] + metrics["error_count"] == 9 * transactions, "one command in each is lost"
        assert await workers.get_all_workers_health() == {}
    return after - before


def main() -> None:
    quiet()
    name = f"monitors: memory after {10 * TRANSACTIONS:,} events, MB more than after {10 * FIRST:,}"
    print(f"{name:60} {asyncio.run(growth()):+6.1f}   (reach +{REACH_MB:.0f})")


if __name__ == "__main__":
    main()
