"""Time that scrubbing takes: a megabyte as it comes, and texts made to be slow."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from multiagents_otel.processing.redaction import MAX_ATTRIBUTE, in_force, scrub, scrub_value

ROUNDS: Final = 9
REACH_MS: Final = 50.0
_MEGABYTE: Final = 1 << 20

_UNITS: Final = (
    "a.",
    "a-",
    "a+",
    "a_",
    "a://",
    "a://:",
    "://a:b",
    "u:p@",
    "eyJ-",
    "eyJaaaaaaaa.",
    "sk-",
    "xoxb-",
    "AIza-",
    "github_pat_",
    "token ",
    "token=",
    "token: ",
    'token="',
    "token='\\",
    'token=\\"',
    "password",
    "pass",
    "bearer ",
    "basic a",
    "Basic aaaaaaaa",
    "authorization: ",
    "authorization: basic ",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "1 ",
    "1-",
    "1",
    " ",
    "\\",
    '"',
    "\n",
    "\ud800",
    "é",
    "--a ",
    "('a', ",
    "('token', '",
    '{"name": "token", "value": "',
    "{",
    "token={",
    "tokens=[",
    "<token>",
    "4242 ",
    "4242",
    "4242-4242-4242-",
    "?sig=",
    "&key=",
    "webhook.office.com/webhookb2/",
    "SG.aaaaaaaaaaaaaaaa.",
    "eyJaaaaaaaa.eyJaaaaaaaa.",
    "aB3",
    "PASSWORD_",
    "a" * 100 + "token ",
)
"""What a quadratic rule is slow on when it is repeated: things that begin a match that then fails."""


def hostile() -> dict[str, str]:
    """Texts of a megabyte, by what they repeat."""
    return {unit: unit * (_MEGABYTE // len(unit)) for unit in _UNITS}


def usual() -> str:
    """A megabyte that looks like stack traces and payloads, a few secrets in it."""
    pick = random.Random(1)
    words = [
        "File",
        '"orders.py",',
        "line",
        "42,",
        "in",
        "charge",
        "raise",
        "ValueError(",
        "status=declined",
        "author: ann",
        "amount=12.50",
        "order 4711",
        "https://shop.example/orders?page=2",
        "password=hunter2",
        "id=9c5b94b1",
        "\n",
    ]
    return " ".join(pick.choice(words) for _ in range(_MEGABYTE // 6))[:_MEGABYTE]


def nested() -> dict[str, Any]:
    """A megabyte of payload as workflows carry them: nested dicts and lists, JSON inside texts, a few secrets."""
    text = usual()
    orders = [
        {
            "id": n,
            "customer": {"name": "ann", "login": {"password": "hunter2"}, "max_tokens": 7},
            "lines": [{"sku": f"A-{line}", "qty": line, "note": text[n * 100 : n * 100 + 40]} for line in range(5)],
            "request": json.dumps({"headers": [["authorization", "x"], ["accept", "json"]], "body": text[n : n + 99]}),
        }
        for n in range(1_700)
    ]
    return {"orders": orders}


def milliseconds(value: Any, rounds: int = ROUNDS, scrubbed: Callable[[Any], Any] = scrub) -> float:
    """The median time of scrubbing a value."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        scrubbed(value)
        taken.append((time.process_time() - started) * 1e3)
    return statistics.median(taken)


def main() -> None:
    print(f"{'scrub 1 MB of stack traces, ms':60} {milliseconds(usual()):6.1f}   (reach {REACH_MS:.0f})")
    print(
        f"{'scrub 1 MB of nested values, ms':60} {milliseconds(nested(), 9, scrub_value):6.1f}   (reach {REACH_MS:.0f})"
    )
    attribute = milliseconds(usual(), 9, lambda text: in_force().text(text, MAX_ATTRIBUTE))
    print(f"{'scrub an attribute of 1 MB, ms':60} {attribute:6.1f}   (reach {REACH_MS:.0f})")
    slowest, took = max(((unit, milliseconds(text, 3)) for unit, text in hostile().items()), key=lambda row: row[1])
    print(
        f"{f'scrub 1 MB of the worst of {len(_UNITS)} hostile texts ({slowest!r}), ms':60} "
        f"{took:6.1f}   (reach {REACH_MS:.0f})"
    )


if __name__ == "__main__":
    main()
