"""Time that scrubbing takes: a megabyte as it comes, and texts made to be slow."""

from __future__ import annotations

import random
import statistics
import time
from typing import Final

from multiagents_otel.processing.redaction import scrub

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


def milliseconds(text: str, rounds: int = ROUNDS) -> float:
    """The median time of scrubbing a text."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        scrub(text)
        taken.append((time.process_time() - started) * 1e3)
    return statistics.median(taken)


def main() -> None:
    print(f"{'scrub 1 MB of stack traces, ms':60} {milliseconds(usual()):6.1f}   (reach {REACH_MS:.0f})")
    slowest, took = max(((unit, milliseconds(text, 3)) for unit, text in hostile().items()), key=lambda row: row[1])
    print(
        f"{f'scrub 1 MB of the worst of {len(_UNITS)} hostile texts ({slowest!r}), ms':60} "
        f"{took:6.1f}   (reach {REACH_MS:.0f})"
    )


if __name__ == "__main__":
    main()
