"""Fields of protobuf's JSON form, read strictly: a wrong type is an error, an absent field its default."""

from __future__ import annotations

import base64
import json
from typing import Union

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]
JsonObject = dict[str, Json]

_INT64_LOWEST = -(2**63)
_UINT64_BEYOND = 2**64


class BadLineError(ValueError):
    """A line that is not OTLP JSON; the message says what is wrong, in a few words."""


def parse(data: bytes) -> JsonObject:
    """Return the JSON object that a line holds. Raises BadLineError."""
    try:
        value: Json = json.loads(data)
    except UnicodeDecodeError:
        raise BadLineError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadLineError(f"not JSON: {error.msg} at column {error.pos + 1}") from None
    except (ValueError, RecursionError):  # an integer of thousands of digits; thousands of brackets
        raise BadLineError("not JSON that can be read") from None
    if not isinstance(value, dict):
        raise BadLineError("not a JSON object")
    return value


def objects(owner: JsonObject, key: str) -> list[JsonObject]:
    """Return the list of objects at ``key``, empty if there is none. Raises BadLineError."""
    value = owner.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadLineError(f"{key} is not a list")
    found = [entry for entry in value if isinstance(entry, dict)]
    if len(found) != len(value):
        raise BadLineError(f"{key} holds something that is not an object")
    return found


def object_at(owner: JsonObject, key: str) -> JsonObject:
    """Return the object at ``key``, empty if there is none. Raises BadLineError."""
    value = owner.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadLineError(f"{key} is not an object")
    return value


def text(owner: JsonObject, key: str) -> str:
    """Return the string at ``key``, empty if there is none. Raises BadLineError."""
    value = owner.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadLineError(f"{key} is not a string")
    return value


def whole(owner: JsonObject, key: str) -> int:
    """Return the integer at ``key``, 0 if there is none; 64-bit ones are written as strings. Raises BadLineError."""
    value = owner.get(key)
    return 0 if value is None else as_whole(value, key)


def unsigned(owner: JsonObject, key: str) -> int:
    """Return the integer at ``key``, which can't be negative (times, counts). Raises BadLineError."""
    value = whole(owner, key)
    if value < 0:
        raise BadLineError(f"{key} is negative")
    return value


def as_whole(value: Json, key: str) -> int:
    """Return an integer of 64 bits that may be written as string or as 1.0. Raises BadLineError."""
    try:
        if isinstance(value, str) or (isinstance(value, float) and value.is_integer()):
            value = int(value)
    except ValueError:
        pass
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadLineError(f"{key} is not an integer")
    if not _INT64_LOWEST <= value < _UINT64_BEYOND:
        raise BadLineError(f"{key} is out of range")
    return value


def optional_number(owner: JsonObject, key: str) -> float | None:
    """Return the number at ``key`` (NaN and Infinity may be strings), None if there is none. Raises BadLineError."""
    value = owner.get(key)
    return None if value is None else as_number(value, key)


def as_number(value: Json, key: str) -> float:
    """Return a number that may be written as string. Raises BadLineError."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise BadLineError(f"{key} is not a number")


def enum(owner: JsonObject, key: str, names: tuple[str, ...]) -> int:
    """Return the enum value at ``key``, which may be written as its number or its name. Raises BadLineError."""
    value = owner.get(key)
    if isinstance(value, str) and value in names:
        return names.index(value)
    return whole(owner, key)


def hex_id(owner: JsonObject, key: str, size: int) -> str:
    """Return an id of ``size`` bytes as lower-case hex, empty if there is none or if it is 0. Raises BadLineError.

    OTLP wants hex; base64, which is what protobuf's general JSON mapping writes, is taken too.
    """
    value = text(owner, key)
    if not value:
        return ""
    for decode in (bytes.fromhex, _base64):
        try:
            data = decode(value)
        except ValueError:
            continue
        if len(data) == size:
            return data.hex() if any(data) else ""
    raise BadLineError(f"{key} is not an id of {size} bytes in hex")


def from_base64(value: Json, key: str) -> bytes:
    """Return the bytes that a base64 string holds. Raises BadLineError."""
    if isinstance(value, str):
        try:
            return _base64(value)
        except ValueError:
            pass
    raise BadLineError(f"{key} is not base64")


def _base64(value: str) -> bytes:
    return base64.b64decode(value, validate=True)
