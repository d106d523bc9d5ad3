"""A trace as a waterfall: the tree of its spans, and for each of them a bar on one time axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from multiagents_otel import semconv
from multiagents_otel.tools.findings import Findings
from multiagents_otel.tools.otlp_values import as_text
from multiagents_otel.tools.quantities import nanoseconds
from multiagents_otel.tools.records import Resource
from multiagents_otel.tools.resource_names import short_names
from multiagents_otel.tools.span_tree import Node, build, earliest, is_workflow
from multiagents_otel.tools.terminal import Screen, columns
from multiagents_otel.tools.trace_header import trace_header
from multiagents_otel.tools.trace_index import Trace

_MARGIN = "  "
_GAP = 1
_DURATION = 8
_LEAST_NAME = 14
_WIDE, _NARROW = 100, 80
_MOST_NOTE_LINES = 4
_PALETTE = ("cyan", "magenta", "blue", "green", "bright-cyan", "bright-magenta", "bright-blue")
_SHORT_INSTANCE = 4
_KNOWN_LEVELS = 64
"""Levels of the tree above a row whose lines are remembered: more than can be drawn."""


@dataclass(frozen=True)
class _Row:
    node: Node
    depth: int
    follows: tuple[bool, ...]  # for the levels above and its own: whether a sibling comes below


@dataclass(frozen=True)
class _Layout:
    name: int
    process: int
    bar: int
    status: int
    step: int  # columns of indentation a level
    levels: int  # of the tree, that can be drawn
    start: int
    extent: int


def waterfall(trace: Trace, screen: Screen) -> Iterator[str]:
    """Return the lines that show a trace: header, time axis, spans, log events."""
    tops = build(trace)
    findings = Findings(tops, screen.glyphs)
    yield from trace_header(trace, tops, findings, screen)
    if tops:
        rows = _rows(tops)
        drawing = _Drawing(trace, rows, findings, screen)
        if any(span.start for span in trace.spans):
            yield from ("", drawing.axis())
        for row in rows:
            yield from drawing.lines(row)
    yield from _log_lines(trace, screen)


def process_labels(trace: Trace) -> dict[Resource, str]:
    """Return a name for each process: its service, with the start of its instance id where a service has several."""
    services: dict[str, list[Resource]] = {}
    for span in trace.spans:
        services.setdefault(span.resource.service, []).append(span.resource)
    return {
        resource: f"{service}/{name}" if name else service
        for service, resources in services.items()
        for resource, name in short_names(resources, _SHORT_INSTANCE).items()
    }


def _rows(tops: list[Node]) -> list[_Row]:
    rows: list[_Row] = []
    waiting = [_Row(node, 0, ()) for node in reversed(tops)]
    while waiting:
        row = waiting.pop()
        rows.append(row)
        children = row.node.children
        for index in range(len(children) - 1, -1, -1):
            follows = (*row.follows, index < len(children) - 1)[-_KNOWN_LEVELS:]
            waiting.append(_Row(children[index], row.depth + 1, follows))
    return rows


class _Drawing:
    def __init__(self, trace: Trace, rows: list[_Row], findings: Findings, screen: Screen) -> None:
        self._screen = screen
        self._findings = findings
        self._labels = process_labels(trace)
        self._styles = {
            resource: _PALETTE[index % len(_PALETTE)]
            for index, resource in enumerate(
                dict.fromkeys(span.resource for span in sorted(trace.spans, key=lambda span: span.start))
            )
        }
        self._layout = self._fit(rows)

    def axis(self) -> str:
        """Return the line with the times at the ends of the bars, and between them where there is room."""
        layout = self._layout
        left = len(_MARGIN) + layout.name + _GAP + (layout.process + _GAP if layout.process else 0)
        marks = 4 if layout.bar >= 64 else 2 if layout.bar >= 32 else 1
        line = ""
        for mark in range(marks + 1):
            label = nanoseconds(layout.extent * mark // marks) if mark else "0"
            end = layout.bar * mark // marks
            at = end - columns(label) // 2 if 0 < mark < marks else end - columns(label)
            line += " " * max(0, at - columns(line)) + label
        return " " * left + self._screen.paint(line, "dim")

    def lines(self, row: _Row) -> Iterator[str]:
        """Return a span's row, and its notes."""
        yield self._span_line(row)
        # In the notes the tree goes on: lines that lead to siblings and children must not be cut.
        lead = _MARGIN + self._lead(row, below=True)
        width = self._screen.width - columns(lead)
        for note in self._findings.notes(row.node):
            for index, line in enumerate(self._screen.wrap(note.text, width - 2, _MOST_NOTE_LINES)):
                yield self._screen.paint(lead, "dim") + "  " * bool(index) + self._screen.paint(line, note.style)

    def _span_line(self, row: _Row) -> str:
        screen, layout, node = self._screen, self._layout, row.node
        lead = self._lead(row, below=False)
        name, style = self._name(node)
        cells = [screen.paint(lead, "dim") + screen.cell(name, layout.name - columns(lead), style)]
        if node.missing:
            return (_MARGIN + screen.paint(lead, "dim") + screen.paint(name, style)).rstrip()
        label, color = self._process(node)
        if layout.process:
            cells.append(screen.cell(label, layout.process, color))
        status, status_style = self._findings.status(node)
        cells.append(screen.paint(self._bar(node), status_style if status_style == "red" else color))
        cells.append(screen.cell(self._duration(node), _DURATION, right=True))
        if layout.status:
            shown = status if layout.status > 1 else status[:1]
            cells.append(screen.cell(shown, layout.status, status_style))
        return (_MARGIN + (" " * _GAP).join(cells)).rstrip()

    def _name(self, node: Node) -> tuple[str, str]:
        span = node.span
        if span is not None:
            style = "bold " if is_workflow(span) else ""
            return span.name or "(no name)", f"{style}red" if span.error else style.strip()
        if node.pending is not None:
            workflow = node.pending.attributes.get(semconv.WORKFLOW_ID)
            return semconv.workflow_span(as_text(workflow) or "?"), "bold yellow"
        return f"missing parent {node.missing}", "yellow"

    def _process(self, node: Node) -> tuple[str, str]:
        resource = node.span.resource if node.span is not None else node.pending.resource if node.pending else None
        if resource is None:
            return "", ""
        return self._labels.get(resource, resource.service), self._styles.get(resource, "")

    def _duration(self, node: Node) -> str:
        if node.span is not None and not node.span.start:
            return "-"
        if node.span is None or not node.span.end:
            return f"{self._screen.glyphs.pending} open"
        return nanoseconds(node.span.duration)

    def _bar(self, node: Node) -> str:
        # Drawn in half columns; what is shorter than one takes one.
        layout, glyphs = self._layout, self._screen.glyphs
        span = node.span
        if span is not None and not span.start:
            return " " * layout.bar
        halves = layout.bar * 2
        is_open = span is None or not span.end
        start, end = node.start - layout.start, layout.extent
        if span is not None and not is_open:
            end = span.start + span.duration - layout.start
        extent = max(1, layout.extent)
        low = min(halves - 1, max(0, round(start * halves / extent)))
        high = max(low + 1, min(halves, round(end * halves / extent)))
        if is_open:
            return (" " * (low // 2)).ljust(layout.bar, glyphs.open_end)
        cells = []
        for column in range(0, halves, 2):
            left, right = low <= column < high, low <= column + 1 < high
            cells.append(glyphs.full if left and right else glyphs.left if left else glyphs.right if right else " ")
        return "".join(cells)

    def _lead(self, row: _Row, *, below: bool) -> str:
        """Return the lines of the tree in front of a row, or of the notes below it."""
        glyphs, step = self._screen.glyphs, self._layout.step
        stem, blank = _fit_glyph(glyphs.stem, step), " " * step
        above = row.follows if below else row.follows[:-1]
        parts = [stem if follows else blank for follows in above]
        if below:
            parts.append(stem if row.node.children else blank)
        elif row.depth:
            parts.append(_fit_glyph(glyphs.branch if row.follows[-1] else glyphs.last, step))
        room = self._layout.levels + below
        if len(parts) > room or row.depth > len(row.follows):
            parts = [glyphs.ellipsis.ljust(step), *parts[-max(1, room - 1) :]]
        return "".join(parts)

    def _fit(self, rows: list[_Row]) -> _Layout:
        width = self._screen.width
        wide, narrow = width >= _WIDE, width < _NARROW
        process = status = 0
        if len(self._labels) > 1:
            process = min(max(map(columns, self._labels.values())), 22 if wide else 10 if narrow else 14)
        statuses = [columns(self._findings.status(row.node)[0]) for row in rows]
        if any(statuses):
            # Where there is little room, the kind of an error stands in the note below the span alone.
            status = min(max(statuses), 24 if wide else 1)
        taken = [len(_MARGIN) - _GAP, process, status, _DURATION]
        room = width - sum(size + _GAP for size in taken if size) - _GAP  # for names and bars
        most = max(_LEAST_NAME, min(room - (24 if wide else 12 if narrow else 18), room * 3 // 5))
        names = [
            (row.depth, columns(self._screen.safe(self._name(row.node)[0]))) for row in rows if not row.node.missing
        ]
        # Indentation gives way before names do.
        step = next((size for size in (3, 2) if all(depth * size + name <= most for depth, name in names)), 1)
        needed = max(depth * step + name for depth, name in names)
        name = max(_LEAST_NAME, min(most, needed))
        levels = max(depth for depth, _ in names) if needed <= name else (name - _LEAST_NAME) // step
        spans = [row.node.span for row in rows if row.node.span is not None]
        ends = [span.start + span.duration for span in spans if span.start]
        start = earliest(row.node.start for row in rows)
        return _Layout(name, process, room - name, status, step, max(1, levels), start, max([*ends, start]) - start)


def _fit_glyph(glyph: str, step: int) -> str:
    """Return a glyph of the tree in ``step`` columns; the last of two is left blank, so that names stand apart."""
    return glyph[: max(1, step - 1)].ljust(step)


def _log_lines(trace: Trace, screen: Screen) -> Iterator[str]:
    shown_already = {semconv.TRANSACTION_ID, semconv.WORKFLOW_ID}
    if not trace.logs:
        return
    start = earliest([*(span.start for span in trace.spans), trace.logs[0].time])
    yield ""
    for log in trace.logs:
        details = [f"{key}={as_text(value)}" for key, value in log.attributes.items() if key not in shown_already]
        offset = nanoseconds(max(0, log.time - start))
        style = "yellow" if log.name == semconv.LOG_WORKFLOW_STALLED else "dim"
        head = screen.cell(f"log +{offset}", 13, style) + " " + screen.cell(log.severity, 5, style) + " "
        for index, part in enumerate(screen.wrap(" ".join([log.name, *details]), screen.width - len(_MARGIN) - 20)):
            yield _MARGIN + (" " * 20 if index else head) + screen.paint(part, style)
