"""What an event says of itself, read without trust: any field may be missing or of any type."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from multiagents_otel import semconv

_MAX_ID: Final = 256
_MAX_KINDS: Final = 100
_MARK: Final = f'"{semconv.CARRIER_KEY}":'.encode()
_WITH_WORKER: Final = frozenset({semconv.COMMAND_EVENT, semconv.RESULT_EVENT})


def text(value: object) -> str | None:
    """A short string as it is; everything else is as if it were not there."""
    if type(value) is str and 0 < len(value) <= _MAX_ID and (value.isascii() or utf8(value) == value):
        return value
    return None


def utf8(value: str) -> str:
    """The string without lone surrogates, which JSON can hold: one would have an exporter drop its whole batch."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def seconds(value: Any) -> float | None:
    """A duration that can be one; JSON also holds NaN, infinity and integers that no float can."""
    return float(value) if type(value) in (int, float) and 0 <= value < 1e9 else None


class Event:
    """An event's names and ids.

    Attributes:
        name: the event type it is published under, without the channel's prefix (``command.charge``).
        kind: the contract's class name (``CommandEvent``, ...; ``Event`` for any other).
        id, correlation_id, transaction_id: as the event has them, or None.
    """

    __slots__ = ("correlation_id", "id", "kind", "name", "transaction_id")

    id: str | None
    correlation_id: str | None
    transaction_id: str | None

    def __init__(self, name: str, data: Mapping[str, Any]) -> None:
        self.name = name
        metadata = data.get("metadata")
        if type(metadata) is not dict:
            metadata = _NOTHING
        own, correlation = data.get("id"), metadata.get("correlation_id")
        transaction = metadata.get("transaction_id")
        # What the ids nearly always are is seen at one look; this runs for every event.
        if (
            type(own) is type(correlation) is type(transaction) is str
            and own
            and correlation
            and transaction
            and len(ids := own + correlation + transaction) <= _MAX_ID
            and ids.isascii()
        ):
            self.id, self.correlation_id, self.transaction_id = own, correlation, transaction
        else:
            self.id, self.correlation_id, self.transaction_id = text(own), text(correlation), text(transaction)
        kind = data.get("type")
        # Nothing else is looked up: it may not be hashable, or say no matter what when it is compared.
        known = _KINDS.get(kind) if type(kind) is str or isinstance(kind, Enum) else semconv.EVENT
        self.kind = known or _kind_of(kind)

    @property
    def subject(self) -> str:
        """What comes after the first dot of the name: a command's and a result's worker, a compensation's name."""
        return self.name.partition(".")[2] or self.name

    @property
    def worker(self) -> str:
        """The worker type that a command or a result is of, else ""."""
        return self.subject if self.kind in _WITH_WORKER else ""

    @property
    def step(self) -> str | None:
        """The step that a command or its result belongs to: their correlation id is ``<transaction>.<step>``."""
        transaction, correlation = self.transaction_id, self.correlation_id
        if transaction and correlation and correlation.startswith(transaction + "."):
            return correlation[len(transaction) + 1 :] or None
        return None


_NOTHING: Final[dict[str, Any]] = {}
_KINDS: Final[dict[object, str]] = {
    **dict[object, str](semconv.EVENT_CLASSES.items()),
    **{name: name for name in semconv.EVENT_CLASSES.values()},
}
"""The class name for an event's ``type``: the framework's value or enum, or the class name itself."""


def _kind_of(kind: object) -> str:
    # A str enum does not hash as its value does: the few members that there are get entries of their own.
    known = _KINDS.get(kind.value) if isinstance(kind, Enum) else None
    if known is not None and len(_KINDS) < _MAX_KINDS:
        _KINDS[kind] = known
    return known or semconv.EVENT


def body_size(message: object) -> int | None:
    """Bytes of a serialised event without the carrier, which stands at its end: no second serialisation."""
    if isinstance(message, str):
        message = message.encode("utf-8", "replace")
    if not isinstance(message, bytes):
        return None
    at = message.rfind(_MARK)
    if at < 0:
        return len(message)
    while at > 0 and message[at - 1] in b" ,":
        at -= 1
    return at + len(b"}")
