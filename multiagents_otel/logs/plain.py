"""Plain, bounded copies of whatever a log call is given.

A copy is made when the call is made: what it is given may change or go away before it is written, may refer to
itself, be huge, or raise when it is turned into text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import date, datetime, time
from enum import Enum
from typing import Any, Final

TEXT_LIMIT: Final = 16 * 1024
"""Characters of one value."""

_SHORT: Final = 1024
_NODES: Final = 1_000
_CHARACTERS: Final = 64 * 1024
_DEPTH: Final = 8
_INT64: Final = 2**63
_CUT: Final = "...(truncated)"


def plain_fields(fields: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The fields of a record as plain values, and about how many characters they hold.

    Args:
        fields: a dict that nobody else has; it is returned as it is where its values are plain already.
    """
    characters = 0
    for value in fields.values():
        kind = type(value)
        if kind is str:
            if len(value) > _SHORT:
                break
            characters += len(value)
        elif not (value is None or kind is bool or (kind is int and -_INT64 <= value < _INT64)):
            if kind is float and math.isfinite(value):
                continue
            break
    else:
        if len(fields) <= _NODES:
            return fields, characters
    copier = _Copier()
    return {
        text_of(key, _SHORT): copier.plain(value, 0) for key, value in copier.some(fields.items())
    }, copier.characters


def text_of(value: object, limit: int = TEXT_LIMIT) -> str:
    """Any value as a text of limited length; a value that can't be told has its class' name."""
    if type(value) is not str:
        if isinstance(value, (bytes, bytearray)):
            value = bytes(value[:limit])  # the text of many is long in the making
        try:
            value = str(value)
            if type(value) is not str:
                value = "".join(value)  # a subclass of str, whose methods may be anything
        except Exception:
            value = f"<{type(value).__qualname__}>"
    if len(value) <= limit:
        return value
    # A secret that the cut goes through might not be recognised any more.
    end = max(value.rfind(" ", limit * 3 // 4, limit), limit * 3 // 4)
    return value[:end] + _CUT


class _Copier:
    """Copies nested values within one budget for all of them."""

    def __init__(self) -> None:
        self.characters = 0
        self._nodes = 0

    def plain(self, value: object, depth: int) -> Any:
        self._nodes += 1
        if value is None or value is True or value is False:
            return value
        if isinstance(value, Enum):
            value = value.value
        try:
            if isinstance(value, float):
                return float(value) if math.isfinite(value) else self._text(value)
            if isinstance(value, int):
                return int(value) if -_INT64 <= value < _INT64 else self._text(value)
            if isinstance(value, (Mapping, list, tuple, Set)):
                if depth >= _DEPTH:
                    return _CUT
                if isinstance(value, Mapping):
                    items = self.some(value.items())
                    return {text_of(key, _SHORT): self.plain(item, depth + 1) for key, item in items}
                return [self.plain(item, depth + 1) for item in self.some(value)]
            if isinstance(value, (datetime, date, time)):
                return self._text(value.isoformat())
        except Exception:
            return f"<{type(value).__qualname__}>"
        if isinstance(value, BaseException):
            return self._text(f"{type(value).__qualname__}: {text_of(value)}")
        return self._text(value)

    def some(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, as long as the budget lasts."""
        for item in items:
            if self._nodes > _NODES or self.characters > _CHARACTERS:
                return
            yield item

    def _text(self, value: object) -> str:
        text = text_of(value)
        self.characters += len(text)
        return text
