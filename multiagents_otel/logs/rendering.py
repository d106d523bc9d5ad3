"""A record as others see it, scrubbed: the one place where JSON lines and texts are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, Final

from opentelemetry import trace

from multiagents_otel import semconv
from multiagents_otel.logs.plain import TEXT_LIMIT, text_of
from multiagents_otel.logs.record import NAMES, Record
from multiagents_otel.processing.redaction import scrub, scrub_value

COMPONENT: Final = "multiagents"
"""The framework's own word in each of its lines."""

TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
TRACE_FLAGS: Final = "trace_flags"

_UNPRINTABLE: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""A record is one line, and no text of somebody else's moves the cursor of a terminal."""


def message_of(record: Record) -> str:
    """The message."""
    return scrub(record.message)


def fields_of(record: Record) -> dict[str, Any]:
    """The fields, nested ones and those with a telling name scrubbed too."""
    return {scrub(key): scrub_value(value, key) for key, value in record.fields.items()}


def error_of(record: Record) -> dict[str, str]:
    """``type``, ``message`` and ``traceback`` of the error, as far as it has them; empty if there is none."""
    error = record.error
    if error is None:
        return {}
    told = {"message": scrub(error.message)}
    if error.type is not None:
        told = {"type": error.type, **told}
    if error.traceback is not None:
        lines = "".join(error.traceback.format())
        if len(lines) > TEXT_LIMIT:  # its end says what went wrong
            lines = f"{lines[: TEXT_LIMIT // 2]}\n...\n{lines[-TEXT_LIMIT // 2 :]}"
        told["traceback"] = scrub(lines)
    return told


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
    entry: dict[str, Any] = {
        "timestamp": timestamp_of(record),
        "level": NAMES[record.level],
        "message": message_of(record),
        "component": COMPONENT,
        **ids_of(record),
    }
    if (caller := caller_of(record)) is not None:
        entry["caller"] = caller
    if metadata and record.fields:
        entry["metadata"] = fields_of(record)
    if error := error_of(record):
        if "type" in error:  # the framework has it without its module
            error["type"] = error["type"].rpartition(".")[2]
        entry["error"] = error
    return json.dumps(entry, ensure_ascii=False, default=text_of)


def text_line(record: Record, *, metadata: bool = True) -> str:
    """One line for a person: time, level, message, fields, error, caller, ids, and the stack trace."""
    told = list(parts(record, metadata))
    if traceback := error_of(record).get("traceback"):
        told.append(printable(traceback))
    return f"{timestamp_of(record)} - {COMPONENT} - {NAMES[record.level]} - {' | '.join(told)}"


def parts(record: Record, metadata: bool) -> Iterator[str]:
    """The parts of a line for a person, the message first."""
    yield printable(message_of(record))
    if metadata:
        for key, value in fields_of(record).items():
            yield printable(f"{key}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    if error := error_of(record):
        yield printable(f"ERROR: {': '.join(filter(None, (error.get('type'), error['message'])))}")
    if (caller := caller_of(record)) is not None:
        yield printable(caller)
    for key, value in ids_of(record).items():
        if key != TRACE_FLAGS:
            yield printable(f"{key}={value}")


def printable(text: str) -> str:
    """The text without what would end the line or control a terminal."""
    return text.translate(_UNPRINTABLE)
