"""Rules of redaction: what is a secret, by names, by shapes and by the user's options."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import translate
from typing import Any, Final

from multiagents_otel.processing import names, secrets
from multiagents_otel.processing.guard import Guard, ends_application
from multiagents_otel.processing.secrets import MARGIN, REDACTED

MAX_TEXT: Final = 64 * 1024
"""Longer texts are cut: a stack trace of more is of no use to a reader, and scrubbing stays quick."""

Callback = Callable[[str, Any], Any]


class Rules:
    """Rules that say what a secret is, and that scrub texts.

    Args:
        keys: names that hold a secret, besides the known ones: a word that a name contains (``iban`` is in
            ``customerIBAN``), or a glob for whole names (``internal_*``). In any case.
        patterns: regular expressions of secrets; what they match is replaced.
        allow: globs of names, or of paths, whose values stay as they are; a path that has a dot may begin anywhere
            (``order.token`` is in ``multiagents.event.payload.order.token``).
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
        self._allowed = _any_of([place for glob in allow for place in _places(glob.lower())])
        self._callback = callback
        self._own = bool(own or self._patterns or callback)
        self.guard = guard or Guard(lambda component: None)
        self.enabled = enabled

    # --- names ---------------------------------------------------------------------------------

    def names_secret(self, name: str) -> bool:
        """Whether what stands behind a name is a secret."""
        if not self.enabled:
            return False
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
        if len(text) > limit + MARGIN:
            text = text[: limit + MARGIN]
        text = secrets.utf8(text)
        lowered = text.lower()
        if len(lowered) != len(text):  # "İ" is two characters then: places would not be the same
            lowered = text.translate(_LOWER)
        if self.enabled and (spans := sorted(self._secrets(text, lowered))):
            text = _without(text, spans)
        return text if len(text) <= limit else text[:limit]

    def text_at(self, path: str, text: str, limit: int = MAX_TEXT) -> str:
        """The same for a text that stands somewhere, as the user's callback and allow list want it."""
        if self.allows(path, path):
            return secrets.utf8(text)[:limit]
        return self.text(str(self.called_back(path, text)), limit)

    def _secrets(self, text: str, lowered: str) -> Iterator[secrets.Span]:
        yield from secrets.behind_names(text, lowered, self._stems, self.names_secret)
        yield from secrets.shaped(text, lowered)
        for pattern in self._patterns:
            for match in pattern.finditer(text):
                if match.group():  # "x*" matches everywhere
                    yield match.span()

    def called_back(self, path: str, value: Any) -> Any:
        """What the user's callback makes of a value."""
        if self._callback is None or not self.enabled:
            return value
        try:
            return _number_or_text(self._callback(path, value))
        except BaseException as error:  # an exporter's thread would die of it
            if ends_application(error):
                raise
            self.guard.caught("redaction")
            return REDACTED


def _number_or_text(value: Any) -> Any:
    """What a callback returned, as an attribute can have it."""
    if isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    text = str(value)
    return text if value is not None and type(text) is str else REDACTED


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


def _places(glob: str) -> tuple[str, ...]:
    """A path as the user knows it begins in a payload, which is an attribute's or a log field's itself."""
    return (glob, f"*.{glob}") if "." in glob else (glob,)


def _is_glob(key: str) -> bool:
    return any(sign in key for sign in "*?[")


def _squeezed(name: str) -> str:
    return "".join(filter(str.isalnum, name))


def _stem(key: str) -> str:
    """The longest run of letters in a name: what a text that names it contains."""
    return max(re.findall(r"[a-z0-9]+", key), key=len, default="")


def _any_of(globs: list[str]) -> Callable[[str], re.Match[str] | None] | None:
    return re.compile("|".join(map(translate, globs))).match if globs else None
