"""How many received an event is learnt from the Redis client, whoever else has wrapped its publish."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from multiagents_otel import MultiAgentsInstrumentor
from tests.contract.answering import AnsweringBus
from tests.contract.observed import RECEIVERS, Observed
from tests.support.sagas import order_system


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_publish_that_the_user_put_on_the_client_is_watched_and_given_back(
    observed: Observed, when: str
) -> None:
    observed.instrument()
    bus = AnsweringBus()
    calls: list[str] = []

    def wrap() -> Any:
        original = bus.redis_client.publish

        @functools.wraps(original)
        async def publish(channel: str, message: str) -> int:
            calls.append(channel)
            return await original(channel, message)

        bus.redis_client.publish = publish  # type: ignore[method-assign]
        return publish

    async with order_system(bus) as system:
        if when == "before":
            own = wrap()
            await system.wait_ended(await system.run())
        else:
            await system.wait_ended(await system.run())
            own = wrap()
        await system.wait_ended(await system.run())
        await bus.drain()
    sent = [span for span in observed.spans if span.name.startswith("send command")]
    assert [(span.attributes or {})[RECEIVERS] for span in sent] == [1] * 6
    assert "command.validate_order" in calls
    MultiAgentsInstrumentor().uninstrument()
    assert bus.redis_client.publish is own
