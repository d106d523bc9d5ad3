"""Which traces a set of files holds, and the reading of the few that are shown.

A file may be larger than the memory, and the spans of a trace may lie anywhere in it. So it is read twice: the first
time only a summary of each trace is kept, with the places of its lines; the second time those lines alone are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from multiagents_otel import semconv
from multiagents_otel.tools.json_fields import BadLineError
from multiagents_otel.tools.metric_series import MetricStore
from multiagents_otel.tools.otlp_file import OtlpFile
from multiagents_otel.tools.otlp_json import is_request, read_request
from multiagents_otel.tools.quantities import counted
from multiagents_otel.tools.records import Batch, LogEvent, Span

Place = tuple[int, int, int]
"""Where a document is: the file's number, offset and size in it."""


@dataclass
class TraceSummary:
    """What is known of a trace after the first reading. ``start`` is in ns since the epoch, 0 if not recorded.

    ``key`` is the trace id; for workflows that only a log record without trace id tells of, it is made up of the
    transaction id.
    """

    key: str
    start: int
    error: bool = False
    has_spans: bool = False
    sampled_log: bool = False
    kept: bool = False
    stalled_log: bool = False
    transactions: set[str] = field(default_factory=set)
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """All that the files hold of one trace. ``trace_id`` is empty where only log records without one tell of it."""

    trace_id: str
    spans: tuple[Span, ...]  # each once
    logs: tuple[LogEvent, ...]
    duplicates: int
    conflicting: int  # duplicates that do not say the same as the span that is shown


@dataclass
class Damage:
    """The lines of one file that could not be read. ``is_otlp``: some of them are of OTLP all the same."""

    file: str
    lines: int = 0
    broken: int = 0
    first: str = ""
    is_otlp: bool = False

    def __str__(self) -> str:
        """``FILE: 3 of 120 lines could not be read (first: line 7: not JSON ...)``."""
        lines = counted(self.lines, "line")
        return f"{self.file}: {self.broken} of {lines} could not be read (first: {self.first})"


class TraceIndex:
    """The summaries of all traces of some files, and their metrics."""

    def __init__(self, files: Sequence[OtlpFile]) -> None:
        """Read the files, each once."""
        self._files = files
        self._summaries: dict[str, TraceSummary] = {}
        self.metrics = MetricStore()
        self.spans = 0
        self.logs = 0
        self.other_logs = 0
        self.damages = [self._read(number, file) for number, file in enumerate(files)]
        self._join_logs_without_trace()

    def summaries(self) -> list[TraceSummary]:
        """Return the traces, the oldest first."""
        return sorted(self._summaries.values(), key=lambda summary: summary.start)

    def load(self, summaries: Iterable[TraceSummary]) -> list[Trace]:
        """Return the traces that belong to some summaries, in their order."""
        wanted = {summary.key: _Gathered() for summary in summaries}
        aliases = {
            _transaction_key(transaction): summary.key for summary in summaries for transaction in summary.transactions
        }
        for file, offset, size in sorted({place for summary in summaries for place in summary.places}):
            try:
                batch = read_request(self._files[file].document_at(offset, size))
            except (ValueError, RecursionError):
                continue  # the file was changed meanwhile
            for span in batch.spans:
                if span.trace_id in wanted:
                    wanted[span.trace_id].add_span(span)
            for log in batch.logs:
                key = _log_key(log)
                gathered = wanted.get(key) or wanted.get(aliases.get(key, ""))
                if gathered is not None:
                    gathered.add_log(log)
        return [gathered.trace() for gathered in wanted.values()]

    def _read(self, number: int, file: OtlpFile) -> Damage:
        damage = Damage(file.name)
        for document in file.documents():
            damage.lines += document.lines
            try:
                if document.error:
                    raise BadLineError(document.error)
                batch = read_request(document.value)
            except BadLineError as error:
                damage.broken += document.lines
                damage.is_otlp = damage.is_otlp or is_request(document.value)
                damage.first = damage.first or f"line {document.line}: {error}"
                continue
            self._add(batch, (number, document.offset, document.size))
        return damage

    def _add(self, batch: Batch, place: Place) -> None:
        self.spans += len(batch.spans)
        logs = [log for log in batch.logs if _log_key(log)]
        self.logs += len(logs)
        self.other_logs += batch.other_logs + len(batch.logs) - len(logs)
        for span in batch.spans:
            summary = self._summary(span.trace_id, span.start, place)
            summary.has_spans = True
            summary.error = summary.error or span.error
            summary.kept = summary.kept or semconv.SAMPLING_KEEP in span.attributes
            _note_transaction(summary, span)
        for log in logs:
            summary = self._summary(_log_key(log), log.time, place)
            summary.sampled_log = summary.sampled_log or log.sampled
            summary.stalled_log = summary.stalled_log or log.name == semconv.LOG_WORKFLOW_STALLED
            _note_transaction(summary, log)
        for metric in batch.metrics:
            self.metrics.add(metric)

    def _summary(self, key: str, start: int, place: Place) -> TraceSummary:
        summary = self._summaries.get(key)
        if summary is None:
            summary = self._summaries[key] = TraceSummary(key, start)
        summary.start = min(filter(None, (summary.start, start)), default=0)
        if not summary.places or summary.places[-1] != place:
            summary.places.append(place)
        return summary

    def _join_logs_without_trace(self) -> None:
        homes = {
            transaction: summary
            for summary in self._summaries.values()
            if summary.has_spans
            for transaction in summary.transactions
        }
        for summary in [entry for entry in self._summaries.values() if not entry.has_spans]:
            home = next((homes[name] for name in summary.transactions if name in homes), None)
            if home is not None and summary.key in map(_transaction_key, summary.transactions):
                home.start = min(filter(None, (home.start, summary.start)), default=0)
                home.stalled_log = home.stalled_log or summary.stalled_log
                home.places.extend(summary.places)
                del self._summaries[summary.key]


class _Gathered:
    """A trace while its lines are read."""

    def __init__(self) -> None:
        self._spans: dict[str, Span] = {}
        self._logs: dict[tuple[str, int, str], LogEvent] = {}
        self._duplicates = 0
        self._conflicting = 0

    def add_span(self, span: Span) -> None:
        known = self._spans.setdefault(span.span_id, span)
        if known is not span:
            self._duplicates += 1
            self._conflicting += known != span

    def add_log(self, log: LogEvent) -> None:
        self._logs.setdefault((log.name, log.time, log.span_id), log)

    def trace(self) -> Trace:
        spans = tuple(self._spans.values())
        logs = tuple(sorted(self._logs.values(), key=lambda log: log.time))
        trace_ids = [span.trace_id for span in spans[:1]] + [log.trace_id for log in logs if log.trace_id]
        trace_id = trace_ids[0] if trace_ids else ""
        return Trace(trace_id, spans, logs, self._duplicates, self._conflicting)


def transaction_of(entry: Span | LogEvent) -> str:
    """Return the workflow's transaction id, empty if it has none."""
    value = entry.attributes.get(semconv.TRANSACTION_ID)
    return value if isinstance(value, str) else ""


def _note_transaction(summary: TraceSummary, entry: Span | LogEvent) -> None:
    transaction = transaction_of(entry)
    if transaction:
        summary.transactions.add(transaction)


def _log_key(log: LogEvent) -> str:
    transaction = transaction_of(log)
    return log.trace_id or (_transaction_key(transaction) if transaction else "")


def _transaction_key(transaction: str) -> str:
    return f"transaction:{transaction}"
