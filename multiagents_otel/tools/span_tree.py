"""The spans of a trace as a tree, with stand-ins for what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from multiagents_otel import semconv
from multiagents_otel.tools.records import LogEvent, Span
from multiagents_otel.tools.trace_index import Trace, transaction_of


@dataclass(eq=False)
class Node:
    """A span, or what stands in its place: exactly one of ``span``, ``missing`` and ``pending`` is set."""

    span: Span | None = None
    missing: str = ""
    """The id of a parent that is not in the files."""
    pending: LogEvent | None = None
    """The log event of a workflow that has started and whose span has not come."""
    children: list[Node] = field(default_factory=list)

    @property
    def start(self) -> int:
        """Nanoseconds since the epoch, 0 if it is not recorded; for a missing parent that of its first child."""
        if self.span is not None:
            return self.span.start
        if self.pending is not None:
            return self.pending.time
        return earliest(child.start for child in self.children)


def earliest(times: Iterable[int]) -> int:
    """Return the earliest time that is recorded, 0 if none is."""
    return min(filter(None, times), default=0)


def build(trace: Trace) -> list[Node]:
    """Return the nodes at the top, siblings sorted by start.

    Spans without parent come as they are, spans whose parent is not there below a stand-in for it. No span is left out,
    not even where parents form a circle.
    """
    nodes = {span.span_id: Node(span) for span in trace.spans}
    tops: list[Node] = []
    missing: dict[str, Node] = {}
    for span in trace.spans:
        node = nodes[span.span_id]
        if not span.parent_id:
            tops.append(node)
        elif span.parent_id in nodes:
            nodes[span.parent_id].children.append(node)
        else:
            missing.setdefault(span.parent_id, Node(missing=span.parent_id)).children.append(node)
    tops.extend(missing.values())
    _break_circles(tops, nodes.values())
    _put_in_pending(tops, trace, missing)
    for node in walk(tops):
        node.children.sort(key=lambda child: child.start)
    return sorted(tops, key=lambda node: node.start)


def walk(tops: Iterable[Node]) -> Iterator[Node]:
    """Return all nodes, parents before their children. Not recursive: user code may nest deeper than Python's stack."""
    waiting = list(tops)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children)


def is_workflow(span: Span) -> bool:
    """Whether this is the span of a workflow transaction."""
    workflow = span.attributes.get(semconv.WORKFLOW_ID)
    return semconv.WORKFLOW_STATUS in span.attributes or (
        isinstance(workflow, str) and span.name == semconv.workflow_span(workflow)
    )


def unfinished(trace: Trace) -> list[LogEvent]:
    """Return the log events of the workflows that have started and whose span is not there, each once."""
    ended = {span.span_id for span in trace.spans} | {
        transaction_of(span) for span in trace.spans if is_workflow(span) and transaction_of(span)
    }
    # A stalled workflow that ended after all has no second span, only a log event that says so.
    ended |= {_workflow_of(log) for log in trace.logs if log.name == semconv.LOG_WORKFLOW_RECOVERED}
    found: dict[str, LogEvent] = {}
    for log in trace.logs:
        name = _workflow_of(log)
        if not {name, log.span_id} & ended:
            found.setdefault(name, log)
    return list(found.values())


def _workflow_of(log: LogEvent) -> str:
    return transaction_of(log) or log.span_id


def _put_in_pending(tops: list[Node], trace: Trace, missing: dict[str, Node]) -> None:
    for log in unfinished(trace):
        stand_in = missing.get(log.span_id)
        if stand_in is None:
            tops.append(Node(pending=log))
        else:
            stand_in.missing, stand_in.pending = "", log


def _break_circles(tops: list[Node], nodes: Iterable[Node]) -> None:
    reached = {id(node) for node in walk(tops)}
    for node in sorted(nodes, key=lambda entry: entry.start):
        if id(node) in reached or node.span is None:
            continue
        parent = next(entry for entry in nodes if entry.span is not None and entry.span.span_id == node.span.parent_id)
        parent.children.remove(node)
        stand_in = Node(missing=node.span.parent_id, children=[node])
        tops.append(stand_in)
        reached.update(id(entry) for entry in walk([stand_in]))
