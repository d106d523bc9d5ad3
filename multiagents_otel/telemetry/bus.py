"""What is known of an event bus: its system, server and channels, for the messaging attributes."""

from __future__ import annotations

import weakref
from typing import Any
from urllib.parse import urlsplit

from multiagents_otel import semconv
from multiagents_otel.telemetry.event import Event, text

_CACHED = 1_000


class BusInfo:
    """The parts of an event bus' attributes that do not change from message to message.

    Args:
        bus: the event bus.
        system: ``messaging.system``; None: ``redis`` for a bus with a Redis URL, else ``multiagents``.
    """

    def __init__(self, bus: object, system: str | None = None) -> None:
        url = getattr(bus, "redis_url", None)
        is_redis = isinstance(url, str)
        self.system = system or (semconv.REDIS_SYSTEM if is_redis else semconv.DEFAULT_SYSTEM)
        prefix = getattr(bus, "channel_prefix", "")
        self.prefix = prefix if isinstance(prefix, str) else ""
        self._server: dict[str, Any] = _server_of(url) if isinstance(url, str) else {}
        self._bases: dict[tuple[str, str, str], dict[str, Any]] = {}

    def attributes(self, operation: str, event: Event, workflow_id: str | None) -> dict[str, Any]:
        """The attributes of a ``send`` or ``process`` span at its start; the caller owns the dict."""
        key = (operation, event.name, event.kind)
        base = self._bases.get(key)
        if base is None:
            base = {
                semconv.MESSAGING_SYSTEM: self.system,
                semconv.MESSAGING_OPERATION_NAME: operation,
                semconv.MESSAGING_OPERATION_TYPE: operation,
                semconv.MESSAGING_DESTINATION: self.prefix + event.name,
                semconv.EVENT_TYPE: event.kind,
                **self._server,
            }
            if len(self._bases) < _CACHED:
                self._bases[key] = base
        attributes = base.copy()
        if event.id is not None:
            attributes[semconv.MESSAGING_MESSAGE_ID] = event.id
        if event.correlation_id is not None:
            attributes[semconv.MESSAGING_CONVERSATION_ID] = event.correlation_id
        if event.transaction_id is not None:
            attributes[semconv.TRANSACTION_ID] = event.transaction_id
        if workflow_id is not None:
            attributes[semconv.WORKFLOW_ID] = workflow_id
        return attributes


def _server_of(url: str) -> dict[str, Any]:
    # Only host and port are taken: user and password of the URL are never looked at again.
    try:
        parts = urlsplit(url)
        if parts.scheme in ("redis", "rediss") and text(parts.hostname or "localhost"):
            return {semconv.SERVER_ADDRESS: parts.hostname or "localhost", semconv.SERVER_PORT: parts.port or 6379}
    except ValueError:
        pass
    return {}


class Buses:
    """What is known of each bus, for as long as the bus lives."""

    def __init__(self) -> None:
        self._infos: weakref.WeakKeyDictionary[Any, BusInfo] = weakref.WeakKeyDictionary()

    def __getitem__(self, bus: object) -> BusInfo:
        try:
            info = self._infos.get(bus)
            if info is None:
                info = self._infos[bus] = BusInfo(bus)
            return info
        except TypeError:  # not hashable, or no weak references to it: looked at anew each time
            return BusInfo(bus)

    def describe(self, bus: object, system: str | None) -> None:
        """Take note of a bus, with the ``messaging.system`` that its user gave."""
        try:
            self._infos[bus] = BusInfo(bus, system)
        except TypeError:
            pass

    def __iter__(self) -> Any:
        return iter(list(self._infos))
