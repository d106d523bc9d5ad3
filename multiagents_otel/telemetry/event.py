"""What an event says of itself, read without trust: any field may be missing or of any type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from multiagents_otel import semconv

_MAX_ID: Final = 256


def text(value: object) -> str | None:
    """A short string as it is; everything else is as if it were not there."""
    return value if type(value) is str and 0 < len(value) <= _MAX_ID else None


class Event:
    """An event's names and ids.

    Attributes:
        name: the event type it is published under, without the channel's prefix (``command.charge``).
        kind: the contract's class name (``CommandEvent``, ...; ``Event`` for any other).
        worker: the worker type that a command or a result is of, else "".
        id, correlation_id, transaction_id: as the event has them, or None.
    """

    __slots__ = ("correlation_id", "id", "kind", "name", "transaction_id", "worker")

    def __init__(self, name: str, data: Mapping[str, Any]) -> None:
        self.name = name
        self.id = text(data.get("id"))
        metadata = data.get("metadata")
        if isinstance(metadata, Mapping):
            self.correlation_id = text(metadata.get("correlation_id"))
            self.transaction_id = text(metadata.get("transaction_id"))
        else:
            self.correlation_id = self.transaction_id = None
        self.kind = kind_of(data.get("type"))
        self.worker = ""
        if self.kind in (semconv.COMMAND_EVENT, semconv.RESULT_EVENT):
            self.worker = name.partition(".")[2] or name

    @property
    def step(self) -> str | None:
        """The step that a command or its result belongs to: the framework correlates them as ``<transaction>.<step>``."""
        transaction, correlation = self.transaction_id, self.correlation_id
        if transaction and correlation and correlation.startswith(transaction + "."):
            return correlation[len(transaction) + 1 :] or None
        return None


def kind_of(value: object) -> str:
    """The class name for an event's ``type``: the framework's enum, its value, or the class name itself."""
    value = getattr(value, "value", value)  # a str enum does not hash as its value does
    if type(value) is not str:
        return semconv.EVENT
    kind = semconv.EVENT_CLASSES.get(value)
    if kind is None:
        kind = value if value in semconv.EVENT_CLASSES.values() else semconv.EVENT
    return kind
