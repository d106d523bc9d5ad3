"""What the Collector's redaction looks for, made from lists of names and of shapes.

It mirrors :mod:`multiagents_otel.processing` as far as the Collector's regular expressions go: they can't look ahead or
behind, and have no check digits. So what is masked includes the name before a value; a card's number is one by its
groups alone, since a long number without groups may be an id; and ``password=None`` is masked as well.

Nearly every expression begins with letters that have to be there, in one spelling: an engine that only searches for
these takes a hundredth of the time of one that tries alternatives at each letter. That is why they are many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from multiagents_otel import semconv

__all__ = ["region"]


class _Name(NamedTuple):
    """A name of a secret: its words, and what may follow it in a text and in a key."""

    words: str
    in_text: str = ""
    in_key: str = "$"

    def spelled(self, after: str) -> Iterator[str]:
        """The name in small letters (api_key, apiKey), with a capital first (ApiKey, Api-Key), in capitals."""
        first, *others = self.words.split()
        rest = "".join(f"[_.-]?[{word[0]}{word[0].upper()}]{word[1:]}" for word in others)
        yield f"{first}{rest}{after}"
        yield f"{first.capitalize()}{rest}{after}"
        rest = "".join(f"[_.-]?(?:{word.upper()}|{word.capitalize()})" for word in others)
        yield f"{first.upper()}{rest}{after}"


_ENDS: Final = "(?:[^a-z]|$)"

_NAMES: Final = (
    *(_Name(f"pass {rest}", r"\w*", "") for rest in ("word", "wd", "phrase", "code")),
    _Name("secret", "s?", "s?(?:[_.-]?(?:value|access|token|string|text|hash))?$"),
    _Name("token", "", r"(?:[_.-]?(?:value|\d+))?$"),
    _Name("credential", "s?", f"s?{_ENDS}"),
    *(
        _Name(f"{owner} key", "s?", f"s?{_ENDS}")
        for owner in (
            "api", "access", "private", "secret", "account", "signing", "encryption", "master", "shared", "ssh", "auth",
            "session", "storage", "subscription", "license", "client", "consumer", "service",
        )
    ),
    _Name("credit card", "s?", ""),
    *(_Name(f"card {what}", "", _ENDS) for what in ("number", "num", "no", "pan", "pin")),
    _Name("cc num", r"(?:ber)?", r"(?:ber)?$"),
    _Name("connection string", "", ""),
    _Name("social security", r"\w*", ""),
    _Name("ssn", "", "(?:[_.-]|$)"),
    _Name("cvv", "2?", "2?$"),
    _Name("cvc", "2?", "2?$"),
    *(_Name(word) for word in ("pwd", "jwt", "otp", "csrf", "xsrf")),
)  # fmt: skip
_KEYS_ALONE: Final = (
    _Name("authorization", in_key="(?:[_.-]?[hH]eader)?$"),
    _Name("cookie", in_key="(?:[_.-]?(?:[hH]eader|[vV]alue))?$"),
    *(_Name(f"{owner} tokens") for owner in ("access", "auth", "api", "refresh", "session")),
)
_PASS_IN_KEYS: Final = ("^pass$", "_pass$", r"\.pass$", "-pass$", "Pass$", "PASS$")

# What separates a name from its value, and a value; one that begins with an asterisk has been redacted before.
_IS: Final = r"""\\*["']?[ \t]*[:=]+>?[ \t]*"""
_VALUE: Final = (
    r"""(?:"(?:[^"\\\n*]|\\.)(?:[^"\\\n]|\\.)*|'[^'\n*][^'\n]*|\\+["'][^"'\\*](?:[^,}\]\n]|,[^ "'\\])*|"""
    r"""[({\[][^)}\]\n]*.?|(?i:(?:bearer|basic|digest) +)?[^\s,;&"'(){}\[\]<*\\][^\s,;&)}\]<]*)"""
)
_HEADER_VALUE: Final = (
    r"""["']?(?:(?i:bearer|basic|digest|token|apikey|negotiate|aws4-hmac-sha256) +)?"""
    r"""[^\s"'*]*[^\sA-Za-z"'*][^\s"']*"""
)
_AUTHORIZATION: Final = ("authorization", "Authorization", "AUTHORIZATION")
_COOKIE: Final = ("cookie", "Cookie", "COOKIE")
_ANY_NAME: Final = (
    r"(?i:[\w.:-]*(?:pass(?:word|wd|phrase|code)|secret|token|credentials?|[a-z]_?-?key|authorization|cookie|ssn|pwd))"
)
_QUOTED: Final = r"""b?["'][^"'*][^"']*"""

_FORMS: Final = (
    # authorization: required is no secret; "authorization": "required" is taken for one
    *(rf"{stem}(?:\\*[\"'][ \t]*[:=]+>?[ \t]*\\*{_QUOTED}|{_IS}{_HEADER_VALUE})" for stem in _AUTHORIZATION),
    *(rf"{stem}{_IS}[^\s*][^\"'\n]*" for stem in _COOKIE),
    *(rf"{stem}{_IS}\D{_VALUE}" for stem in ("_pass", "_PASS")),
    rf"<{_ANY_NAME}>[^<>*]+</",
    rf"\(b?[\"']{_ANY_NAME}[\"'], ?{_QUOTED}",
    rf"\[b?[\"']{_ANY_NAME}[\"'], ?{_QUOTED}",
    rf"name[\"']: ?[\"']{_ANY_NAME}[\"'], ?[\"']value[\"']: ?{_QUOTED}",
    rf"--{_ANY_NAME}(?:[\"'],[ \t]*|[ \t]+)[\"']?[^\s\"'*-][^\s\"']*",
)
"""A value behind a name as headers, XML, lists of pairs, environments and command lines have them."""

_SHAPES: Final = (
    r"\bsk-[A-Za-z0-9_-]{16,}",  # not in task-...
    "hf_[A-Za-z0-9]{30,}",
    "r8_[A-Za-z0-9]{32,}",
    *(
        rf"{prefix}[\w.+/=-]{{16,}}"
        for prefix in (
            "sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_", "github_pat_", "glpat-", "gldt-", "glrt-",
            "glcbt-", "glptt-", "glft-", "glsoat-", r"ya29\.", "GOCSPX-", "tvly-", "lsv2_[a-z]{2}_",
            "dckr_pat_", r"hv[sbr]\.", "glsa_", "glc_", "sntry[su]_", "NRAK-", "PMAK-", "lin_api_",
            "AGE-SECRET-KEY-1", "do[opr]_v1_", "shpat_", "shpca_", "shppa_", "shpss_", "AIza",
        )
    ),
    r"SG\.[\w-]{16,}\.[\w-]{16,}",
    r"pypi-[\w-]{32,}",
    "dapi[0-9a-f]{32}",
    "gh[pousr]_[A-Za-z0-9]{20,}",
    *(rf"{prefix}[A-Za-z0-9]{{32,}}" for prefix in ("npm_", "gsk_", "pplx-", "xai-", "ntn_")),
    "xox[abeprs]-[A-Za-z0-9-]{10,}",
    "xapp-[0-9]-[A-Za-z0-9-]{10,}",
    "AKIA[A-Z0-9]{16}",
    "ASIA[A-Z0-9]{16}",
    "key-[0-9a-f]{32}",
    "SK[0-9a-f]{32}",
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}[\w.-]*",
    # Basic understanding is no credential: one has a digit, padding or a capital inside.
    *(
        rf"{scheme}\s+[A-Za-z._~+/-]*(?:[0-9=]|[a-z][A-Z])[\w.~+/=-]{{6,}}"
        for scheme in ("bearer", "Bearer", "BEARER", "basic", "Basic", "BASIC")
    ),
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    *(
        rf"{hook}[^\s\"'<>]+"
        for hook in (
            r"hooks\.slack\.com/(?:services|workflows|triggers)/", r"discord(?:app)?\.com/api/webhooks/",
            r"api\.telegram\.org/bot", r"webhook\.office\.com/webhookb2/",
        )
    ),
    *(
        rf"{before}(?i:(?:x-(?:amz|goog|oss|cos)-(?:signature|credential|security-token)|x-oss-signature|signature|sig|"
        rf"pwd|pw|hmac|hash_key)=[^\s&#\"'<>*]+|(?:key|auth|code|apikey)=[^\s&#\"'<>]{{16,}})"
        for before in (r"\?", "&", ";")
    ),
    # user:password@; after a digit it may be a port, and then nothing that a path could hold
    r"""://[^\s/?#"'<>:@]*:(?:[^\s/?#"'<>*][^\s/?#"'<>]*|[^\s\d/?#"'<>*][^\s"'<>]*)@""",
    # a user that is a token: long, with a digit somewhere
    r"://(?:[A-Za-z_.-]{0,7}[0-9][A-Za-z0-9_.-]{14,}|[A-Za-z_.-]{8,14}[0-9][A-Za-z0-9_.-]{7,}|"
    r"[A-Za-z_.-]{15,64}[0-9][A-Za-z0-9_.-]*)@",
    *(
        rf"{issuer}(?: \d{{4}} \d{{4}} \d{{4}}|-\d{{4}}-\d{{4}}-\d{{4}})\b"
        for issuer in (r"4\d{3}", r"5[1-5]\d\d", r"2[2-7]\d\d", r"6011", r"65\d\d")
    ),
    r"3[47]\d\d(?: \d{6} \d{5}|-\d{6}-\d{5})\b",
)  # fmt: skip
"""Values that are secrets by their shape: tokens, keys, signed and open URLs, cards in groups."""

_ANYBODYS: Final = frozenset({semconv.STATUS, semconv.COMPONENT})
"""Others may put texts into attributes of these names."""

_WELL_KNOWN: Final = frozenset(
    {
        "code.column.number", "code.file.path", "code.function.name", "code.line.number", "db.collection.name",
        "db.operation.name", "db.system", "db.system.name", "deployment.environment.name", "gen_ai.operation.name",
        "gen_ai.provider.name", "gen_ai.request.max_tokens", "gen_ai.request.model", "gen_ai.request.temperature",
        "gen_ai.response.finish_reasons", "gen_ai.response.model", "gen_ai.system", "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens", "host.arch", "host.name", "http.request.method", "http.response.status_code",
        "http.route", "k8s.container.name", "k8s.namespace.name", "k8s.node.name", "k8s.pod.name",
        "network.peer.port", "network.protocol.name", "network.protocol.version", "network.transport", "network.type",
        "os.type", "process.pid", "process.runtime.name", "process.runtime.version", "rpc.grpc.status_code",
        "rpc.method", "rpc.service", "rpc.system", "service.instance.id", "service.name", "service.namespace",
        "service.version", "telemetry.distro.name", "telemetry.distro.version", "telemetry.sdk.language",
        "telemetry.sdk.name", "telemetry.sdk.version", "thread.id", "thread.name", "url.scheme",
    }
)  # fmt: skip
"""Attributes of the semantic conventions that hold names, numbers and words of a fixed set."""


def region() -> list[str]:
    """The lines of the redaction processor's settings that say what is a secret."""
    lists = {
        "ignored_keys": sorted((semconv.NO_TEXTS - _ANYBODYS) | _WELL_KNOWN),
        "blocked_key_patterns": [*_in_keys(), *_PASS_IN_KEYS],
        "blocked_values": [*_in_texts(), *_FORMS, *_SHAPES],
    }
    return [line for name, items in lists.items() for line in (f"{name}:", *(f"  - {_quoted(item)}" for item in items))]


def _in_keys() -> Iterator[str]:
    for name in (*_NAMES, *_KEYS_ALONE):
        yield from name.spelled(name.in_key)


def _in_texts() -> Iterator[str]:
    for name in _NAMES:
        yield from name.spelled(f"{name.in_text}{_IS}{_VALUE}")


def _quoted(text: str) -> str:
    return text if text.replace(".", "").replace("_", "").isalnum() else "'" + text.replace("'", "''") + "'"
