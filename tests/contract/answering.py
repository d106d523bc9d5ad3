"""A bus in memory that publishes through a client which answers with the number of receivers, as Redis does."""

from __future__ import annotations

import json
from typing import Any

from multiagents.core.exceptions import EventBusException
from multiagents.event_bus.redis_bus import EventEncoder

from tests.support.buses import MemoryBus, WireMessage


class Client:
    """Stands where RedisEventBus has its Redis client."""

    def __init__(self, bus: AnsweringBus) -> None:
        self._bus = bus

    async def publish(self, channel: str, message: str) -> int:
        """Delivers, and answers how many received it."""
        return await self._bus.put(WireMessage(channel, message))


class AnsweringBus(MemoryBus):
    """As MemoryBus, and tells how many received a message.

    Attributes:
        lost: event types whose messages get lost: nobody receives them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.redis_client = Client(self)
        self.lost: set[str] = set()

    def peer(self) -> AnsweringBus:
        other = AnsweringBus()
        other._join(self._broker)
        return other

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        try:
            if event_type in self.failures:
                raise self.failures[event_type]
            message = json.dumps(event_data, cls=EventEncoder)
            await self.redis_client.publish(event_type, message)
        except Exception as error:
            raise EventBusException(f"Failed to publish event: {error}") from error

    async def put(self, message: WireMessage) -> int:
        """A message is on the wire."""
        self._broker.wire.append(message)
        if message.event_type in self.lost:
            return 0
        receivers = [bus for bus in self._broker.buses if bus._receives(message.event_type)]
        for bus in receivers:
            await bus._deliver(message)
        return len(receivers)
