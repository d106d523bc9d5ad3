"""What a reader must see of a span beside its bar: faults, lost and doubled events, exceptions, links."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from multiagents_otel import semconv
from multiagents_otel.tools.quantities import nanoseconds
from multiagents_otel.tools.records import Span, SpanEvent
from multiagents_otel.tools.span_tree import Node, walk
from multiagents_otel.tools.terminal import Glyphs

_MOST_EVENTS = 3
_MOST_FAULTS = 32
"""How many different faults below a span are compared with its own; beyond it, it may be told twice."""


@dataclass(frozen=True)
class Fault:
    """Why a span has status ERROR. ``kind`` is its error.type, or the class of the exception that it recorded."""

    kind: str
    message: str

    def told_by(self, other: Fault) -> bool:
        """Whether ``other`` says all that this one does."""
        return self.kind == other.kind and (self.message in other.message or other.message in self.message)


@dataclass(frozen=True)
class Note:
    """A line below a span's row."""

    text: str
    style: str


def fault_of(span: Span) -> Fault | None:
    """Return why the span failed, None if it has not."""
    if not span.error:
        return None
    exception = next((event for event in span.events if event.name == semconv.EXCEPTION_EVENT), None)
    kind = _text(span, semconv.ERROR_TYPE)
    message = span.description
    if exception is not None:
        kind = kind or _text(exception, semconv.EXCEPTION_TYPE)
        message = message or _text(exception, semconv.EXCEPTION_MESSAGE)
    return Fault(kind or "error", message.removeprefix(f"{kind}: ") if kind else message)


def is_lost(span: Span) -> bool:
    """Whether the span tells of an event that had to reach somebody and reached nobody."""
    return span.error and (
        span.attributes.get(semconv.ERROR_TYPE) == semconv.UNDELIVERED or span.attributes.get(semconv.RECEIVERS) == 0
    )


def is_stalled(span: Span) -> bool:
    """Whether the span ended because no result came."""
    return span.error and span.attributes.get(semconv.ERROR_TYPE) == semconv.STALLED


def times_run(span: Span) -> int:
    """Return how often what the span published runs: 0 if it is not a span that publishes a command."""
    receivers = span.attributes.get(semconv.RECEIVERS)
    if not isinstance(receivers, int) or span.attributes.get(semconv.MESSAGING_OPERATION_TYPE) == semconv.PROCESS:
        return 0
    event = span.attributes.get(semconv.EVENT_TYPE)
    is_command = event in (semconv.COMMAND_EVENT, semconv.COMPENSATION_EVENT) or (
        event is None and semconv.STEP_NAME in span.attributes
    )
    return receivers if is_command else 0


class Findings:
    """The notes of all spans of a trace; what a span's descendants say already is not said again by the span."""

    def __init__(self, tops: list[Node], glyphs: Glyphs) -> None:
        """Look at all nodes below ``tops``."""
        self._glyphs = glyphs
        self._names = {node.span.span_id: node.span.name for node in walk(tops) if node.span is not None}
        self.lost = 0
        """Events that had to reach somebody and reached nobody."""
        self.doubled = 0
        """Commands that run more than once."""
        self._below: dict[int, tuple[Fault, ...]] = {}
        for node in reversed(list(walk(tops))):  # children before their parents
            found: dict[Fault, None] = {}
            for child in node.children:
                found.update(dict.fromkeys(self._below[id(child)]))
                fault = None if child.span is None else fault_of(child.span)
                if fault is not None:
                    found[fault] = None
            self._below[id(node)] = tuple(found)[:_MOST_FAULTS]
            # A step, and a stalled workflow, repeat what the send below them says.
            self.lost += _is(is_lost, node) and not any(_is(is_lost, child) for child in node.children)
            self.doubled += self._runs_twice(node)

    def status(self, node: Node) -> tuple[str, str]:
        """Return what the row says at its end, and its style."""
        span = node.span
        if span is None:
            return "", ""
        fault = fault_of(span)
        if fault is not None:
            return f"{self._glyphs.error} {fault.kind.rpartition('.')[2] or fault.kind}", "red"
        if self._runs_twice(node) or self._maybe_lost(node):
            return self._glyphs.warning, "yellow"
        return "", ""

    def notes(self, node: Node) -> Iterator[Note]:
        """Return the lines below the row, the most important first."""
        span = node.span
        if span is None:
            return
        fault = fault_of(span)
        if fault is not None and not any(fault.told_by(other) for other in self._below[id(node)]):
            yield Note(self._fault_text(span, fault), "red")
        if self._maybe_lost(node):
            text = "no receiver was counted: lost, unless this is a Redis Cluster"
            yield Note(f"{self._glyphs.warning} {text}", "yellow")
        if self._runs_twice(node):
            times = times_run(span)
            yield Note(
                f"{self._glyphs.warning} runs {'twice' if times == 2 else f'{times} times'}: {times} receivers",
                "yellow",
            )
        yield from self._outcome(span)
        yield from self._exceptions(span, fault)
        yield from self._events(span)
        yield from self._links(span)

    def _fault_text(self, span: Span, fault: Fault) -> str:
        if is_lost(span):
            head = f"{self._glyphs.warning} LOST: reached no receiver"
        elif is_stalled(span):
            head = f"{self._glyphs.warning} STALLED: no result came"
        else:
            return (
                f"{self._glyphs.error} {fault.kind}: {fault.message}"
                if fault.message
                else (f"{self._glyphs.error} {fault.kind}")
            )
        return f"{head} ({fault.message})" if fault.message else head

    def _maybe_lost(self, node: Node) -> bool:
        span = node.span
        return (
            span is not None
            and not span.error
            and span.attributes.get(semconv.RECEIVERS) == 0
            and span.attributes.get(semconv.EVENT_TYPE) in semconv.ADDRESSED_EVENTS
        )

    def _runs_twice(self, node: Node) -> bool:
        if node.span is None or times_run(node.span) < 2:
            return False
        # A step repeats what its send says.
        return not any(child.span is not None and times_run(child.span) > 1 for child in node.children)

    def _outcome(self, span: Span) -> Iterator[Note]:
        if span.attributes.get(semconv.WORKER_OUTCOME) == semconv.Outcome.CANCELLED.value:
            yield Note(f"{self._glyphs.warning} cancelled", "yellow")

    def _exceptions(self, span: Span, fault: Fault | None) -> Iterator[Note]:
        for event in span.events:
            if event.name != semconv.EXCEPTION_EVENT:
                continue
            kind, message = _text(event, semconv.EXCEPTION_TYPE), _text(event, semconv.EXCEPTION_MESSAGE)
            if fault is not None and (not kind or kind == fault.kind) and message in fault.message:
                continue  # the line above has said it
            yield Note(f"exception {kind}: {message}" if message else f"exception {kind}", "red" if fault else "yellow")

    def _events(self, span: Span) -> Iterator[Note]:
        events = [event for event in span.events if event.name != semconv.EXCEPTION_EVENT]
        for event in events[:_MOST_EVENTS]:
            known = event.time and span.start
            offset = f" +{nanoseconds(max(0, event.time - span.start))}" if known else ""
            yield Note(f"{self._glyphs.event} {event.name}{offset}", "dim")
        if len(events) > _MOST_EVENTS:
            yield Note(f"{self._glyphs.event} and {len(events) - _MOST_EVENTS} more events", "dim")

    def _links(self, span: Span) -> Iterator[Note]:
        for link in span.links:
            if link.trace_id == span.trace_id:
                name = self._names.get(link.span_id)
                target = f"span {link.span_id} of this trace" + (f" ({name})" if name else "")
            else:
                target = f"trace {link.trace_id} span {link.span_id}"
            yield Note(f"{self._glyphs.link} link to {target}", "dim")


def _is(what: Callable[[Span], bool], node: Node) -> bool:
    return node.span is not None and what(node.span)


def _text(owner: Span | SpanEvent, key: str) -> str:
    value = owner.attributes.get(key)
    return value if isinstance(value, str) else ""
