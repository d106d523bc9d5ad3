"""What a trace is, in a few lines above its spans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from multiagents_otel import semconv
from multiagents_otel.tools.findings import Findings
from multiagents_otel.tools.otlp_values import as_text
from multiagents_otel.tools.quantities import clock, counted, nanoseconds
from multiagents_otel.tools.records import LogEvent, Span
from multiagents_otel.tools.span_tree import Node, earliest, is_workflow, unfinished
from multiagents_otel.tools.terminal import Screen, columns
from multiagents_otel.tools.trace_index import Trace, transaction_of

_GOOD = (semconv.WorkflowStatus.COMPLETED.value, "ok")
_NOT_ENDED = "not ended"
_RECOVERED = "ended after a stall"
_NEUTRAL = (semconv.WorkflowStatus.CANCELLED.value, _RECOVERED)


@dataclass(frozen=True)
class _Subject:
    """A workflow transaction, or what the trace is about if it holds none."""

    title: str
    transaction: str
    status: str
    detail: str
    duration: int | None
    error: str = ""
    note: str = ""


def trace_header(trace: Trace, tops: list[Node], findings: Findings, screen: Screen) -> Iterator[str]:
    """Return the lines: each workflow with its status and duration, then the ids, counts and faults of the trace."""
    for subject in _subjects(trace, tops):
        yield from _title(subject, screen)
    yield from _facts(trace, screen)
    for warning in _warnings(trace, tops, findings):
        for index, line in enumerate(screen.wrap(f"{screen.glyphs.warning} {warning}", screen.width - 4)):
            yield "  " + "  " * bool(index) + screen.paint(line, "yellow")


def _title(subject: _Subject, screen: Screen) -> Iterator[str]:
    glyphs = screen.glyphs
    if subject.status in _GOOD:
        glyph, style = glyphs.ok, "green"
    elif subject.status == _NOT_ENDED or subject.status in _NEUTRAL:
        glyph, style = glyphs.pending, "yellow"
    else:
        glyph, style = glyphs.error, "red"
    tail = f"  {subject.status}{subject.detail}{subject.note}"
    told = f"  {subject.status}{subject.detail}: {subject.error}{subject.note}" if subject.error else tail
    length = "" if subject.duration is None else f"  {nanoseconds(subject.duration)}"
    beside = columns(screen.safe(subject.title + told)) + columns(length) <= screen.width - 2
    tail = told if beside else tail
    title = screen.clip(subject.title, max(10, screen.width - 2 - columns(tail) - columns(length)))
    yield (
        screen.paint(f"{glyph} ", style)
        + screen.paint(title, "bold")
        + screen.paint(screen.clip(tail, max(0, screen.width - 2 - columns(title) - columns(length))), style)
        + screen.paint(length, "bold")
    )
    if subject.error and not beside:
        yield (
            "  "
            + screen.paint("error       ", "dim")
            + screen.paint(screen.clip(subject.error, screen.width - 14), style)
        )
    if subject.transaction:
        yield "  " + screen.paint("transaction ", "dim") + screen.clip(subject.transaction, screen.width - 14)


def _facts(trace: Trace, screen: Screen) -> Iterator[str]:
    if trace.trace_id:
        yield "  " + screen.paint("trace       ", "dim") + screen.paint(trace.trace_id)
    start = earliest([*(span.start for span in trace.spans), *(log.time for log in trace.logs)])
    facts = [f"started {clock(start)}" if start else "start not recorded", counted(len(trace.spans), "span")]
    processes = {span.resource for span in trace.spans}
    if processes:
        names = sorted({entry.service for entry in processes})
        facts[-1] += f" in {counted(len(processes), 'process', 'processes')}"
        if len(processes) == 1:
            facts[-1] += f" ({names[0]})"
    for line in screen.pack(facts, screen.width - 2, f" {screen.glyphs.dot} "):
        yield "  " + screen.paint(line, "dim")


def _warnings(trace: Trace, tops: list[Node], findings: Findings) -> Iterator[str]:
    roots = [node for node in tops if node.span is not None]
    if trace.spans and not roots and not any(node.pending for node in tops):
        yield "no root span: it has not ended yet, was lost, or is in another file"
    if len(roots) > 1:
        yield f"{len(roots)} root spans"
    workflows = [span for span in trace.spans if is_workflow(span)]
    errors = sum(span.error for span in trace.spans)
    if errors and workflows and not any(span.error for span in workflows):
        yield f"{counted(errors, 'span')} failed, though the workflow did not"
    if findings.lost:
        yield f"{counted(findings.lost, 'event')} lost"
    if findings.doubled:
        yield f"{counted(findings.doubled, 'command')} ran more than once"
    if trace.conflicting:
        yield (
            f"{counted(trace.conflicting, 'span id')} used again for another span, not shown "
            "(two orchestrators on the same channels?)"
        )
    if trace.duplicates > trace.conflicting:
        yield f"{counted(trace.duplicates - trace.conflicting, 'duplicate span')} not shown"


def _subjects(trace: Trace, tops: list[Node]) -> list[_Subject]:
    recovered = {transaction_of(log) for log in trace.logs if log.name == semconv.LOG_WORKFLOW_RECOVERED}
    found = [
        _workflow(span, transaction_of(span) in recovered)
        for span in sorted(trace.spans, key=lambda span: span.start)
        if is_workflow(span)
    ]
    found.extend(_pending(trace, log) for log in unfinished(trace))
    return found or [_other(trace, tops)]


def _workflow(span: Span, recovered: bool) -> _Subject:
    status = as_text(span.attributes.get(semconv.WORKFLOW_STATUS)) or ("error" if span.error else "ok")
    failed = as_text(span.attributes.get(semconv.FAILED_STEP))
    detail = f" at step {failed}" if failed else ""
    workflow = as_text(span.attributes.get(semconv.WORKFLOW_ID))
    return _Subject(
        workflow or span.name,
        transaction_of(span),
        status,
        detail,
        span.duration if span.start else None,
        _error_of(span, status),
        ", ended after all later" if recovered else "",
    )


def _error_of(span: Span | None, status: str) -> str:
    """Why it failed, where the status does not say it already."""
    error = as_text(span.attributes.get(semconv.ERROR_TYPE)) if span is not None and span.error else ""
    return error if error != status else ""


def _pending(trace: Trace, log: LogEvent) -> _Subject:
    transaction = transaction_of(log)
    of_it = [entry for entry in trace.logs if transaction_of(entry) == transaction]
    detail = ""
    if any(entry.name == semconv.LOG_WORKFLOW_STALLED for entry in of_it):
        detail = ", stalled"
    elif not trace.spans and not any(entry.sampled for entry in of_it):
        detail = ", or not sampled"
    workflow = as_text(log.attributes.get(semconv.WORKFLOW_ID))
    return _Subject(workflow or "workflow", transaction, _NOT_ENDED, detail, None)


def _other(trace: Trace, tops: list[Node]) -> _Subject:
    first = next((node.span for node in tops if node.span is not None), None)
    span = first or min(trace.spans, key=lambda entry: entry.start, default=None)
    transactions = [transaction_of(entry) for entry in trace.spans] + [transaction_of(log) for log in trace.logs]
    transaction = next(filter(None, transactions), "")
    if span is None:  # log events alone, of a workflow that has ended
        workflow = as_text(trace.logs[0].attributes.get(semconv.WORKFLOW_ID))
        return _Subject(workflow or "workflow", transaction, _RECOVERED, "", None)
    end = max(entry.start + entry.duration for entry in trace.spans)
    start = earliest(entry.start for entry in trace.spans)
    workflow = next(
        (
            as_text(entry.attributes[semconv.WORKFLOW_ID])
            for entry in trace.spans
            if semconv.WORKFLOW_ID in entry.attributes
        ),
        "",
    )
    title = workflow if first is None and workflow else span.name
    failed = first if first is not None and first.error else next((entry for entry in trace.spans if entry.error), None)
    status = "error" if failed is not None else "ok"
    return _Subject(title, transaction, status, "", end - start if start else None, _error_of(failed, status))
