"""Traces as text, and spans with their random ids replaced: what tests compare as a whole."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags

from tests.support.otlp import Attributes, ReceivedEvent, ReceivedLink, ReceivedSpan

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

AnySpan: TypeAlias = "ReceivedSpan | ReadableSpan"

# Which placeholder an id gets, by the attribute that tells what it is; any other UUID is an ID.
_PREFIXES: Final[Mapping[str, str]] = {
    "workflow.transaction_id": "TX",
    "messaging.message.id": "MSG",
    "service.instance.id": "INSTANCE",
}
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def received(span: AnySpan) -> ReceivedSpan:
    """The SDK's span as a backend gets it from the SDK's exporters; a received one as it is."""
    if isinstance(span, ReceivedSpan):
        return span
    context = span.get_span_context()
    assert context is not None
    scope = span.instrumentation_scope
    return ReceivedSpan(
        name=span.name,
        kind=span.kind.name,
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_id=f"{span.parent.span_id:016x}" if span.parent else "",
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        attributes=dict(span.attributes or {}),
        status=span.status.status_code.name,
        status_description=span.status.description or "",
        events=tuple(ReceivedEvent(event.name, dict(event.attributes or {})) for event in span.events),
        links=tuple(
            ReceivedLink(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", dict(link.attributes or {}))
            for link in span.links
        ),
        resource=dict(span.resource.attributes),
        scope_name=scope.name if scope else "",
        scope_version=(scope.version or "") if scope else "",
        trace_state=context.trace_state.to_header(),
        flags=_flags(span.parent),
    )


def _flags(parent: SpanContext | None) -> int:
    """The exporters tell whether the parent is remote, and not the trace flags."""
    remote = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK if parent and parent.is_remote else 0
    return int(SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | remote)


def by_trace(spans: Iterable[AnySpan]) -> dict[str, list[ReceivedSpan]]:
    """The spans of each trace, in the order of their starts; traces too."""
    traces: defaultdict[str, list[ReceivedSpan]] = defaultdict(list)
    for span in sorted(map(received, spans), key=_start):
        traces[span.trace_id].append(span)
    return dict(traces)


def roots(spans: Iterable[AnySpan]) -> list[ReceivedSpan]:
    """The spans that have no parent."""
    return sorted((span for span in map(received, spans) if not span.parent_id), key=_start)


def orphans(spans: Iterable[AnySpan]) -> list[ReceivedSpan]:
    """The spans whose parent is not among the given ones."""
    given = list(map(received, spans))
    known = {(span.trace_id, span.span_id) for span in given}
    lost = (span for span in given if span.parent_id and (span.trace_id, span.parent_id) not in known)
    return sorted(lost, key=_start)


def attributes_of(span: AnySpan, drop: Collection[str] = ()) -> Attributes:
    """A span's attributes without those named."""
    return {key: value for key, value in received(span).attributes.items() if key not in drop}


def tree(spans: Iterable[AnySpan]) -> str:
    """One trace as indented text, siblings in the order of their starts; fails when there are more traces.

    A line is ``name KIND``, then ``OK`` or ``ERROR <error.type>`` if that is the status. ``orphan:`` stands
    before a span whose parent is missing, ``again:`` before one whose id another span has too.
    """
    traces = by_trace(spans)
    if len(traces) > 1:
        rendered = "\n\n".join(map(_rendered, traces.values()))
        raise AssertionError(f"{len(traces)} traces, not one:\n{rendered}")
    return "".join(map(_rendered, traces.values()))


def forest(spans: Iterable[AnySpan]) -> str:
    """All traces as text, in the order of their starts, an empty line between two."""
    return "\n\n".join(map(_rendered, by_trace(spans).values()))


def _rendered(spans: Sequence[ReceivedSpan]) -> str:
    known = {span.span_id for span in spans}
    children: defaultdict[str, list[ReceivedSpan]] = defaultdict(list)
    for span in spans:
        children[span.parent_id if span.parent_id in known else ""].append(span)
    shown: set[str] = set()

    def lines(parent_id: str, depth: int) -> list[tuple[int, str]]:
        """Each sibling's start and text: spans that start at once are told apart by their text."""
        siblings = []
        for span in children[parent_id]:
            mark = "again: " if span.span_id in shown else ""
            if span.parent_id and not depth:
                mark += "orphan: "
            text = "  " * depth + mark + _line(span)
            if span.span_id not in shown:
                shown.add(span.span_id)
                text = "\n".join([text, *(below for _, below in lines(span.span_id, depth + 1))])
            siblings.append((span.start_ns, text))
        return sorted(siblings)

    rendered = "\n".join(text for _, text in lines("", 0))
    if shown != known:
        raise AssertionError(f"spans that are each other's parents: {[s for s in spans if s.span_id not in shown]}")
    return rendered


def _line(span: ReceivedSpan) -> str:
    if span.status == "UNSET":
        return f"{span.name} {span.kind}"
    error_type = span.attributes.get("error.type", "") if span.status == "ERROR" else ""
    return f"{span.name} {span.kind} {span.status} {error_type}".rstrip()


def normalise(spans: Iterable[AnySpan]) -> list[ReceivedSpan]:
    """The spans in the order of their starts, their ids replaced by placeholders wherever they occur.

    TRACE1, SPAN1, TX1 (transactions), MSG1 (messages), INSTANCE1, ID1 (other UUIDs), numbered in the order
    in which they are met; ``conversation_id`` becomes ``TX1.charge``. Times stay.
    """
    ordered = sorted(map(received, spans), key=_start)
    placeholders: dict[str, str] = {}
    counts: Counter[str] = Counter()

    def name(identity: str, prefix: str) -> None:
        if identity and identity not in placeholders:
            counts[prefix] += 1
            placeholders[identity] = f"{prefix}{counts[prefix]}"

    for span in ordered:
        name(span.trace_id, "TRACE")
        name(span.span_id, "SPAN")
        for key, prefix in _PREFIXES.items():
            name(str(span.attributes.get(key, span.resource.get(key, ""))), prefix)
    for span in ordered:
        for identity in (span.parent_id, *(link.span_id for link in span.links)):
            name(identity, "SPAN")
        for link in span.links:
            name(link.trace_id, "TRACE")
        for identity in _UUID.findall(repr(span)):
            name(identity, "ID")
    # Longest first and whole words only: an id (a user's may be short) may be a part of another one.
    alternatives = "|".join(re.escape(identity) for identity in sorted(placeholders, key=len, reverse=True))
    known = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")
    return [_replaced(span, lambda text: known.sub(lambda match: placeholders[match[0]], text)) for span in ordered]


def _replaced(value: Any, text: Any) -> Any:
    """The value with ``text`` applied to every string in it."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {key: _replaced(item, text) for key, item in value.items()}
    if isinstance(value, (ReceivedEvent, ReceivedLink)):
        return type(value)(*(_replaced(item, text) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(item, text) for item in value)
    if isinstance(value, ReceivedSpan):
        changed = {field.name: _replaced(getattr(value, field.name), text) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **changed)
    return value


def _start(span: ReceivedSpan) -> tuple[int, str]:
    return span.start_ns, span.name
