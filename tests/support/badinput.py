"""Values that a peer, a store or a careless application may put where an event or a carrier is expected."""

from __future__ import annotations

import random
from typing import Any, Final

SURROGATE: Final = "lone \ud800 surrogate"
HUGE: Final = 10**400

SCALARS: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1 << 63,
    -(1 << 63) - 1,
    HUGE,
    0.0,
    -1.5,
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    "",
    "x",
    "x" * 257,
    "\x00",
    SURROGATE,
    "é",
    "00",
    "nan",
)

TRACEPARENTS: Final[tuple[str, ...]] = (
    "",
    "00",
    "-",
    "00-0-0-0",
    "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
    "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
    "00-" + "G" * 32 + "-" + "1" * 16 + "-01",
    "00-" + "A" * 32 + "-" + "1" * 16 + "-01",
    "00-" + "1" * 31 + "-" + "1" * 16 + "-01",
    "00-" + "1" * 32 + "-" + "1" * 16 + "-zz",
    "00-" + "1" * 32 + "-" + "1" * 16,
    "01-" + "1" * 32 + "-" + "1" * 16 + "-01-x",
    "00-" + "\u0661" * 32 + "-" + "1" * 16 + "-01",
    "x" * (1 << 20),
)
"""None of them names a span."""

STATES: Final[tuple[str, ...]] = (
    "",
    ",",
    "=",
    "a",
    "a=",
    "a=b",
    "a=b,a=c",
    "A=b",
    "a=b=c",
    "é=1",
    "a=é",
    SURROGATE,
    "a=1," * 40,
    "a=" + "b" * 10_000,
    "\n",
)

BAGGAGES: Final[tuple[str, ...]] = (
    "",
    ",",
    ";",
    "=",
    "a",
    "a=",
    "=b",
    "a=b",
    "a=%",
    "a=%zz",
    "a=%FF%FE",
    "a=b;c=d;;",
    "é=1",
    "a=é",
    SURROGATE,
    "a=1," * 400,
    "a=" + "b" * 10_000,
    "\n",
    'a="b"',
    "a b=c",
)


def value(pick: random.Random, depth: int = 0) -> Any:
    """Anything that JSON or a bus of the user's own may hold."""
    kind = pick.randrange(8 if depth < 3 else 5)
    if kind == 5:
        return [value(pick, depth + 1) for _ in range(pick.randrange(4))]
    if kind in (6, 7):
        return {pick.choice(("a", "traceparent", "ts", 1, None, ("t", 1))): value(pick, depth + 1) for _ in range(3)}
    return pick.choice((*SCALARS, b"bytes", b"\xff"))


def carrier(pick: random.Random) -> Any:
    """Something in the place of a carrier: half of the time a dict with a carrier's keys."""
    if pick.random() < 0.4:
        return value(pick)
    fields: dict[Any, Any] = {
        "traceparent": lambda: pick.choice((*TRACEPARENTS, value(pick))),
        "tracestate": lambda: pick.choice((*STATES, value(pick))),
        "baggage": lambda: pick.choice((*BAGGAGES, value(pick))),
    }
    made = {name: make() for name, make in fields.items() if pick.random() < 0.6}
    made |= {name: value(pick) for name in ("ts", "t", "w", "s", "e", "q", "other", 7, None) if pick.random() < 0.3}
    if pick.random() < 0.3:
        made["traceparent"] = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"  # a good one, among bad neighbours
    return made


def event(pick: random.Random) -> dict[Any, Any]:
    """An event: any field missing, of a wrong type, or right."""
    transaction = pick.choice(("tx-1", "tx-2", SURROGATE))
    right: dict[Any, Any] = {
        "id": pick.choice(("id-1", SURROGATE)),
        "type": pick.choice(("command", "result", "error", "compensation", "status", "CommandEvent")),
        "metadata": {
            "transaction_id": transaction,
            "correlation_id": f"{transaction}.{pick.choice(('step', SURROGATE, ''))}",
            "source": "test",
        },
        "payload": {},
        "command_id": "id-1",
        "success": False,
        "worker_type": "w",
        "timeout_seconds": 1,
        "error_message": pick.choice((SURROGATE, "password=x")),
        "error_details": {"error_type": pick.choice(("ValueError", SURROGATE))},
    }
    made: dict[Any, Any] = {}
    for name, good in right.items():
        chance = pick.random()
        if chance < 0.65:
            made[name] = good
        elif chance < 0.9:
            made[name] = value(pick)
    if pick.random() < 0.3 and isinstance(made.get("metadata"), dict):
        made["metadata"] = {key: value(pick) for key in ("transaction_id", "correlation_id", "source")}
    if pick.random() < 0.2:
        made |= {pick.choice((1, None, (1, 2), b"key")): value(pick)}
    if pick.random() < 0.1:
        made["itself"] = made
    return made
