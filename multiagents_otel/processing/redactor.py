"""Redactor: scrubs texts, nested values and attributes by its rules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from multiagents_otel import semconv
from multiagents_otel.processing.nested import MAX_TOTAL, TRUNCATED, Walk
from multiagents_otel.processing.rules import MAX_TEXT, Rules
from multiagents_otel.processing.secrets import REDACTED

MAX_ATTRIBUTE: Final = 128 * 1024
"""The same for attributes and log bodies that are the application's own."""

_NUMBERS: Final = (int, float, bool)

_NO_NAME: Final = re.compile(r"[^\w.-]")
"""A key that is no plain name may hold anything."""


class Redactor(Rules):
    """Scrubs texts and nested values; the arguments are those of :class:`Rules`."""

    def value(self, value: Any, key: str | None = None, limit: int = MAX_TEXT) -> Any:
        """The value without its secrets, however deep they are; what was given is never changed.

        Dicts, lists, tuples and sets come back as new ones; a JSON text is scrubbed as what it holds; an object whose
        text holds a secret becomes its scrubbed text. Beyond 16 levels, 10,000 items or 128 KiB of text
        :data:`TRUNCATED` stands for the rest.

        Args:
            value: anything.
            key: the name that it stands behind; its whole value is a secret if that names one.
            limit: characters at which a text is cut.
        """
        if not self.enabled:
            return value
        return Walk(self, limit, MAX_TOTAL).item(key or "", key or "", value)

    def content(self, value: Any, path: str, limit: int) -> str:
        """The value without its secrets as JSON of at most ``limit`` characters; not more is looked at either."""
        inside = Walk(self, limit, limit).item("", path, value)
        text = json.dumps(inside, default=str, ensure_ascii=False, skipkeys=True)
        return text if len(text) <= limit else text[: max(0, limit - len(TRUNCATED))] + TRUNCATED[:limit]

    def attributes(
        self, attributes: Mapping[str, Any] | None, note: list[str], prefix: str = "", limit: int = MAX_ATTRIBUTE
    ) -> dict[str, Any] | None:
        """The attributes without their secrets; None if that changes nothing.

        Args:
            attributes: of a span, event, link, log record or measurement.
            note: where a secret was is appended to it.
            prefix: what stands before the keys there.
            limit: characters at which a text is cut.
        """
        if not self.enabled or not attributes or (not self._own and semconv.NO_TEXTS.issuperset(attributes)):
            return None
        scrubbed: dict[str, Any] = {}
        changed = False
        for key, value in attributes.items():
            name, told = key, value
            if self._own or key not in semconv.NO_TEXTS:
                told = self.value(value, key, limit)
                if isinstance(told, tuple) and told != value and len({type(item) for item in told}) > 1:
                    told = REDACTED  # an attribute's sequence is of one type
                name = self.text(key) if _NO_NAME.search(key) else key
                if has_mark(told) or has_mark(name):
                    note.append(prefix + name)
                changed = changed or name != key or (told is not value and told != value)
            scrubbed[name] = told
        return scrubbed if changed else None


def has_mark(value: Any) -> bool:
    """Whether a secret was scrubbed from a value, now or before."""
    if type(value) in _NUMBERS:
        return False
    return REDACTED in (value if isinstance(value, str) else repr(value))
