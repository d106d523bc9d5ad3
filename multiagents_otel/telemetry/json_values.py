"""Plain JSON values for sagas and carriers, where other people's stores and buses have to serialize them.

A value that JSON, or a strict reader of it, can't hold is left out: bytes, NaN, integers of more than 64 bits, lone
surrogates. Subclasses of builtins become the builtin itself, so that a store that pickles needs no class of others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

from multiagents_otel.telemetry.event import text, utf8

MAX_FIELD: Final = 8192
"""Characters of a carrier's field: what W3C baggage allows. traceparent and tracestate are far shorter."""
_MAX_FIELDS: Final = 32
_MAX_ATTRIBUTES: Final = 8192
"""Characters of all attributes of a workflow: they are saved with its saga at each step."""
_MAX_NAME: Final = 256


def name_of(value: object) -> str:
    """Convert a name of the application's to a plain string of bounded length, whatever its type."""
    if type(value) is str and len(value) <= _MAX_NAME and value.isascii():
        return value
    # str() of a string enumeration is "Class.MEMBER"; JSON has its value.
    name = str.__str__(value if isinstance(value, str) else str(value))
    return utf8(name[:_MAX_NAME])


def plain_fields(fields: Mapping[Any, Any], reserved: frozenset[str]) -> dict[str, str]:
    """Select what a propagator may have in a carrier: strings of bounded size, none of them under a reserved key."""
    plain: dict[str, str] = {}
    for key, value in fields.items():
        if not (isinstance(key, str) and isinstance(value, str)) or len(value) > MAX_FIELD:
            continue
        name = text(str.__str__(key))
        if name is not None and name not in reserved and len(plain) < _MAX_FIELDS:
            plain[name] = utf8(str.__str__(value))
    return plain


def plain_attributes(attributes: object) -> dict[str, Any]:
    """Select the attributes that a saga may hold: the size of all of them together is bounded."""
    plain: dict[str, Any] = {}
    if not isinstance(attributes, Mapping):
        return plain
    size = 0
    for key, value in attributes.items():
        try:
            name = text(str.__str__(key)) if isinstance(key, str) else None
            if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
                value = list(value) if len(value) <= _MAX_ATTRIBUTES else None
        except Exception:  # noqa: S112 - a sequence of the user's may raise whatever it likes
            continue
        item = _attribute(value)
        if name is None or item is None:
            continue
        length = len(name) + len(json.dumps(item))
        if size + length <= _MAX_ATTRIBUTES:
            size += length
            plain[name] = item
    return plain


def _attribute(value: object) -> Any:
    """Convert an attribute's value, None if JSON can't hold it."""
    if isinstance(value, (bool, int, float, str)):
        return _scalar(value)
    if type(value) is not list:
        return None
    items = [_scalar(item) for item in value]
    return items if len({type(item) for item in items}) <= 1 and None not in items[:1] else None


def _scalar(value: object) -> bool | int | float | str | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        whole = int.__int__(value)
        return whole if -(1 << 63) <= whole < 1 << 63 else None
    if isinstance(value, float):
        number = float.__float__(value)
        return number if isfinite(number) else None
    if isinstance(value, str) and len(value) <= _MAX_ATTRIBUTES:
        plain = str.__str__(value)
        return plain if utf8(plain) == plain else None
    return None
