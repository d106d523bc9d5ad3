"""A bus of the user's own whose ``redis_client`` is no asyncio one: what it publishes must leave."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from multiagents_otel import instrument_event_bus
from tests.catalogue.recording import recording
from tests.support.buses import MemoryBus


class _Client:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def publish(self, channel: str, message: str) -> int:
        self.sent.append(channel)
        return 2


class _Bus(MemoryBus):
    def __init__(self, *, thread: bool) -> None:
        super().__init__()
        self.redis_client = _Client()
        self._thread = thread

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> Any:
        message = json.dumps(event_data)
        if self._thread:
            return await asyncio.to_thread(self.redis_client.publish, event_type, message)
        return self.redis_client.publish(event_type, message)


@pytest.mark.parametrize("thread", [False, True])
async def test_what_a_sync_client_publishes_leaves_and_its_receivers_are_told(thread: bool) -> None:
    bus = _Bus(thread=thread)
    with recording() as record:
        instrument_event_bus(bus)
        assert await bus.publish("order.placed", {"id": "1"}) == 2
        assert bus.redis_client.sent == ["order.placed"]
        attributes = record.span("send order.placed").attributes or {}
        assert attributes["multiagents.event.receivers"] == 2
