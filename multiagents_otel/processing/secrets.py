"""Where the secrets in a text are: values behind names of secrets, and values shaped like one.

What is searched may come from outside, so nothing here takes more than linear time on a hostile text: each
repetition is bounded, or what it has read is not read again. Most texts hold nothing that a secret needs (a separator
after a name, a token's prefix), and plain searches for that come first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

REDACTED: Final = "***REDACTED***"
"""Stands for a secret (the guide's word for it)."""

MARGIN: Final = 4 * 1024
"""A text is searched so far beyond its cut, so that a secret that the cut goes through is still recognised."""

Span = tuple[int, int]


def utf8(text: str) -> str:
    """The text without lone surrogates: one would have an exporter drop its whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


# --- values behind a name -------------------------------------------------------------------------

_NAME_BEFORE: Final = 64
_PART_OF_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
# "api_key": "x", password='x', token=x, secret => x, \"token\": \"x\" in JSON inside JSON, <password>x</password>
_SEPARATOR: Final = r"""\\{0,8}["']?[ \t]{0,8}(?:[:=]{1,2}>?[ \t]{0,8}|>(?=[^<>]{1,512}</))"""
_SCHEMES: Final = r"(?:bearer|basic|digest|token|negotiate|apikey|aws4-hmac-sha256)"
_VALUE: Final = re.compile(
    # A quote that is not closed ends with its line: the next line may hold another secret.
    r'"(?:[^"\\\n]|\\.)*\\?"?|'
    r"'(?:[^'\\\n]|\\.)*\\?'?|"
    # ... and one that is escaped, at its own depth
    r"""(?P<depth>\\{1,8})(?P<quote>["']).{0,512}?(?<!\\)(?P=depth)(?P=quote)|"""
    rf"(?:{_SCHEMES}[ \t]{{1,8}})?[^\s,;&)}}\]<]+",
    re.IGNORECASE,
)
_OPENING: Final = frozenset("{[(")
_BRACKET: Final = re.compile(r"[\[\](){}]")
_MAX_NESTED: Final = 4096
_NO_SECRET: Final = re.compile(
    r"""\\{0,8}["']?(?:true|false|none|null|nil|undefined|yes|no|str|int|bytes|bool|string|\*{3}REDACTED\*{3}|)"""
    r"""\\{0,8}["']?""",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
# --password hunter2, and a list of such arguments as Python prints it
_FLAG: Final = re.compile(r"""--([a-z0-9][a-z0-9_-]{0,63})(?:["'],)?[ \t]{1,4}["']?([^\s"'-][^\s"']*)""")
# ('authorization', 'x'), as headers are printed
_PAIR: Final = re.compile(r"""[(\[]b?["']([\w.-]{1,64})["'],[ ]?b?["']([^"']{1,1024})["'][)\]]""")
# {"name": "password", "value": "x"}, as environments are
_DESCRIBED: Final = re.compile(
    r"""["'](?:name|key)["']:[ ]?["']([\w.-]{1,64})["'],[ ]?["']value["']:[ ]?["']([^"']{1,1024})["']"""
)


def behind_names(text: str, lowered: str, stems: Iterable[str], is_secret: Callable[[str], bool]) -> Iterator[Span]:
    """The values behind names of secrets.

    Args:
        text: the text.
        lowered: the same in lower case, character for character.
        stems: what every name contains one of, in lower case.
        is_secret: decides by the whole name.
    """
    if "=" in text or ":" in text or "</" in text:
        for stem in stems:
            if stem in lowered:
                yield from _behind(stem, text, lowered, is_secret)
    if "--" in text:
        yield from _pairs(_FLAG.finditer(lowered), text, is_secret)
    if "'," in text or '",' in text:
        yield from _pairs(_PAIR.finditer(lowered), text, is_secret)
        if "'value'" in lowered or '"value"' in lowered:
            yield from _pairs(_DESCRIBED.finditer(lowered), text, is_secret)


def _pairs(matches: Iterable[re.Match[str]], text: str, is_secret: Callable[[str], bool]) -> Iterator[Span]:
    for match in matches:
        if is_secret(text[slice(*match.span(1))]):
            yield match.span(2)


_rules: Final[dict[str, re.Pattern[str]]] = {}


def _rule(stem: str) -> re.Pattern[str]:
    rule = _rules.get(stem)
    if rule is None:  # begins with a literal, which the regex engine finds as fast as ``in`` does
        rule = _rules[stem] = re.compile(rf"{re.escape(stem)}([\w.-]{{0,40}}){_SEPARATOR}")
    return rule


def _behind(stem: str, text: str, lowered: str, is_secret: Callable[[str], bool]) -> Iterator[Span]:
    search, at = _rule(stem).search, 0
    while (match := search(lowered, at)) is not None:
        at = match.end()
        start = match.start()
        last = max(0, start - _NAME_BEFORE)
        while start > last and text[start - 1] in _PART_OF_NAME:
            start -= 1
        name = text[start : match.end(1)]
        if text.startswith(REDACTED, at) or not is_secret(name):
            continue
        end = _value_end(text, at)
        if end > at and not _harmless(text[at:end], name, text, start):
            yield at, end
        if end - at > _NAME_BEFORE or text[end - 1] not in ":=":  # a name again, as in "token: password: x"
            at = max(at, end)


def _value_end(text: str, at: int) -> int:
    if text[at : at + 1] not in _OPENING:
        value = _VALUE.match(text, at)
        return value.end() if value is not None else at
    # {"credentials": {"user": "x"}}: up to what closes it; quotes are not looked at, a bracket in one is rare
    depth, last = 0, min(len(text), at + _MAX_NESTED)
    for bracket in _BRACKET.finditer(text, at, last):
        depth += 1 if bracket.group() in _OPENING else -1
        if depth == 0:
            return bracket.end()
    return last


def _harmless(value: str, name: str, text: str, start: int) -> bool:
    """What is no secret, whatever name it stands behind."""
    if _NO_SECRET.fullmatch(value):
        return True
    name = name.lower()
    if name == "token":  # a parser's
        return text[max(0, start - 11) : start].lower() == "unexpected "
    if name.endswith("pass"):  # pass: 12, fail: 3
        return _NUMBER.fullmatch(value) is not None
    return name.endswith("authorization") and value.isalpha()  # authorization: required


# --- values by their shape ------------------------------------------------------------------------

# Each begins with a literal; the look behind, "no letter or digit before", comes after it for the engine's sake.
_TOKENS: Final = re.compile(
    r"(?:"
    r"sk-(?<![A-Za-z0-9]sk-)[A-Za-z0-9_-]{16,}|"  # OpenAI, Anthropic, OpenRouter
    r"[srp]k_(?:live|test)_(?<![A-Za-z0-9].k_.{4}_)[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{20,}|"  # Stripe
    r"gh[pousr]_(?<![A-Za-z0-9].{4})[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|"
    r"gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{16,}|"  # GitLab
    r"xox[abeprs]-(?<![A-Za-z0-9].{5})[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}|"  # Slack
    r"(?:AKIA|ASIA)(?<![A-Za-z0-9].{4})[A-Z0-9]{16}(?![A-Za-z0-9])|"  # AWS
    r"AIza(?<![A-Za-z0-9].{4})[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}|"  # Google
    r"hf_(?<![A-Za-z0-9].{3})[A-Za-z0-9]{30,}|npm_(?<![A-Za-z0-9].{4})[A-Za-z0-9]{36,}|pypi-[A-Za-z0-9_-]{32,}|"
    r"gsk_(?<![A-Za-z0-9].{4})[A-Za-z0-9]{32,}|pplx-[A-Za-z0-9]{32,}|xai-[A-Za-z0-9]{32,}|"  # Groq, Perplexity, xAI
    r"r8_(?<![A-Za-z0-9].{3})[A-Za-z0-9]{32,}|tvly-[A-Za-z0-9-]{20,}|lsv2_[a-z]{2}_[A-Za-z0-9_]{20,}|"
    r"SG\.(?<![A-Za-z0-9].{3})[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|key-(?<![A-Za-z0-9].{4})[0-9a-f]{32}(?![0-9a-f])|"
    r"SK(?<![A-Za-z0-9].{2})[0-9a-f]{32}(?![0-9A-Za-z])|"  # SendGrid, Mailgun, Twilio
    r"do[opr]_v1_[0-9a-f]{40,}|dapi[0-9a-f]{32}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|dckr_pat_[A-Za-z0-9_-]{20,}|"
    r"hv[sbr]\.[A-Za-z0-9_-]{24,}|gl(?:sa|c)_[A-Za-z0-9+/=_-]{20,}|sntry[su]_[A-Za-z0-9+/=_-]{20,}|"
    r"NRAK-[A-Z0-9]{20,}|PMAK-[A-Za-z0-9-]{20,}|lin_api_[A-Za-z0-9]{20,}|ntn_[A-Za-z0-9]{40,}|"
    r"AGE-SECRET-KEY-1[A-Z0-9]{20,}|"
    r"eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*"  # JWT, JWE
    r")"
)
_LONG: Final = re.compile(r"[A-Za-z0-9_.+/=-]{14,}")
"""No token is shorter: they are looked for in runs like these alone."""

# Basic understanding is no credential: one has a digit, padding or a capital inside.
_HEADER: Final = re.compile(
    r"(?<![A-Za-z0-9])(?i:bearer|basic)\s{1,8}"
    r"((?=[A-Za-z._~+/-]{0,64}(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9._~+/=-]{8,})"
)
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_HOOK: Final = re.compile(
    r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|"
    r"api\.telegram\.org/bot|webhook\.office\.com/webhookb2/)([^\s\"'<>]+)"
)
_PARAMETER: Final = re.compile(
    r"[?&;](?:(?:x-(?:amz|goog|oss|cos)-(?:signature|credential|security-token)|x-oss-signature|signature|sig|pwd|pw|"
    r"hmac|hash_key)=([^\s&#\"'<>]+)|(?:key|auth|code|apikey)=([^\s&#\"'<>]{16,}))"
)


def shaped(text: str, lowered: str) -> Iterator[Span]:
    """The values that are secrets by their shape: tokens, keys, signed URLs, credentials in URLs, cards."""
    for run in _LONG.finditer(text):
        for match in _TOKENS.finditer(text, *run.span()):
            yield match.span()
    yield from _cards(text)
    if "bearer" in lowered or "basic" in lowered:
        for match in _HEADER.finditer(text):
            yield match.span(1)
    if "PRIVATE KEY" in text:
        for match in _PEM.finditer(text):
            yield match.span()
    if "://" in text:
        if "@" in text:
            yield from _userinfo(text)
        if "hook" in lowered or "telegram" in lowered:
            for match in _HOOK.finditer(lowered):
                yield match.span(1)
    if "=" in text and ("?" in text or "&" in text):
        for match in _PARAMETER.finditer(lowered):
            start, end = match.span(match.lastindex or 0)
            if not text.startswith(REDACTED, start):
                yield start, end


# --- credentials in URLs --------------------------------------------------------------------------

_URL: Final = re.compile(r"""://([^\s'"<>]{1,1024})""")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_USER_IS_TOKEN: Final = re.compile(r"(?=[A-Za-z_.-]*[0-9])[A-Za-z0-9_.-]{20,}")


def _userinfo(text: str) -> Iterator[Span]:
    # scheme://user:password@host; a password may hold any sign, "@", "/" and "?" too
    for match in _URL.finditer(text):
        rest = match.group(1)
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        at = authority.rfind("@")
        if at < 0:
            _, colon, port = authority.partition(":")
            if not colon or _PORT.fullmatch(port) or authority.startswith("["):
                continue  # http://shop:8080/@ann
            at = rest.rfind("@")
            if at < 0:
                continue
        user = rest[:at]
        if ":" in user or _USER_IS_TOKEN.fullmatch(user):
            yield match.start(1), match.start(1) + at


# --- cards ----------------------------------------------------------------------------------------

# Four digits and more, in a row or in a card's groups; not the end of a longer number or of a UUID.
_CARD: Final = re.compile(
    r"[0-9]{4}(?<![0-9.][0-9]{4})(?:[0-9]{9,15}(?!\.?[0-9])|"
    r"(?<![A-Za-z][0-9]{4})(?:([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?|([ -])[0-9]{6}\2[0-9]{4,5})"
    r"(?!-?[0-9A-Za-z]))"
)
_ISSUED: Final = re.compile(
    r"4(?:.{12}|.{15}|.{18})|(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720).*(?<=\A.{16})|3[47].{13}|"
    r"(?:6011|65|64[4-9]|62|60|50|5[6-8]|6[37]).{8,17}(?<=\A.{16})|3(?:0[0-5]|[689]).*(?<=\A.{14})|35(?:2[89]|[3-8]).{13}"
)
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_HASH_LENGTH: Final = 20


def is_card(digits: str) -> bool:
    """Whether a number is a payment card's: an issuer's prefix and length, and Luhn's check digit."""
    if not _ISSUED.fullmatch(digits):
        return False
    values = [ord(digit) - 48 for digit in reversed(digits)]
    return (sum(values[::2]) + sum(sum(divmod(2 * value, 10)) for value in values[1::2])) % 10 == 0


def _cards(text: str) -> Iterator[Span]:
    at = 0
    while (match := _CARD.search(text, at)) is not None:
        start, end = match.span()
        at = start + 4  # what is no card may hold the first group of one
        digits = match.group().replace(" ", "").replace("-", "")
        if is_card(digits) and not (len(digits) == end - start and _in_hash(text, start, end)):
            yield start, end
            at = end


def _in_hash(text: str, start: int, end: int) -> bool:
    """Whether digits in a row are a part of a longer hexadecimal number."""
    first, last = start, end
    while first > 0 and start - first < _HASH_LENGTH and text[first - 1] in _HEX:
        first -= 1
    while last < len(text) and last - end < _HASH_LENGTH and text[last] in _HEX:
        last += 1
    return last - first > end - start and last - first >= _HASH_LENGTH
