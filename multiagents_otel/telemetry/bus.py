"""What is known of an event bus: its system, server and channels, for the messaging attributes."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from multiagents_otel import semconv
from multiagents_otel.telemetry.by_identity import ByIdentity
from multiagents_otel.telemetry.event import Event, text, utf8

_CACHED = 1_000


class BusInfo:
    """The parts of an event bus' attributes that do not change from message to message.

    Args:
        bus: the event bus.
        system: ``messaging.system``; None: ``redis`` for a bus with a Redis URL, else ``multiagents``.

    Attributes:
        subscribed: the wrapped handlers on the bus, by event type.
        kept: the wrappers of functions of modules, by the function's id and the event type.
    """

    def __init__(self, bus: object, system: str | None = None) -> None:
        url = getattr(bus, "redis_url", None)
        is_redis = isinstance(url, str)
        self._usual_system = semconv.REDIS_SYSTEM if is_redis else semconv.DEFAULT_SYSTEM
        self.system = system or self._usual_system
        prefix = getattr(bus, "channel_prefix", "")
        self.prefix = prefix if isinstance(prefix, str) else ""
        self._server: dict[str, Any] = _server_of(url) if isinstance(url, str) else {}
        self.subscribed: dict[str, list[weakref.ref[Any]]] = {}
        self.kept: dict[tuple[int, str], Any] = {}
        self._bases: dict[tuple[str, str, str], dict[str, Any]] = {}

    def rename(self, system: str | None) -> None:
        """Take note of another ``messaging.system``; None: the usual one."""
        self.system = system or self._usual_system
        self._bases.clear()

    def attributes(self, operation: str, event: Event, workflow_id: str | None) -> dict[str, Any]:
        """The attributes of a ``send`` or ``process`` span at its start; the caller owns the dict."""
        key = (operation, event.name, event.kind)  # one event type may carry events of several kinds
        base = self._bases.get(key)
        if base is None:
            base = {
                semconv.MESSAGING_SYSTEM: self.system,
                semconv.MESSAGING_OPERATION_NAME: operation,
                semconv.MESSAGING_OPERATION_TYPE: operation,
                semconv.MESSAGING_DESTINATION: utf8(self.prefix + event.name),
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
    """What is known of each bus, for as long as the bus lives.

    Attributes:
        get: returns what is known of a bus; None if nothing is.
    """

    def __init__(self) -> None:
        self._infos: ByIdentity[BusInfo] = ByIdentity()
        self.get: Final = self._infos.get

    def __getitem__(self, bus: object) -> BusInfo:
        return self._infos.get(bus) or self.describe(bus, None)

    def describe(self, bus: object, system: str | None) -> BusInfo:
        """Take note of a bus, with the ``messaging.system`` that its user gave."""
        info = self._infos.get(bus)
        if info is None:
            info = BusInfo(bus, system)
            self._infos.set(bus, info)
        else:
            info.rename(system)
        return info

    @property
    def infos(self) -> list[BusInfo]:
        """What is known of each bus."""
        return self._infos.values()

    def __iter__(self) -> Iterator[Any]:
        return self._infos.keys()
