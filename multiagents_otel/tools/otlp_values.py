"""OTLP's attribute values: ``{"key": ..., "value": {"stringValue": ...}}``."""

from __future__ import annotations

from collections.abc import Callable

from multiagents_otel.tools import json_fields as fields
from multiagents_otel.tools.json_fields import BadLineError, Json, JsonObject
from multiagents_otel.tools.records import Pairs, Value


def attributes(owner: JsonObject) -> dict[str, Value]:
    """Return the ``attributes`` of a resource, span, event, log record or point. Raises BadLineError."""
    return dict(fields.objects(owner, "attributes", _pair))


def _pair(entry: JsonObject) -> tuple[str, Value]:
    key, holder = entry.get("key"), entry.get("value")
    value = holder.get("stringValue") if isinstance(holder, dict) else None
    if isinstance(key, str) and isinstance(value, str):  # most of a file is this: the short way
        return key, value
    return fields.text(entry, "key"), value_of(fields.object_at(entry, "value"))


def value_of(holder: JsonObject) -> Value:
    """Return an AnyValue's value, None for an empty one. Raises BadLineError."""
    for key, read in _READERS.items():
        value = fields.get(holder, key)
        if value is not None:
            return read(value)
    return None


def as_text(value: Value) -> str:
    """Return a value as people read it: strings as they are, arrays and maps in brackets."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, Pairs):
        return f"{{{', '.join(f'{key}={as_text(element)}' for key, element in value)}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(as_text(element) for element in value)}]"
    return "" if value is None else str(value)


def _string(value: Json) -> Value:
    if not isinstance(value, str):
        raise BadLineError("stringValue is not a string")
    return value


def _array(value: Json) -> Value:
    if not isinstance(value, dict):
        raise BadLineError("arrayValue is not an object")
    return tuple(fields.objects(value, "values", value_of))


def _map(value: Json) -> Value:
    if not isinstance(value, dict):
        raise BadLineError("kvlistValue is not an object")
    return Pairs(fields.objects(value, "values", _pair))


_READERS: dict[str, Callable[[Json], Value]] = {
    "stringValue": _string,
    "intValue": lambda value: fields.as_whole(value, "intValue"),
    "doubleValue": lambda value: fields.as_number(value, "doubleValue"),
    "boolValue": lambda value: fields.as_boolean(value, "boolValue"),
    "arrayValue": _array,
    "kvlistValue": _map,
    "bytesValue": lambda value: fields.from_base64(value, "bytesValue"),
}
