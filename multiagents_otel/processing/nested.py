"""A value without its secrets, however deep they are: what is nested is walked, and never changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final
from uuid import UUID

from multiagents_otel.processing import secrets
from multiagents_otel.processing.rules import Rules
from multiagents_otel.processing.secrets import REDACTED

TRUNCATED: Final = "...TRUNCATED"
"""Stands for what was too deep or too much to be looked at."""

MAX_TOTAL: Final = 128 * 1024
_MAX_DEPTH: Final = 16
_MAX_NODES: Final = 10_000
_MAX_JSON: Final = 128 * 1024
_MAX_KEY: Final = 256
_JSON: Final = frozenset('{["')
_JSON_ENDS: Final = frozenset('}]" \n')
_NAME: Final = re.compile(r"[\w.-]{1,64}")
_SHORTEST_TOKEN: Final = 20
_CARDS_FROM: Final = 10**11
_CARDS_TO: Final = 10**19
_NUMBERS: Final = (int, float)
_PLAIN: Final = (bool, float, complex, date, time, timedelta, Decimal, UUID, type(None))


class Walk:
    """One value's walk: what has been seen of it, and how much may still be looked at."""

    __slots__ = ("_above", "_left", "_limit", "_nodes", "_rules")

    def __init__(self, rules: Rules, limit: int, total: int) -> None:
        self._rules = rules
        self._limit = limit
        self._nodes = _MAX_NODES
        self._left = total
        self._above: list[int] = []

    def item(self, name: str, path: str, value: Any) -> Any:
        """A value behind a name."""
        rules = self._rules
        if rules.allows(name, path):
            return value
        if name and rules.names_secret(name):
            return REDACTED
        return self._any(path, value)

    def _any(self, path: str, value: Any) -> Any:
        self._nodes -= 1
        if self._nodes < 0 or self._left < 0:
            return TRUNCATED
        if type(value) is str:
            return self._text(path, value)
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(path, value)
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, (bytes, bytearray)):
            return self._bytes(path, value)
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return self._container(path, value)
        return self._object(path, value)

    def _text(self, path: str, text: str) -> Any:
        called_back = self._rules.called_back(path, text)
        if isinstance(called_back, _NUMBERS):
            return called_back
        text = str(called_back)
        if text[:1] in _JSON and text[-1:] in _JSON_ENDS and len(text) <= _MAX_JSON:
            try:
                inside = json.loads(text)
            except (ValueError, RecursionError):
                pass
            else:
                return self._json(path, text, inside)
        self._left -= len(text)
        return self._rules.text(text, self._limit)

    def _json(self, path: str, text: str, inside: Any) -> str:
        # A text in quotes holds another one, JSON perhaps.
        scrubbed = self._text(path, inside) if isinstance(inside, str) else self._container(path, inside)
        if scrubbed != inside:
            text = json.dumps(scrubbed, ensure_ascii=False)
        return secrets.utf8(text)[: self._limit]

    def _number(self, path: str, number: int) -> Any:
        called_back = self._rules.called_back(path, number)
        if not isinstance(called_back, _NUMBERS):
            return self._rules.text(str(called_back), self._limit)
        if _CARDS_FROM <= called_back < _CARDS_TO and self._rules.enabled and secrets.is_card(str(int(called_back))):
            return REDACTED
        return called_back

    def _bytes(self, path: str, data: bytes | bytearray) -> Any:
        # Latin-1 gives each byte a character and back: what is no secret stays the same bytes.
        text = str(self._text(path, bytes(data[: self._limit + secrets.MARGIN]).decode("latin-1")))
        return text.encode("latin-1", "replace")

    def _object(self, path: str, thing: Any) -> Any:
        try:
            text = str.__str__(thing) if isinstance(thing, str) else str(thing)
        except Exception:
            return f"<{type(thing).__name__}>"
        scrubbed = self._text(path, text)
        return thing if scrubbed == text else scrubbed

    def _container(self, path: str, value: Any) -> Any:
        if len(self._above) >= _MAX_DEPTH or id(value) in self._above:
            return TRUNCATED
        self._above.append(id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(path, value)
            items = self._items(path, value)
            if type(value) in (list, set, frozenset):
                return type(value)(items)
            return tuple(items) if isinstance(value, tuple) else list(items)
        except Exception:  # a class of the user's that is no container after all
            self._rules.guard.caught("redaction")
            return REDACTED
        finally:
            self._above.pop()

    def _mapping(self, path: str, value: Mapping[Any, Any]) -> dict[Any, Any]:
        described = value.get("name", value.get("key")) if len(value) <= 4 and "value" in value else None
        secret = isinstance(described, str) and self._says_secret(described)
        scrubbed: dict[Any, Any] = {}
        items = tuple(islice(value.items(), _MAX_NODES))  # not all of a huge one are copied
        for key, inside in items:
            name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
            self._left -= len(name)
            if self._nodes < 0 or self._left < 0:
                scrubbed[TRUNCATED] = len(value) - len(scrubbed)
                break
            if secret and name == "value":  # {"name": "password", "value": "x"}
                scrubbed[key] = REDACTED
                continue
            if isinstance(key, str) and not (len(key) < _SHORTEST_TOKEN and key.isidentifier()):
                key = self._rules.text(key, _MAX_KEY)
            scrubbed[key] = self.item(name, f"{path}.{name}" if path else name, inside)
        else:
            if len(items) < len(value):
                scrubbed[TRUNCATED] = len(value) - len(items)
        return scrubbed

    def _items(self, path: str, value: Any) -> Iterator[Any]:
        secret = False
        pair = len(value) == 2
        for item in tuple(islice(value, _MAX_NODES)):
            if self._nodes < 0 or self._left < 0:
                yield TRUNCATED
                return
            yield REDACTED if secret else self._any(path, item)
            # ("authorization", "x") as headers are, ["--password", "x"] as command lines are
            name = item.decode("latin-1") if isinstance(item, bytes) else item
            secret = isinstance(name, str) and (pair or name[:1] == "-") and not secret and self._says_secret(name)
        if len(value) > _MAX_NODES:
            yield TRUNCATED

    def _says_secret(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None and self._rules.names_secret(name)
