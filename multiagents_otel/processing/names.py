"""Which names hold a secret: keys of dicts, attributes, headers, parameters, and names in texts.

The guide's words (``password``, ``token``, ``api_key``, ``credit_card``, ``ssn``) and more of their kind, wherever
they stand in a name and however it is spelled (``userPassword``, ``X-Api-Key``, ``PGPASSWORD``, ``db.password``).
Look-alikes stay readable: ``max_tokens``, ``token_count``, ``author``, ``secretary``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_MAX_NAME: Final = 128

STEMS: Final = (
    "pass", "pwd", "secret", "key", "token", "card", "credential", "cookie", "cvv", "cvc", "ssn", "jwt",
    "otp", "authorization", "connection", "security", "csrf",
)  # fmt: skip
"""Every name that is one contains one of these, in lower case: texts are searched for them first."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# Matched against a name's words in lower case, joined by "_".
_SECRET: Final = re.compile(
    r"passwords?|passwd|passphrase|passcode|credentials?(?![a-z])|"
    r"(?:api|access|private|secret|account|signing|encryption|master|shared|ssh|auth|session|storage|subscription|"
    r"license|client|consumer|service)_?keys?(?![a-z])|"
    r"credit_?cards?(?![a-z])|card_?(?:numbers?|num|no|pan|pin)(?![a-z])|cc_?(?:number|num)(?![a-z])|"
    r"(?:access|auth|api|refresh|bearer|session|id|csrf|xsrf|security|user|client)_?tokens(?![a-z])|"
    r"secrets?(?=_(?:key|value|access|token|string|text|hash)|\Z)|"
    r"(?:^|_)(?:ssn|social_?security)|ssn(?:_|\Z)|connection_?string|"
    r"(?:^|_)(?:pwd|pass|cvv2?|cvc2?|jwt|otp|totp|csrf|xsrf|authorization(?:_header)?)\Z|"
    r"cookie\Z|cookie_(?:header|value)\Z"
)
_TOKEN: Final = re.compile(r"([a-z0-9]*)_?([a-z]*token)(?![a-z])(?:_([a-z]+))?")
_COUNTED: Final = frozenset({"max", "min", "num", "n", "total", "prompt", "completion", "per", "first", "avg", "mean"})
_ABOUT: Final = frozenset(
    {
        "count", "counts", "counter", "limit", "limits", "usage", "budget", "type", "len", "length", "size", "index",
        "rate", "price", "cost", "ratio", "position", "offset", "expiry", "expires", "expiration", "ttl", "bucket",
        "name",
    }
)  # fmt: skip


@lru_cache(maxsize=4096)
def names_secret(name: str) -> bool:
    """Whether what stands behind this name is a secret."""
    words = "_".join(_WORD.findall(name[-_MAX_NAME:])).lower()
    if _SECRET.search(words):
        return True
    if "token" not in words:
        return False
    return any(
        match[1] not in _COUNTED and (match[3] or "") not in _ABOUT  # max_token, token_count
        for match in _TOKEN.finditer(words)
    )
