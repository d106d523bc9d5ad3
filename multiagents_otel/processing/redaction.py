"""Secrets are scrubbed from all that we emit: attributes, events, exception texts, status texts, links, logs.

:func:`scrub` and :func:`scrub_value` scrub with the :class:`Redactor` in force: that of the options that
:func:`multiagents_otel.auto_instrument` was given, until then the default one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multiagents_otel.processing.nested import TRUNCATED
from multiagents_otel.processing.redactor import MAX_ATTRIBUTE, Redactor, has_mark
from multiagents_otel.processing.rules import MAX_TEXT
from multiagents_otel.processing.secrets import REDACTED

__all__ = [
    "MAX_ATTRIBUTE",
    "MAX_TEXT",
    "REDACTED",
    "TRUNCATED",
    "Redactor",
    "has_mark",
    "in_force",
    "sanitize_context_for_logging",
    "scrub",
    "scrub_value",
    "use",
]

_in_force = Redactor()


def use(redactor: Redactor) -> None:
    """Have a redactor scrub all that leaves this process from now on."""
    global _in_force
    _in_force = redactor


def in_force() -> Redactor:
    """The redactor that scrubs what leaves this process."""
    return _in_force


def scrub(text: str, path: str | None = None) -> str:
    """The text with its secrets replaced by :data:`REDACTED`, cut at 64 KiB, and fit for UTF-8.

    Args:
        text: any text.
        path: where it stands, for the user's callback; without one that is not called.
    """
    return _in_force.text(text) if path is None else _in_force.text_at(path, text)


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
