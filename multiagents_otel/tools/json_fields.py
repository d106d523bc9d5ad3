"""Fields of protobuf's JSON form, read strictly: a wrong type is an error, an absent or null field its default.

A field is found by its lowerCamelCase name and by its name in the .proto file, ``trace_id``: parsers accept both.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar, Union

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]
JsonObject = dict[str, Json]
_Read = TypeVar("_Read")

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)
_INTEGER = re.compile(r"(-?[0-9]{1,40})(?:\.0+)?")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NaN|-?Infinity")
_URL_SAFE = str.maketrans("-_", "+/")


class BadLineError(ValueError):
    """A document that is not OTLP JSON; the message says what is wrong, in a few words, and where."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self._path: list[str] = []

    def add_place(self, place: str) -> None:
        """Name the element that holds the one that is wrong, ``spans[3]``; the innermost first."""
        self._path.insert(0, place)

    def __str__(self) -> str:
        reason = super().__str__()
        return f"{reason}, in {'.'.join(self._path)}" if self._path else reason


@lru_cache(maxsize=256)
def _snake(key: str) -> str:
    return re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key)


def get(owner: JsonObject, key: str) -> Json:
    """Return the value of a field, None if it is absent or null."""
    value = owner.get(key)
    return owner.get(_snake(key)) if value is None else value


def has(owner: JsonObject, key: str) -> bool:
    """Whether a field is there, null or not."""
    return key in owner or _snake(key) in owner


def as_object(value: Json) -> JsonObject:
    """Return a document, which has to be an object. Raises BadLineError."""
    if not isinstance(value, dict):
        raise BadLineError("not a JSON object")
    return value


def array(owner: JsonObject, key: str) -> list[Json]:
    """Return the list at ``key``, empty if there is none. Raises BadLineError."""
    value = get(owner, key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadLineError(f"{key} is not a list")
    return value


def objects(owner: JsonObject, key: str, read: Callable[[JsonObject], _Read]) -> list[_Read]:
    """Return what ``read`` makes of each object of the list at ``key``. Raises BadLineError, which names the place."""
    found: list[_Read] = []
    for index, entry in enumerate(array(owner, key)):
        if not isinstance(entry, dict):
            raise BadLineError(f"{key} holds something that is not an object")
        try:
            found.append(read(entry))
        except BadLineError as error:
            error.add_place(f"{key}[{index}]")
            raise
    return found


def object_at(owner: JsonObject, key: str) -> JsonObject:
    """Return the object at ``key``, empty if there is none. Raises BadLineError."""
    value = get(owner, key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadLineError(f"{key} is not an object")
    return value


def text(owner: JsonObject, key: str) -> str:
    """Return the string at ``key``, empty if there is none. Raises BadLineError."""
    value = get(owner, key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadLineError(f"{key} is not a string")
    return value


def boolean(owner: JsonObject, key: str) -> bool:
    """Return the boolean at ``key``, False if there is none. Raises BadLineError."""
    value = get(owner, key)
    return False if value is None else as_boolean(value, key)


def as_boolean(value: Json, key: str) -> bool:
    """Return a boolean. Raises BadLineError."""
    if not isinstance(value, bool):
        raise BadLineError(f"{key} is not a boolean")
    return value


def whole(owner: JsonObject, key: str) -> int:
    """Return the integer at ``key``, 0 if there is none; 64-bit ones are written as strings. Raises BadLineError."""
    value = get(owner, key)
    return 0 if value is None else as_whole(value, key)


def unsigned(owner: JsonObject, key: str) -> int:
    """Return the integer at ``key``, which can't be negative (times, counts). Raises BadLineError."""
    value = get(owner, key)
    return 0 if value is None else as_unsigned(value, key)


def as_whole(value: Json, key: str) -> int:
    """Return a signed integer of 64 bits that may be written as string or as 1e3. Raises BadLineError."""
    return _integer(value, key, _INT64)


def as_unsigned(value: Json, key: str) -> int:
    """Return an unsigned integer of 64 bits that may be written as string or as 1e3. Raises BadLineError."""
    number = _integer(value, key, range(_INT64.start, _UINT64.stop))
    if number < 0:
        raise BadLineError(f"{key} is negative")
    return number


def _integer(value: Json, key: str, allowed: range) -> int:
    if isinstance(value, str):
        match = _INTEGER.fullmatch(value)
        value = int(match[1]) if match else _exact(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadLineError(f"{key} is not an integer")
    if value not in allowed:
        raise BadLineError(f"{key} is out of range")
    return value


def _exact(text: str) -> Json:
    """Return the integer that a text like 9.007199254740993e15 names, which a float does not hold; or the text."""
    if not _NUMBER.fullmatch(text):
        return text
    number = Decimal(text)
    if not number:
        return 0
    # A great exponent would make an integer that fills the memory.
    if not number.is_finite() or not 0 <= number.adjusted() < 40 or number != number.to_integral():
        return text
    return int(number)


def optional_number(owner: JsonObject, key: str) -> float | None:
    """Return the number at ``key`` (NaN and Infinity may be strings), None if there is none. Raises BadLineError."""
    value = get(owner, key)
    return None if value is None else as_number(value, key)


def as_number(value: Json, key: str) -> float:
    """Return a number that may be written as string. Raises BadLineError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    raise BadLineError(f"{key} is not a number")


def enum(owner: JsonObject, key: str, names: tuple[str, ...]) -> int:
    """Return the enum value at ``key``, which may be written as its number or its name. Raises BadLineError."""
    value = get(owner, key)
    if isinstance(value, str) and value in names:
        return names.index(value)
    return whole(owner, key)


def hex_id(owner: JsonObject, key: str, size: int) -> str:
    """Return an id of ``size`` bytes as lower-case hex, empty if there is none or if it is 0. Raises BadLineError.

    OTLP requires hex; base64, which is what protobuf's general JSON mapping writes, is accepted too.
    """
    value = text(owner, key)
    if not value:
        return ""
    try:
        data = bytes.fromhex(value) if len(value) == 2 * size else _base64(value)
    except ValueError:
        data = b""
    if len(data) != size:
        raise BadLineError(f"{key} is not an id of {size} bytes in hex")
    return data.hex() if any(data) else ""


def from_base64(value: Json, key: str) -> bytes:
    """Return the bytes that a base64 string holds, of either alphabet, padded or not. Raises BadLineError."""
    if isinstance(value, str):
        try:
            return _base64(value)
        except ValueError:
            pass
    raise BadLineError(f"{key} is not base64")


def _base64(value: str) -> bytes:
    digits = value.rstrip("=").translate(_URL_SAFE)
    return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
