"""Random OTLP messages, and the ways in which the specification allows to write them as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped,unused-ignore]
from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped,unused-ignore]
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

_IDS = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_MOST_DEPTH = 9
_SPINE = {
    *("resource_spans", "scope_spans", "spans", "resource_metrics", "scope_metrics", "metrics", "data_points"),
    *("resource_logs", "scope_logs", "log_records"),
}
"""The fields without which there is nothing to compare."""

_NUMBERS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: st.integers(0, 2**32 - 1),
}
_LONG = {
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED64,
}
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def messages(kind: type[Any]) -> st.SearchStrategy[Any]:
    """A strategy for messages that are valid OTLP."""
    return st.composite(lambda draw: _fill(draw, kind(), 0))()


def _fill(draw: Callable[[Any], Any], message: Any, depth: int) -> Any:
    chosen = {
        oneof.name: draw(
            st.sampled_from([*(field.name for field in oneof.fields if not field.name.endswith("_strindex")), ""])
        )
        for oneof in message.DESCRIPTOR.oneofs
    }
    for field in message.DESCRIPTOR.fields:
        required = isinstance(message, Span) and field.name in ("trace_id", "span_id")
        if field.name.endswith("_strindex"):  # of profiles alone
            continue
        if field.containing_oneof is not None:
            present = chosen[field.containing_oneof.name] == field.name
        else:
            present = required or draw(st.integers(0, 9)) < (9 if field.name in _SPINE else 6)
        if not present or (field.message_type is not None and depth >= _MOST_DEPTH):
            continue
        if _is_repeated(field):
            for _ in range(draw(st.sampled_from([1, 2, 1, 2, 1, 0]))):
                if field.message_type is None:
                    getattr(message, field.name).append(draw(_scalar(field, required)))
                else:
                    _fill(draw, getattr(message, field.name).add(), depth + 1)
        elif field.message_type is None:
            setattr(message, field.name, draw(_scalar(field, required)))
        else:
            getattr(message, field.name).SetInParent()
            _fill(draw, getattr(message, field.name), depth + 1)
    if isinstance(message, HistogramDataPoint):  # one bucket more than bounds, or neither
        bounds, counts = message.explicit_bounds, message.bucket_counts
        del bounds[max(0, len(counts) - 1) :]
        del counts[len(bounds) + 1 if counts else 0 :]
    return message


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == FieldDescriptor.LABEL_REPEATED


def _scalar(field: Any, required: bool) -> st.SearchStrategy[Any]:
    if field.name in _IDS:
        size = _IDS[field.name]
        ids = st.binary(min_size=size, max_size=size)
        return ids.filter(any) if required else ids
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_STRING:
        return _TEXT
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=5)
    return _NUMBERS[field.type]


@dataclass(frozen=True)
class Style:
    """One of the ways to write a message as JSON."""

    snake_case: bool
    enum_names: bool
    long_as_numbers: bool
    nulls: bool
    unknown_fields: bool
    upper_case_ids: bool
    old_scopes: bool


STYLES = st.builds(Style, *[st.booleans()] * 7)


def to_json(message: Any, style: Style) -> dict[str, Any]:
    """Return the JSON object of a message."""
    found = json_format.MessageToDict(
        message,
        preserving_proto_field_name=style.snake_case,
        use_integers_for_enums=not style.enum_names,
    )
    result = _restyle(found, message.DESCRIPTOR, style)
    assert isinstance(result, dict)
    return result


def _restyle(found: Any, descriptor: Descriptor, style: Style) -> Any:
    result: dict[str, Any] = {"aFieldOfTheFuture": {"resourceSpans": 1}} if style.unknown_fields else {}
    for field in descriptor.fields:
        name = field.name if style.snake_case else field.json_name
        if name not in found:
            if style.nulls:
                result[name] = None
            continue
        value = found[name]
        entries = value if isinstance(value, list) else [value]
        entries = [_restyle_value(entry, field, style) for entry in entries]
        if style.old_scopes:
            name = _OLD_NAMES.get(field.name, {}).get(style.snake_case, name)
        result[name] = entries if isinstance(value, list) else entries[0]
    return result


def _restyle_value(value: Any, field: Any, style: Style) -> Any:
    if field.message_type is not None:
        return _restyle(value, field.message_type, style)
    if field.name in _IDS:
        text = base64.b64decode(value).hex()
        return text.upper() if style.upper_case_ids else text
    if field.type in _LONG and style.long_as_numbers:
        return int(value)
    return value


_OLD_NAMES: dict[str, dict[bool, str]] = {
    "scope": {False: "instrumentationLibrary", True: "instrumentation_library"},
    "scope_spans": {False: "instrumentationLibrarySpans", True: "instrumentation_library_spans"},
    "scope_metrics": {False: "instrumentationLibraryMetrics", True: "instrumentation_library_metrics"},
    "scope_logs": {False: "instrumentationLibraryLogs", True: "instrumentation_library_logs"},
}

LAYOUTS: dict[str, Callable[[list[Any]], str]] = {
    "lines": lambda documents: "".join(f"{json.dumps(each)}\n" for each in documents),
    "lines without escapes": lambda documents: "".join(
        f"{json.dumps(each, ensure_ascii=False)}\n" for each in documents
    ),
    "CRLF, BOM, blank lines": lambda documents: "\ufeff" + "".join(f"{json.dumps(each)}\r\n\r\n" for each in documents),
    "joined": lambda documents: "".join(json.dumps(each, ensure_ascii=False) for each in documents),
    "indented": lambda documents: "\n".join(json.dumps(each, indent=2) for each in documents),
    "not indented, a token a line": lambda documents: "\n".join(json.dumps(each, indent=0) for each in documents),
    "a list": lambda documents: json.dumps(documents, ensure_ascii=False),
    "an indented list": lambda documents: json.dumps(documents, indent="\t"),
    "a list with a document a line": lambda documents: "[\n" + ",\n".join(map(json.dumps, documents)) + "\n]\n",
    "documents that end and start on one line": lambda documents: "".join(
        json.dumps(each, indent=1) for each in documents
    ),
}

SIGNALS: tuple[type[Any], ...] = (TracesData, MetricsData, LogsData)
