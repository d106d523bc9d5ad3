"""An orchestrator that was started, before it was instrumented, on a bus whose handlers nobody can reach."""

from __future__ import annotations

import asyncio
import logging

import pytest
from multiagents.event_bus.interface import EventHandler, IEventBus

from multiagents_otel import semconv
from tests.contract.observed import Observed
from tests.support.deadline import DEADLINE
from tests.support.sagas import order_system


class ClosedBus(IEventBus):
    """Calls handlers within publish, and keeps them to itself."""

    def __init__(self) -> None:
        self._closed: dict[str, list[EventHandler]] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def publish(self, event_type: str, event_data: dict[str, object]) -> None:
        for handler in list(self._closed.get(event_type, ())):
            await handler(dict(event_data))

    async def subscribe(self, event_type: str, handler: EventHandler) -> None:
        self._closed.setdefault(event_type, []).append(handler)

    async def unsubscribe(self, event_type: str, handler: EventHandler) -> None:
        self._closed[event_type].remove(handler)


async def test_its_workflows_are_not_recorded_half_and_not_told_to_have_stalled(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    async with order_system(ClosedBus()) as system:
        with caplog.at_level(logging.WARNING, logger="multiagents_otel"):
            observed.instrument(stall_grace=0)
            ended = await asyncio.wait_for(system.wait_ended(await system.run()), DEADLINE)
    assert ended["state"] == "completed"
    assert not [span.name for span in observed.spans if span.name.startswith(("workflow.", "step."))]
    assert observed.sums(semconv.WORKFLOWS_STARTED.name) == {}
    assert [record.message for record in caplog.records] == [
        "an orchestrator was started on a ClosedBus before it was instrumented: its workflows and steps are not "
        "recorded; call auto_instrument() or instrument() before start()"
    ]
