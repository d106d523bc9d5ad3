"""Stalls by the thousand, in several event loops, and workflows whose start was interrupted."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from multiagents_otel.telemetry import in_flight
from multiagents_otel.telemetry.in_flight import Flight, InFlight
from multiagents_otel.telemetry.observers import OBSERVERS
from tests.catalogue.recording import recording
from tests.support import trees
from tests.support.buses import MemoryBus
from tests.support.sagas import order_payload, order_system


class Deaf(MemoryBus):
    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None: ...


async def test_many_that_are_late_at_once_leave_the_application_its_turns() -> None:
    late: list[Flight] = []

    def slow(flight: Flight) -> None:
        time.sleep(0.0005)
        late.append(flight)

    flights = InFlight(0.0, slow)
    for number in range(1_000):
        flights.add(str(number), "worker", 0.01, None, None)
    await asyncio.sleep(0)
    longest, last = 0.0, time.perf_counter()
    while len(late) < 1_000:
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    assert longest < 0.1  # all of them take half a second
    assert len(flights) == 0


async def test_a_loop_that_was_blocked_reads_its_backlog_before_it_reports_what_is_late() -> None:
    late: list[str] = []
    flights = InFlight(0.0, lambda flight: late.append(flight.command_id))
    for name in ("answered", "slowly answered", "lost"):
        flights.add(name, "worker", 0.1, None, None)
    time.sleep(0.6)
    await asyncio.sleep(0.1)
    assert flights.remove("answered")
    await asyncio.sleep(1.1)
    assert late == []  # results keep coming in
    assert flights.remove("slowly answered")
    while not late:
        await asyncio.sleep(0.01)
    assert late == ["lost"]


async def test_a_loop_that_is_always_late_reports_what_is_late_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "_MAX_HOLDS", 2)
    late: list[str] = []
    flights = InFlight(0.0, lambda flight: late.append(flight.command_id))
    flights.add("lost", "worker", 0.1, None, None)
    for _ in range(10):
        time.sleep(1.1)
        await asyncio.sleep(0)
        if late:
            break
    assert late == ["lost"]


async def test_a_loop_does_not_report_what_another_waits_for_that_is_blocked() -> None:
    late: list[str] = []
    flights = InFlight(0.0, lambda flight: late.append(flight.command_id))
    blocked, go_on = threading.Event(), threading.Event()

    async def other() -> None:
        flights.add("theirs", "worker", 0.1, None, None)
        blocked.set()
        go_on.wait(60)
        flights.remove("theirs")

    thread = threading.Thread(target=asyncio.run, args=(other(),))
    thread.start()
    blocked.wait(60)
    flights.add("ours", "worker", 0.2, None, None)
    while not late:
        await asyncio.sleep(0.01)
    assert late == ["ours"]
    go_on.set()
    thread.join()


def test_a_loop_that_waits_long_does_not_keep_another_waiting() -> None:
    with recording(stall_grace=0.0) as record:
        started, done = threading.Event(), threading.Event()

        async def long() -> None:
            async with order_system(Deaf(), timeout=60, workers=[]) as system:
                await system.run()
                started.set()
                while not done.is_set():
                    await asyncio.sleep(0.01)

        async def short() -> None:
            async with order_system(Deaf(), timeout=1, workers=[]) as system:
                await system.run()
                await asyncio.sleep(1.3)

        thread = threading.Thread(target=asyncio.run, args=(long(),))
        thread.start()
        started.wait()
        asyncio.run(short())
        stalls = record.counts("multiagents.workflow.stalls")
        done.set()
        thread.join()
        assert sum(stalls.values()) == 1


def test_what_a_stopped_loop_left_is_told_by_the_next() -> None:
    async def run(seconds: float) -> None:
        async with order_system(Deaf(), timeout=1, workers=[]) as system:
            await system.run()
            await asyncio.sleep(seconds)

    with recording(stall_grace=0.0) as record:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(run(0))
        asyncio.run(run(1.3))
        loop.close()
        assert sum(record.counts("multiagents.workflow.stalls").values()) == 2


class Slow(MemoryBus):
    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        await super().publish(event_type, event_data)
        if event_type.startswith("command.") and not event_data["payload"].get("valid"):
            await asyncio.sleep(60)


async def test_a_workflow_whose_start_was_cancelled_has_a_root_and_may_go_on() -> None:
    with recording() as record:
        async with order_system(Slow(), workers=[]) as system:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(system.run(), 0.05)
        assert len(trees.roots(record.spans)) == 1
        assert not trees.orphans(record.spans)
        assert not record.counts("multiagents.active_workflows")
        assert not record.counts("multiagents.events.in_flight")
        assert sum(record.counts("multiagents.workflow.stalls").values()) == 1
    with recording() as record:
        async with order_system(Slow()) as system:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(system.run(), 0.05)
            await system.wait_ended(next(iter(system.store.rows)))
            await system.bus.drain()
        assert len(trees.roots(record.spans)) == 1
        assert not trees.orphans(record.spans)
        assert not record.counts("multiagents.active_workflows")
        assert not record.counts("multiagents.workflows.stalled")


class Raising(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("a processor of the user's")


@pytest.mark.faults
async def test_a_span_processor_that_raises_changes_no_count() -> None:
    counts = []
    for processor in (None, Raising()):
        with recording() as record:
            if processor is not None:
                record.tracer_provider.add_span_processor(processor)
            async with order_system() as system:
                for fail_at in (None, "charge_payment"):
                    await system.wait_ended(await system.run(order_payload(fail_at=fail_at)))
                await system.bus.drain()
            names = [name for name in record.metrics() if "system" not in name and "otel" not in name]
            taken = record.metrics()
            counts.append(
                {
                    name: {key: value[0] if isinstance(value, tuple) else value for key, value in taken[name].items()}
                    for name in names
                }
            )
            assert not record.open.names
        OBSERVERS.clear()  # the next round's health is its own
    assert counts[0] == counts[1]
