"""Secrets are scrubbed from all that we emit: attributes, events, exception texts, status texts, links, logs.

:func:`scrub` and :func:`scrub_value` scrub with the :class:`Redactor` in force: that of the options that
:func:`multiagents_otel.auto_instrument` was given, until then the default one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from fnmatch import translate
from typing import Any, Final
from uuid import UUID

from multiagents_otel import semconv
from multiagents_otel.processing import names, secrets
from multiagents_otel.processing.guard import Guard

REDACTED: Final = "***REDACTED***"
"""Stands for a secret (the guide's word for it)."""

TRUNCATED: Final = "...TRUNCATED"
"""Stands for what was too deep or too much to be looked at."""

MAX_TEXT: Final = 64 * 1024
"""Longer texts are cut: a stack trace of more is of no use to a reader, and scrubbing stays quick."""

MAX_ATTRIBUTE: Final = 256 * 1024
"""The same for attributes and log bodies that are the application's own."""

_MARGIN: Final = 4 * 1024
"""Scrubbed beyond the cut, so that a secret that the cut goes through is still recognised."""

_MAX_DEPTH: Final = 16
_MAX_NODES: Final = 10_000
_MAX_TOTAL: Final = 256 * 1024
_MAX_JSON: Final = 256 * 1024
_NUMBERS: Final = (int, float, bool)
_CARD_DIGITS: Final = range(10**11, 10**19)
_PLAIN: Final = (bool, float, complex, date, time, timedelta, Decimal, UUID, type(None))

Callback = Callable[[str, Any], Any]


class Redactor:
    """Scrubs texts and nested values.

    Args:
        keys: names that hold a secret, besides the known ones: a word that a name contains (``iban`` is in
            ``customerIBAN``), or a glob for whole names (``internal_*``). In any case.
        patterns: regular expressions of secrets; what they match is replaced.
        allow: globs of names, or of paths (``payload.order.token``), whose values stay as they are.
        callback: ``(path, value) -> value``, called with each text and number before it is scrubbed; what it returns
            takes its place, and is scrubbed; None redacts it whole, and so does an exception.
        enabled: False scrubs nothing at all.
        guard: counts the faults of the callback.
    """

    def __init__(
        self,
        keys: Iterable[str] = (),
        patterns: Iterable[str | re.Pattern[str]] = (),
        allow: Iterable[str] = (),
        callback: Callback | None = None,
        *,
        enabled: bool = True,
        guard: Guard | None = None,
    ) -> None:
        own = [key.lower() for key in keys]
        globs = [key for key in own if _is_glob(key)]
        self._words = tuple(filter(None, (_squeezed(key) for key in own if not _is_glob(key))))
        self._globs = _any_of(globs)
        self._stems = (*names.STEMS, *{stem for key in own if (stem := _stem(key))})
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)
        self._allowed = _any_of([glob.lower() for glob in allow])
        self._callback = callback
        self._own = bool(own or self._patterns or callback)
        self.guard = guard or Guard(lambda component: None)
        self.enabled = enabled

    # --- names ---------------------------------------------------------------------------------

    def names_secret(self, name: str) -> bool:
        """Whether what stands behind a name is a secret."""
        if self._allowed is not None and self._allowed(name.lower()):
            return False
        if names.names_secret(name):
            return True
        if self._words and (squeezed := _squeezed(name.lower())) and any(word in squeezed for word in self._words):
            return True
        return self._globs is not None and self._globs(name.lower()) is not None

    def allows(self, name: str, path: str) -> bool:
        """Whether a value stays as it is, by its name or its path."""
        allowed = self._allowed
        return allowed is not None and (allowed(name.lower()) or allowed(path.lower())) is not None

    # --- texts ---------------------------------------------------------------------------------

    def text(self, text: str, limit: int = MAX_TEXT) -> str:
        """The text with its secrets replaced by :data:`REDACTED`, cut at ``limit``, and fit for UTF-8."""
        if len(text) > limit + _MARGIN:
            text = text[: limit + _MARGIN]
        if text.isascii():
            lowered = text.lower()
        else:
            # One lone surrogate would have an exporter drop its whole batch.
            text = text.encode("utf-8", "replace").decode()
            lowered = text.lower()
            if len(lowered) != len(text):  # "İ" is two characters then: places would not be the same
                lowered = text.translate(_LOWER)
        if self.enabled and (spans := sorted(self._secrets(text, lowered))):
            text = _without(text, spans)
        return text if len(text) <= limit else text[:limit]

    def _secrets(self, text: str, lowered: str) -> Iterator[secrets.Span]:
        yield from secrets.behind_names(text, lowered, self._stems, self.names_secret)
        yield from secrets.shaped(text, lowered)
        for pattern in self._patterns:
            for match in pattern.finditer(text):
                yield match.span()

    # --- values --------------------------------------------------------------------------------

    def value(self, value: Any, key: str | None = None, limit: int = MAX_TEXT) -> Any:
        """The value without its secrets, however deep they are; what was given is never changed.

        Dicts, lists, tuples and sets come back as new ones; a JSON text is scrubbed as what it holds; an object whose
        text holds a secret becomes its scrubbed text. Beyond 16 levels, 10,000 items or 256 KiB of text
        :data:`TRUNCATED` stands for the rest.

        Args:
            value: anything.
            key: the name that it stands behind; its whole value is a secret if that names one.
            limit: characters at which a text is cut.
        """
        if not self.enabled:
            return value
        return _Walk(self, limit).item(key or "", key or "", value)

    def attributes(
        self, attributes: Mapping[str, Any] | None, note: list[str], prefix: str = "", limit: int = MAX_ATTRIBUTE
    ) -> dict[str, Any]:
        """The attributes that scrubbing changes, with what they become.

        Args:
            attributes: of a span, event, link, log record or measurement.
            note: where a secret was is appended to it.
            prefix: what stands before the keys there.
            limit: characters at which a text is cut.
        """
        changed: dict[str, Any] = {}
        if not attributes or (not self._own and semconv.NO_TEXTS.issuperset(attributes)):
            return changed
        for key, value in attributes.items():
            if key in semconv.NO_TEXTS and not self._own:
                continue
            scrubbed = self.value(value, key, limit)
            if isinstance(scrubbed, tuple) and scrubbed != value and len({type(item) for item in scrubbed}) > 1:
                scrubbed = REDACTED  # an attribute's sequence is of one type
            if scrubbed != value:
                changed[key] = scrubbed
            if has_mark(scrubbed):
                note.append(prefix + key)
        return changed

    def called_back(self, path: str, value: Any) -> Any:
        """What the user's callback makes of a value."""
        if self._callback is None:
            return value
        try:
            value = self._callback(path, value)
        except Exception:
            self.guard.caught("redaction")
            return REDACTED
        return REDACTED if value is None else value


class _Walk:
    """One value's walk: what has been seen of it, and how much may still be looked at."""

    __slots__ = ("_above", "_left", "_limit", "_nodes", "_redactor")

    def __init__(self, redactor: Redactor, limit: int) -> None:
        self._redactor = redactor
        self._limit = limit
        self._nodes = _MAX_NODES
        self._left = _MAX_TOTAL
        self._above: list[int] = []

    def item(self, name: str, path: str, value: Any) -> Any:
        """A value behind a name."""
        redactor = self._redactor
        if redactor.allows(name, path):
            return value
        if name and redactor.names_secret(name):
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
        text = self._redactor.called_back(path, text)
        if type(text) is not str:
            return text
        self._left -= len(text)
        if text[:1] in "{[" and text and len(text) <= _MAX_JSON:
            try:
                inside = json.loads(text)
            except (ValueError, RecursionError):
                pass
            else:
                if not isinstance(inside, (dict, list)):
                    return self._redactor.text(text, self._limit)
                scrubbed = self._container(path, inside)
                if scrubbed != inside:
                    text = json.dumps(scrubbed, ensure_ascii=False)
                return text if len(text) <= self._limit else text[: self._limit]
        return self._redactor.text(text, self._limit)

    def _number(self, path: str, number: int) -> Any:
        number = self._redactor.called_back(path, number)
        if number in _CARD_DIGITS and secrets.is_card(str(int(number))):
            return REDACTED
        return number

    def _bytes(self, path: str, data: bytes | bytearray) -> Any:
        # Latin-1 gives each byte a character and back: what is no secret stays the same bytes.
        text = self._text(path, bytes(data[: self._limit + _MARGIN]).decode("latin-1"))
        if not isinstance(text, str):
            return text
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
            self._redactor.guard.caught("redaction")
            return REDACTED
        finally:
            self._above.pop()

    def _mapping(self, path: str, value: Mapping[Any, Any]) -> dict[Any, Any]:
        described = value.get("name", value.get("key")) if len(value) <= 4 and "value" in value else None
        secret = isinstance(described, str) and self._redactor.names_secret(described)
        scrubbed: dict[Any, Any] = {}
        for key, inside in tuple(value.items()):
            name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
            if self._nodes < 0 or self._left < 0:
                scrubbed[TRUNCATED] = len(value) - len(scrubbed)
                break
            if secret and name == "value":  # {"name": "password", "value": "x"}
                scrubbed[key] = REDACTED
                continue
            if isinstance(key, str):
                key = self._redactor.text(key, 256)
            scrubbed[key] = self.item(name, f"{path}.{name}" if path else name, inside)
        return scrubbed

    def _items(self, path: str, value: Any) -> Iterator[Any]:
        secret = False
        pair = len(value) == 2
        for item in tuple(value):
            if self._nodes < 0 or self._left < 0:
                yield TRUNCATED
                return
            yield REDACTED if secret else self._any(path, item)
            # ("authorization", "x") as headers are, ["--password", "x"] as command lines are
            name = item.decode("latin-1") if isinstance(item, bytes) else item
            secret = isinstance(name, str) and (pair or name[:1] == "-") and not secret and self._says_secret(name)

    def _says_secret(self, name: str) -> bool:
        return len(name) <= 64 and "=" not in name and self._redactor.names_secret(name)


def has_mark(value: Any) -> bool:
    """Whether a secret was scrubbed from a value, now or before."""
    if type(value) in _NUMBERS:
        return False
    return REDACTED in (value if isinstance(value, str) else repr(value))


_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def _without(text: str, spans: list[secrets.Span]) -> str:
    parts: list[str] = []
    at = 0
    for start, end in spans:
        if start >= at:
            parts += text[at:start], REDACTED
        at = max(at, end)
    parts.append(text[at:])
    return "".join(parts)


def _is_glob(key: str) -> bool:
    return any(sign in key for sign in "*?[")


def _squeezed(name: str) -> str:
    return "".join(filter(str.isalnum, name))


def _stem(key: str) -> str:
    """The longest run of letters in a name: what a text that names it contains."""
    return max(re.findall(r"[a-z0-9]+", key), key=len, default="")


def _any_of(globs: list[str]) -> Callable[[str], re.Match[str] | None] | None:
    return re.compile("|".join(map(translate, globs))).match if globs else None


# --- the redactor in force ------------------------------------------------------------------------

_in_force = Redactor()


def use(redactor: Redactor) -> None:
    """Have a redactor scrub all that leaves this process from now on."""
    global _in_force
    _in_force = redactor


def in_force() -> Redactor:
    """The redactor that scrubs what leaves this process."""
    return _in_force


def scrub(text: str) -> str:
    """The text with its secrets replaced by :data:`REDACTED`, cut at 64 KiB, and fit for UTF-8."""
    return _in_force.text(text)


def scrub_value(value: Any, key: str | None = None) -> Any:
    """The value without its secrets, however deep they are; see :meth:`Redactor.value`."""
    return _in_force.value(value, key)


def sanitize_context_for_logging(context: Mapping[str, Any]) -> dict[str, Any]:
    """A context without its secrets, as the guide's function of this name returns it.

    The value behind a key that names a secret becomes ``"***REDACTED***"``, in nested dicts and lists too; and so do
    secrets inside texts. The given context is not changed.
    """
    sanitized: dict[str, Any] = _in_force.value(dict(context))
    return sanitized
