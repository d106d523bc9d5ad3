"""Events are counted once, however a bus hands them to its handlers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from multiagents_otel import instrument_event_bus
from tests.catalogue.recording import recording
from tests.support.buses import MemoryBus, WireMessage
from tests.support.processes import Process


class Copying(MemoryBus):
    """Each handler gets a copy of its own; ``together``: all at once."""

    together = False

    async def _handle(self, message: WireMessage) -> None:
        try:
            calls = [handler(message.event) for handler in self.handlers[message.event_type]]
            if self.together:
                await asyncio.gather(*calls)
            else:
                for call in calls:
                    await call
        finally:
            self._broker.end()


@pytest.mark.parametrize("together", [False, True])
async def test_an_event_is_counted_once_where_each_handler_gets_a_copy(together: bool) -> None:
    received: list[dict[str, Any]] = []
    bus = Copying()
    bus.together = together

    async def handler(event: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        received.append(event)

    async def other(event: dict[str, Any]) -> None:
        received.append(event)

    await bus.start()
    with recording() as record:
        instrument_event_bus(bus)
        await bus.subscribe("order.placed", handler)
        await bus.subscribe("order.placed", other)
        for number in range(100):
            await bus.publish("order.placed", {"id": str(number)})
        await bus.drain()
        assert len(received) == 200
        assert {tuple(event) for event in received} == {("id",)}
        assert sum(record.counts("multiagents.events").values()) == 100
        assert not record.open.names
    await bus.stop()


def test_a_signal_handler_may_count_in_the_midst_of_a_count() -> None:
    program = """
import signal
from multiagents_otel import semconv
from multiagents_otel.telemetry.ledger import Ledger

class Interrupted(str):
    def __hash__(self):
        if signal.getsignal(signal.SIGUSR1) is not signal.SIG_IGN:
            signal.raise_signal(signal.SIGUSR1)
        return str.__hash__(self)

def handler(*_):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    ledger.add(semconv.EVENTS, ("Event", "success"))

ledger = Ledger()
signal.signal(signal.SIGUSR1, handler)
ledger.add(semconv.EVENTS, (Interrupted("Event"), "success"))
print(ledger.sums(semconv.EVENTS), flush=True)
"""
    with Process.python(program) as process:
        process.wait_line("{('Event', 'success'): 2}")
        process.wait_ok()
