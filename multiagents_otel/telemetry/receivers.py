"""Whether those that received a publication were subscribers, or listened by a pattern only.

``PUBLISH`` answers with all receivers, a monitoring tool's ``PSUBSCRIBE`` among them. ``PUBSUB NUMSUB`` says how many
are subscribed to the channel by its name. It is asked in the background, for a number of receivers that is new or was
asked about a minute ago, and for messages that only a tool can have received: never for each message, and never before
one is published. Asked afterwards the answer may have changed, so nothing is reported that a change could explain.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from multiagents_otel import semconv
from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.telemetry.background import Background
from multiagents_otel.telemetry.in_flight import running_loop
from multiagents_otel.telemetry.subscribers import client_of, subscribers

if TYPE_CHECKING:
    from multiagents_otel.telemetry.event import Event

_VALID_SECONDS: Final = 60.0
_INTERVAL_SECONDS: Final = 1.0
_CHANNELS: Final = 1_000
_WAITING: Final = 1_000


class _Channel:
    """What is known of a channel.

    Attributes:
        subscribers: by the number of receivers, how many of them were subscribed, and when Redis said so.
        waiting: publications whose receivers are not known yet, with their number.
        suspects: publications that only tools have received, as Redis said once.
        asking: Redis is being asked.
        due: when it may be asked again (monotonic seconds).
    """

    __slots__ = ("asking", "due", "subscribers", "suspects", "waiting")

    def __init__(self) -> None:
        self.subscribers: dict[int, tuple[int, float]] = {}
        self.waiting: list[tuple[Event, int]] = []
        self.suspects: list[Event] = []
        self.asking = False
        self.due = 0.0


class Receivers:
    """The channels that this process publishes to.

    Args:
        background: runs what asks Redis.
        duplicated: called with a command that several subscribers received, and their number.
        undelivered: called with an event that no subscriber received although the publication had receivers.
    """

    def __init__(
        self,
        background: Background,
        duplicated: Callable[[Event, int], None],
        undelivered: Callable[[Event], None],
    ) -> None:
        self._background = background
        self._duplicated = duplicated
        self._undelivered = undelivered
        self._channels: BoundedMap[str, _Channel] = BoundedMap(_CHANNELS)

    def clear(self) -> None:
        """Forget every channel."""
        self._channels.clear()

    def received(self, bus: object, channel: object, event: Event, receivers: int) -> None:
        """Take note that so many, one at least, received an event that somebody must receive."""
        if type(channel) is not str or client_of(bus) is None or running_loop() is None:
            self._count(event, receivers)
            return
        known = self._channels.get(channel)
        if known is None:
            known = self._channels[channel] = _Channel()
        subscribed, asked = known.subscribers.get(receivers, (0, float("-inf")))
        if subscribed and time.monotonic() - asked <= _VALID_SECONDS:
            self._count(event, subscribed)
        elif len(known.waiting) < _WAITING:
            known.waiting.append((event, receivers))
            self._ask(bus, channel, known)

    def _count(self, event: Event, subscribed: int) -> None:
        if subscribed > 1 and event.kind == semconv.COMMAND_EVENT:
            self._duplicated(event, subscribed)

    def _ask(self, bus: object, channel: str, known: _Channel) -> None:
        if not known.asking and time.monotonic() >= known.due:
            known.asking = self._background.run(self._asked(bus, channel, known), "publish")

    async def _asked(self, bus: object, channel: str, known: _Channel) -> None:
        waiting, suspects = known.waiting, known.suspects
        known.waiting, known.suspects = [], []
        try:
            counts = await subscribers(client_of(bus), [channel])
        finally:  # cancelled too, where the loop is being closed: what is not known by then is not reported
            known.asking = False
        waiting += known.waiting
        known.waiting = []
        if counts is None:
            if client_of(bus) is not None:  # else the bus was stopped, and Redis would have answered
                for event, receivers in waiting:
                    self._count(event, receivers)
            return
        subscribed = counts.get(channel, 0)
        if subscribed == 0:
            for event in suspects:  # twice none: a worker that has just left would have answered, or come back
                self._undelivered(event)
        if waiting:
            # The last one was received by those whom Redis counts now; the tools are the rest.
            _, receivers = waiting[-1]
            tools = max(0, receivers - subscribed)
            known.subscribers = {receivers: (subscribed, time.monotonic())} if subscribed else {}
            for event, received in waiting:
                self._count(event, received - tools)
        if subscribed == 0 and waiting:
            known.suspects += [event for event, _ in waiting][:_WAITING]
            known.due = time.monotonic() + _INTERVAL_SECONDS / 2
            loop = asyncio.get_running_loop()
            loop.call_later(_INTERVAL_SECONDS, self._ask, bus, channel, known, context=contextvars.Context())
