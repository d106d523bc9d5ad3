"""Secrets are scrubbed from every text that we emit: exception messages, stack traces, status texts.

Scrubbed are values behind a key that names a secret (``password=...``, ``"api_key": "..."``,
``Authorization: Bearer ...``), credentials in URLs, and values shaped like a well-known token.

What is scrubbed may come from outside, so no rule may take more than linear time on a hostile text: each
repetition is bounded, or what it has read is consumed, or a look behind lets it start only once.
"""

from __future__ import annotations

import re
from typing import Any, Final

REDACTED: Final = "***REDACTED***"

_MAX_TEXT: Final = 64 * 1024
"""Longer texts are cut: a stack trace of more is of no use to a reader, and scrubbing stays quick."""

_MARGIN: Final = 4 * 1024
"""Scrubbed beyond the cut, so that a secret that the cut goes through is still recognised."""

# Names that hold a secret, at the end of any longer one (PGPASSWORD, x-api-key, csrftoken). What follows must be a
# separator, which keeps look-alikes readable: "author", "secretary", "max_tokens".
_NAMES: Final = (
    r"(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|secret[_-]?key|"
    r"account[_-]?key|token|credit[_-]?card|card[_-]?number|credentials?|cookie|(?<![a-z0-9])(?:pwd|pass|cvv|ssn))"
)
_SCHEMES: Final = r"(?:bearer|basic|digest|token|negotiate|apikey)"
# In JSON inside JSON the quotes are escaped.
_VALUE: Final = (
    r'"(?:[^"\\]|\\.)*(?:"|\Z)|'
    r"'(?:[^'\\]|\\.)*(?:'|\Z)|"
    r"""\\{1,8}(?P<quote>["']).{0,256}?\\{1,8}(?P=quote)|"""
    rf"(?:{_SCHEMES}\s{{1,8}})?[^\s,;&)}}\]]+"
)

_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # Authorization: Bearer xyz
    (
        re.compile(
            rf"""(?i)(authorization["'\\]{{0,8}}\s{{0,8}}[:=]\s{{0,8}}["'\\]{{0,8}}{_SCHEMES}\s{{1,8}})[^\s"',;\\]+"""
        ),
        r"\1" + REDACTED,
    ),
    # Bearer xyz, Basic xyz; "basic validation" is no credential: one has a digit, padding or capitals inside
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?i:(bearer|basic))(\s{1,8})(?=[A-Za-z._~+/-]{0,64}(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9._~+/=-]{8,}"
        ),
        r"\1\2" + REDACTED,
    ),
    # "api_key": "xyz", password='x y', token=xyz
    (re.compile(rf"""(?i)({_NAMES}\\{{0,8}}["']?\s{{0,8}}[:=]\s{{0,8}})(?:{_VALUE})"""), r"\1" + REDACTED),
    # Well-known shapes: OpenAI, Anthropic, Stripe, GitHub, GitLab, Slack, AWS, Google, Hugging Face, npm, JWT, PEM
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{16,}|[srp]k_(?:live|test)_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|"
            r"github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|"
            r"(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36,}|"
            r"(?<![_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
        ),
        REDACTED,
    ),
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        REDACTED,
    ),
)
_URL: Final = re.compile(r"://([^\s'\"<>]+)@")
_CARD: Final = re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d.-])")


def scrub(text: str) -> str:
    """The text with its secrets replaced by :data:`REDACTED`, cut at 64 KiB, and fit for UTF-8."""
    text = text[: _MAX_TEXT + _MARGIN]
    if not text.isascii():
        # One lone surrogate would have an exporter drop its whole batch.
        text = text.encode("utf-8", "replace").decode()
    if "://" in text and "@" in text:
        text = _URL.sub(_scrub_url, text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _CARD.sub(_scrub_card, text)[:_MAX_TEXT]


def _scrub_url(match: re.Match[str]) -> str:
    # scheme://user:password@host
    return f"://{REDACTED}@" if ":" in match.group(1) else match.group()


def _scrub_card(match: re.Match[str]) -> str:
    digits = [int(char) for char in match.group() if char.isdigit()]
    # Luhn's check: order numbers and timestamps of the same length stay readable nine times out of ten.
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return REDACTED if total % 10 == 0 else match.group()


def scrub_value(value: Any, key: str | None = None) -> Any:
    """A plain value with the secrets in it replaced, dicts and lists all through."""
    if isinstance(value, str):
        named = key is not None and scrub(f"{key}=x") != f"{key}=x"
        return REDACTED if named else scrub(value)
    if isinstance(value, dict):
        return {name: scrub_value(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [scrub_value(item, key) for item in value]
    return value
