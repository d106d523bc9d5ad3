"""Values by the identity of objects that are not ours, and that are not kept alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class ByIdentity(Generic[V]):
    """A weak map whose keys need not be hashable, may define equality, and may refuse weak references.

    A key is held weakly and its value strongly. A key that refuses weak references is not held at all, and its value
    weakly: the entry lasts as long as something else, what the key itself holds perhaps, holds the value.
    """

    def __init__(self) -> None:
        # The id of a dead key may be another object's: the key, or at least its type, is compared.
        self._entries: dict[int, tuple[Callable[[], Any] | None, type, Any]] = {}

    def get(self, key: object) -> V | None:
        """The value of a key."""
        entry = self._entries.get(id(key))
        if entry is None:
            return None
        ref, kind, value = entry
        if ref is not None:
            found: V | None = value if ref() is key else None
        else:
            found = value() if kind is type(key) else None
        return found

    def set(self, key: object, value: V) -> None:
        """Set the value of a key."""
        number = id(key)
        try:
            ref: Any = weakref.ref(key, lambda gone: self._forget(number, gone))
            self._entries[number] = (ref, type(key), value)
        except TypeError:
            held = weakref.ref(value, lambda gone: self._forget(number, gone))
            self._entries[number] = (None, type(key), held)

    def _forget(self, number: int, gone: weakref.ref[Any]) -> None:
        entry = self._entries.get(number)
        if entry is not None and (entry[0] is gone or entry[2] is gone):
            del self._entries[number]

    def keys(self) -> Iterator[Any]:
        """The keys that are alive and can be reached."""
        refs = [ref for ref, _kind, _value in list(self._entries.values()) if ref is not None]
        return (key for ref in refs if (key := ref()) is not None)

    def values(self) -> list[V]:
        """The values."""
        found = [value if ref is not None else value() for ref, _kind, value in list(self._entries.values())]
        return [value for value in found if value is not None]
