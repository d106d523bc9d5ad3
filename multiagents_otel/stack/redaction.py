"""What the Collector's redaction looks for, made from one list of names.

It mirrors :mod:`multiagents_otel.processing` as far as the Collector's regular expressions go: they can't look ahead or
behind, and have no check digits. So a whole match is masked, the name before a value too; a card's number is one by
its groups alone, since a long number without groups may be an id; and ``password=None`` is masked as well.
"""

from __future__ import annotations

from typing import Final

from multiagents_otel import semconv

__all__ = ["region"]

_ANYBODYS: Final = frozenset({semconv.STATUS, semconv.COMPONENT, semconv.SERVER_ADDRESS, semconv.MESSAGING_DESTINATION})
"""Others put texts and URLs into attributes of these names."""

_NAMES: Final = (
    r"pass(?:word|wd|phrase|code)s?(?:[_.-]?\w{1,20})?|credentials?|"
    r"(?:api|access|private|secret|account|signing|encryption|master|shared|ssh|auth|session|storage|subscription|"
    r"license|client|consumer|service)[_.-]?keys?|credit[_.-]?cards?|card[_.-]?(?:number|num|no|pan|pin)|"
    r"cc[_.-]?num(?:ber)?|token|(?:access|auth|api|refresh|bearer|session|id|csrf|xsrf|security|user|client)[_.-]?tokens|"
    r"secrets?(?:[_.-]?(?:key|value|access|token|string|text|hash))?|social[_.-]?security(?:[_.-]?\w{1,20})?|"
    r"connection[_.-]?string|(?:\b|_)(?:pwd|ssn|cvv2?|cvc2?|jwt|t?otp|csrf|xsrf)"
)
"""Names of secrets as they stand in texts; what comes after one decides."""

_SCHEME: Final = r"(?:bearer|basic|digest|token|negotiate|apikey|aws4-hmac-sha256)[ \t]{1,8}"
_SEPARATOR: Final = r"""\\{0,8}["']?[ \t]{0,8}[:=]{1,2}>?[ \t]{0,8}"""
# Never begins with an asterisk: what has been redacted before stays as it is.
_VALUE: Final = (
    r"""(?:"(?:[^"\\\n*]|\\.)(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n*]|\\.)(?:[^'\\\n]|\\.)*'?|\\{1,8}["'][^"'\\*][^"'\\]*|"""
    rf"""[\[({{][^\[\](){{}}]*[\])}}]?|(?:{_SCHEME})?[^\s,;&\[\](){{}}<"'*\\][^\s,;&)}}\]<]*)"""
)
_QUOTED: Final = r"""b?["'][^"'*][^"']*"""

_KEYS: Final = (
    r"(?i)pass(?:word|wd|phrase|code)|credit[_.-]?card|social[_.-]?security|connection[_.-]?string|"
    r"(?:api|access|private|secret|account|signing|encryption|master|shared|ssh|auth|session|storage|subscription|"
    r"license|client|consumer|service)[_.-]?keys?(?:[^a-z]|$)|(?:access|auth|api|refresh|bearer|session|id|csrf|xsrf|"
    r"security|user|client)[_.-]?tokens(?:[^a-z]|$)",
    r"(?i)secrets?(?:[_.-]?(?:key|value|access|token|string|text|hash)|$)|cookie(?:[_.-](?:header|value))?$|"
    r"(?:^|[_.-])(?:ssn(?:[_.-]|$)|(?:pwd|pass|cvv2?|cvc2?|jwt|t?otp|csrf|xsrf|authorization(?:[_.-]header)?)$)",
    # A new word begins with a capital: customerSSN, dbPass, accessTokenValue, but not tokenizer.
    r"[a-z](?:SSN|Ssn|Pwd|Pass|Cvv|Cvc|Jwt|Otp|Authorization)$|"
    r"(?i:credentials?|token|card[_.-]?(?:number|num|no|pan|pin)|cc[_.-]?num(?:ber)?)(?:[^a-z]|$)",
)
_COUNTS: Final = (
    r"(?i)(?:^|[_.-])(?:max|min|num|n|total|prompt|completion|per|first|avg|mean)[_.-]?tokens?$|"
    r"token[_.-]?(?:counts?|counter|limits?|usage|budget|type|len|length|size|index|rate|price|cost|ratio|position|"
    r"offset|expiry|expires|expiration|ttl|bucket|name)$",
)
"""Names that only look as if a token were behind them."""

_TEXTS: Final = (
    rf"(?i)(?:{_NAMES}){_SEPARATOR}{_VALUE}",
    r"""(?i)(?:\b|_)pass""" + _SEPARATOR + r"""["']?[^\s\d,;&(){}\[\]<"'*\\][^\s,;&)}\]<]*""",
    rf"""(?i)authorization{_SEPARATOR}["']?(?:{_SCHEME}[^\s"',;*]+|[a-z]*[^a-z\s"'*][^\s"']*)""",
    r"""(?i)cookie""" + _SEPARATOR + r"""["']?[^"'\n*][^"'\n]*""",
    rf"(?i)(?:{_NAMES})>[^<>*]{{1,512}}</",
    rf"""(?i)[(\[]b?["'][\w.-]*(?:{_NAMES}|authorization|cookie)["'], ?{_QUOTED}""",
    rf"""(?i)["'](?:name|key)["']: ?["'][\w.-]*(?:{_NAMES}|authorization)["'], ?["']value["']: ?{_QUOTED}""",
    rf"""(?i)--[a-z0-9-]*(?:{_NAMES})(?:["'],)?[ \t]{{1,4}}["']?[^\s"'*-][^\s"']*""",
)
"""A value behind a name, as texts have them: settings, JSON, headers, XML, environments, command lines."""

_SHAPES: Final = (
    r"(?:\b|_)(?:sk-[A-Za-z0-9_-]{16,}|[srp]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{20,}|"
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{16,}|"
    r"xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|"
    r"AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|"
    r"npm_[A-Za-z0-9]{36,}|pypi-[A-Za-z0-9_-]{32,}|gsk_[A-Za-z0-9]{32,}|pplx-[A-Za-z0-9]{32,}|xai-[A-Za-z0-9]{32,}|"
    r"r8_[A-Za-z0-9]{32,}|tvly-[A-Za-z0-9-]{20,}|lsv2_[a-z]{2}_\w{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|"
    r"key-[0-9a-f]{32}\b|SK[0-9a-f]{32}\b|do[opr]_v1_[0-9a-f]{40,}|dapi[0-9a-f]{32}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|"
    r"dckr_pat_[A-Za-z0-9_-]{20,}|hv[sbr]\.[A-Za-z0-9_-]{24,}|gl(?:sa|c)_[A-Za-z0-9+/=_-]{20,}|"
    r"sntry[su]_[A-Za-z0-9+/=_-]{20,}|NRAK-[A-Z0-9]{20,}|PMAK-[A-Za-z0-9-]{20,}|lin_api_[A-Za-z0-9]{20,}|"
    r"ntn_[A-Za-z0-9]{40,}|AGE-SECRET-KEY-1[A-Z0-9]{20,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*)",
    r"\b(?i:bearer|basic)\s{1,8}[A-Za-z._~+/-]{0,64}(?:[0-9=]|[a-z][A-Z])[A-Za-z0-9._~+/=-]{6,}",
    r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)",
    r"(?i)(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|"
    r"api\.telegram\.org/bot|webhook\.office\.com/webhookb2/)[^\s\"'<>]+",
    r"(?i)[?&;](?:(?:x-(?:amz|goog|oss|cos)-(?:signature|credential|security-token)|x-oss-signature|signature|sig|pwd|"
    r"pw|hmac|hash_key)=[^\s&#\"'<>*]+|(?:key|auth|code|apikey)=[^\s&#\"'<>]{16,})",
    # user:password@; after a digit it may be a port, and then nothing that a path could hold
    r"""://[^\s/?#"'<>:@]*:(?:[^\s/?#"'<>*][^\s/?#"'<>]*|[^\s\d/?#"'<>*][^\s"'<>]*)@|"""
    r"://[A-Za-z_.-]*[0-9][A-Za-z0-9_.-]{19,}@",
    r"\b(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6(?:011|5\d\d))(?: \d{4} \d{4} \d{4}|-\d{4}-\d{4}-\d{4})\b|"
    r"\b3[47]\d\d(?: \d{6} \d{5}|-\d{6}-\d{5})\b",
)
"""Values that are secrets by their shape: tokens, keys, signed and open URLs, cards in groups."""


def region() -> list[str]:
    """The lines of the redaction processor's settings that say what is a secret."""
    lists = {
        "ignored_keys": sorted(semconv.NO_TEXTS - _ANYBODYS),
        "ignored_key_patterns": _COUNTS,
        "blocked_key_patterns": _KEYS,
        "blocked_values": (*_TEXTS, *_SHAPES),
    }
    return [line for name, items in lists.items() for line in (f"{name}:", *(f"  - {_quoted(item)}" for item in items))]


def _quoted(text: str) -> str:
    return text if text.replace(".", "").replace("_", "").isalnum() else "'" + text.replace("'", "''") + "'"
