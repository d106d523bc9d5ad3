"""Secrets are scrubbed from every text that we emit: exception messages, stack traces, status texts.

Scrubbed are values behind a key that names a secret (``password=...``, ``"api_key": "..."``,
``Authorization: Bearer ...``), credentials in URLs, and values shaped like a well-known token.
"""

from __future__ import annotations

import re
from typing import Final

REDACTED: Final = "***REDACTED***"

_MAX_TEXT: Final = 64 * 1024
"""Longer texts are cut: a stack trace of more is of no use to a reader, and scrubbing stays quick."""

# Names that hold a secret. Repetitions are bounded, or a hostile text would take quadratic time. Word limits keep
# look-alikes readable: "author", "secretary".
_NAMES: Final = (
    r"(?:[a-z0-9]{1,32}[_-]){0,4}(?:password|passwd|passphrase|pwd|secret|api[_-]?key|apikey|access[_-]?key|private[_-]?key|"
    r"secret[_-]?key|auth[_-]?token|access[_-]?token|refresh[_-]?token|id[_-]?token|session[_-]?token|token|"
    r"credit[_-]?card|card[_-]?number|cvv|ssn|client[_-]?secret|credentials?|cookie)"
)

_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # scheme://user:password@host
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:'\"]{0,256}:[^\s@'\"]{1,1024}@"), r"\1" + REDACTED + "@"),
    # Authorization: Bearer xyz, Basic xyz
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), r"\1 " + REDACTED),
    # "api_key": "xyz", password='x y', token=xyz
    (
        re.compile(
            rf"""(?i)(?<![a-z0-9])({_NAMES}["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&)}}\]]+)"""
        ),
        r"\1" + REDACTED,
    ),
    # Well-known shapes: OpenAI, GitHub, Slack, AWS, Google, JWT, PEM
    (
        re.compile(
            r"\b(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|"
            r"(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
        ),
        REDACTED,
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
)
_CARD: Final = re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d.-])")


def scrub(text: str) -> str:
    """The text with its secrets replaced by :data:`REDACTED`, cut at 64 KiB."""
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT]
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _CARD.sub(_scrub_card, text)


def _scrub_card(match: re.Match[str]) -> str:
    digits = [int(char) for char in match.group() if char.isdigit()]
    # Luhn's check: order numbers and timestamps of the same length stay readable nine times out of ten.
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return REDACTED if total % 10 == 0 else match.group()
