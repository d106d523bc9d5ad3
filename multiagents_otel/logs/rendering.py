"""A record as others see it, scrubbed: the one place where JSON lines and texts are made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Final

from opentelemetry import trace

from multiagents_otel import semconv
from multiagents_otel.logs.plain import TEXT_LIMIT, text_of
from multiagents_otel.logs.record import NAMES, Error, Record, ScrubbedText
from multiagents_otel.processing.redaction import Redactor, in_force, scrub, scrub_value

COMPONENT: Final = "multiagents"
"""The framework's own word in each of its lines."""

TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
TRACE_FLAGS: Final = "trace_flags"

as_json: Final = json.JSONEncoder(ensure_ascii=False, default=text_of).encode
"""A plain value as JSON."""

_UNPRINTABLE: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""A record is one line, and no text of somebody else's moves the cursor of a terminal."""


_SHORT: Final = 96
_REMEMBERED: Final = 4_096
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# For what comes again and again: messages, names of fields, names of workers and events. What was remembered is of the
# redactor that was in force.


@lru_cache(_REMEMBERED)
def _scrub_again(text: str, _redactor: Redactor) -> str:
    return scrub(text)


@lru_cache(_REMEMBERED)
def _scrub_value_again(value: str, key: str, _redactor: Redactor) -> Any:
    return scrub_value(value, key)


def _scrub_text(text: str) -> str:
    return _scrub_again(text, in_force()) if len(text) <= _SHORT else scrub(text)


def _scrub_field(value: Any, key: str) -> Any:
    if type(value) is not str or len(value) > _SHORT:
        return scrub_value(value, key)
    if len(value) == 36 and _UUID.fullmatch(value) and _scrub_value_again("-", key, in_force()) == "-":
        return value  # an id, which never comes again, behind a name that names no secret
    return _scrub_value_again(value, key, in_force())


def scrubbed_text(record: Record) -> ScrubbedText:
    """Scrub the text of a record, once."""
    if record.scrubbed is None:
        fields = {_scrub_text(key): _scrub_field(value, key) for key, value in record.fields.items()}
        record.scrubbed = ScrubbedText(_scrub_text(record.message), fields, _error(record.error))
    return record.scrubbed


def _error(error: Error | None) -> dict[str, str]:
    if error is None:
        return {}
    parts = {"message": scrub(error.message)}
    if error.type is not None:
        parts = {"type": error.type, **parts}
    if error.traceback is not None:
        lines = "".join(error.traceback.format())
        if len(lines) > TEXT_LIMIT:  # its end says what went wrong
            lines = f"{lines[: TEXT_LIMIT // 2]}\n...\n{lines[-TEXT_LIMIT // 2 :]}"
        parts["traceback"] = scrub(lines)
    return parts


def ids_of(record: Record) -> dict[str, Any]:
    """Trace id, span id, flags and transaction id, those that there are."""
    ids: dict[str, Any] = {}
    span = trace.get_current_span(record.context).get_span_context()
    if span.is_valid:
        ids[TRACE_ID] = trace.format_trace_id(span.trace_id)
        ids[SPAN_ID] = trace.format_span_id(span.span_id)
        ids[TRACE_FLAGS] = f"{int(span.trace_flags):02x}"
    if record.transaction_id is not None:
        ids[semconv.TRANSACTION_ID] = record.transaction_id
    return ids


def caller_of(record: Record) -> str | None:
    """``file:line function``; None where it was not asked for."""
    caller = record.caller
    return f"{caller.file}:{caller.line} {caller.function}" if caller is not None else None


def timestamp_of(record: Record) -> str:
    """UTC, ISO 8601 with microseconds and a ``Z``, as the framework's own lines have it."""
    seconds, nanoseconds = divmod(record.time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
    return f"{moment.isoformat()}.{nanoseconds // 1_000:06d}Z"


def json_line(record: Record, *, metadata: bool = True) -> str:
    """One line of JSON: the framework's own keys, and ``trace_id``, ``span_id``, ``workflow.transaction_id``."""
    message, fields, error = scrubbed_text(record)
    entry: dict[str, Any] = {
        "timestamp": timestamp_of(record),
        "level": NAMES[record.level],
        "message": message,
        "component": COMPONENT,
        **ids_of(record),
    }
    if (caller := caller_of(record)) is not None:
        entry["caller"] = caller
    if metadata and fields:
        entry["metadata"] = fields
    if error:
        entry["error"] = error | ({"type": _class_name(error)} if "type" in error else {})
    return as_json(entry)


def text_line(record: Record, *, metadata: bool = True) -> str:
    """One line for a person: time, level, message, fields, error, caller, ids, and the stack trace."""
    several = list(parts(record, metadata))
    if traceback := scrubbed_text(record).error.get("traceback"):
        several.append(printable(traceback))
    return f"{timestamp_of(record)} - {COMPONENT} - {NAMES[record.level]} - {' | '.join(several)}"


def parts(record: Record, metadata: bool) -> Iterator[str]:
    """The parts of a line for a person, the message first."""
    message, fields, error = scrubbed_text(record)
    yield printable(message)
    if metadata:
        for key, value in fields.items():
            yield printable(f"{key}={value if isinstance(value, str) else as_json(value)}")
    if error:
        yield printable(f"ERROR: {': '.join(filter(None, (_class_name(error), error['message'])))}")
    if (caller := caller_of(record)) is not None:
        yield printable(caller)
    for key, value in ids_of(record).items():
        if key != TRACE_FLAGS:
            yield printable(f"{key}={value}")


def _class_name(error: dict[str, str]) -> str:
    """The class of an error without its module, as the framework's own lines have it."""
    return error.get("type", "").rpartition(".")[2]


def printable(text: str) -> str:
    """The text without what would end the line or control a terminal."""
    return text.translate(_UNPRINTABLE)
