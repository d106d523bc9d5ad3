"""What a report says: the tables, which the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, TypeVar

from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.tools.quantities import counted, duration
from multiagents_otel.tools.report.figures import BAD_STATUS, Figures, Report, Step, Timed, Timeline, Workflow, share
from multiagents_otel.tools.report.period import day_and_time
from multiagents_otel.tools.report.queries import SPIKE_ERRORS
from multiagents_otel.tools.report.trends import BAD, trends
from multiagents_otel.tools.report.wording import NOTHING, length, number, percent, percentiles

T = TypeVar("T")

DIM: Final = "dim"

_PERCENTILES: Final = (50, 95, 99)
_SLOWEST: Final = 10


@dataclass(frozen=True)
class Column:
    """``rank``: the higher, the sooner it is left out where there is no room; 0 is always shown."""

    title: str
    rank: int = 0
    left: bool = False


@dataclass(frozen=True)
class Cell:
    """A text, or (``strip``) a row of values over time, the highest of them being ``top`` unless that is higher."""

    text: str = ""
    tone: str = ""
    strip: tuple[float | None, ...] = ()
    top: float = 0.0


@dataclass(frozen=True)
class Section:
    """A title, a table and what is to be said of it. Without rows the words stand alone."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: str = ""


def sections(report: Report, most: int | None = None) -> list[Section]:
    """Return the report's tables, of up to ``most`` rows each if given."""
    return [
        _summary(report),
        _workflows(report, most),
        _steps(report.now, most),
        _workers(report.now, most),
        _errors(report, most),
        _spikes(report, most),
        _faults(report.now, most),
        _events(report.now, most),
    ]


def headline(report: Report) -> str:
    """Return the report in two sentences."""
    now = report.now
    if now.success is None:
        return "No workflow ended in this period that counts as a success or not."
    verdict = "met" if now.success >= report.objective else "missed"
    return (
        f"{percent(now.success)} of workflows succeeded; the objective of {report.objective * 100:g} % is {verdict}. "
        f"{number(now.ended)} {'workflow' if now.ended == 1 else 'workflows'} ended."
    )


def over_time(report: Report) -> Section:
    """Return the timeline as strips, for where there are no plots."""
    columns = (Column("", left=True), Column("when", left=True), Column("highest"))
    earlier = _series(report.timeline_before) if report.timeline_before else ()
    rows: list[tuple[Cell, ...]] = []
    for now, before in zip_longest(_series(report.timeline), earlier):
        top = max(now.highest or 0, before.highest or 0) if before else 0
        for name, tone, each in ((now.name, "", now), ("  before", DIM, before)):
            if each:
                rows.append((Cell(name, tone), Cell("", tone, each.values, top), Cell(each.told(), tone)))
    words = f"Each mark is {length(report.timeline.slot)}, the oldest first."
    return Section("Over time", columns, tuple(rows), words)


@dataclass(frozen=True)
class _Series:
    name: str
    values: tuple[float | None, ...]
    say: Callable[[float], str]

    @property
    def highest(self) -> float | None:
        return max((each for each in self.values if each is not None), default=None)

    def told(self) -> str:
        return NOTHING if self.highest is None else self.say(self.highest)


def _series(timeline: Timeline) -> list[_Series]:
    return [
        _Series("workflows ended", timeline.all_ended, number),
        _Series("not successful", tuple(None if each is None else 1 - each for each in timeline.success), percent),
        _Series("workflow p95", _p95(timeline.times), duration),
        _Series("queue time p95", _p95(timeline.queue), duration),
        _Series("worker errors", timeline.all_errors, number),
    ]


def _p95(parts: Iterable[Timed]) -> tuple[float | None, ...]:
    return tuple(found.value if (found := each.percentile(95)) else None for each in parts)


def _summary(report: Report) -> Section:
    columns = (Column("", left=True), Column("now"), Column("before"), Column("change"))
    rows = (
        (Cell(row.name), Cell(row.now), Cell(row.before, DIM), Cell(row.change, row.tone))
        for row in trends(report.now, report.before)
    )
    wanted = 2 if report.before is None else 4
    return Section("Summary", columns[:wanted], tuple(row[:wanted] for row in rows))


def _workflows(report: Report, most: int | None) -> Section:
    statuses = tuple(WorkflowStatus)
    columns = (
        Column("workflow", left=True),
        Column("started", 3),
        *(Column(status.value, 2 if status is WorkflowStatus.CANCELLED else 1) for status in statuses),
        Column("success"),
        *_timed_columns(),
    )

    def row(each: Workflow) -> tuple[Cell, ...]:
        missed = each.success is not None and each.success < report.objective
        return (
            Cell(each.id),
            Cell(number(each.started)),
            *(_count(each.ended.get(status, 0), bad=status in BAD_STATUS) for status in statuses),
            Cell(percent(each.success), BAD if missed else ""),
            *map(Cell, percentiles(each.timed, *_PERCENTILES)),
        )

    workflows = sorted(report.now.workflows, key=lambda each: (-sum(each.ended.values()), -each.started, each.id))
    shown, words = _cut(workflows, most, "workflow")
    return Section("Workflows", columns, tuple(map(row, shown)), words or _none(shown, "No workflow is known."))


def _steps(now: Figures, most: int | None) -> Section:
    columns = (
        Column("step", left=True),
        Column("workflow", 3, left=True),
        Column("runs"),
        *_timed_columns(),
        Column("total time", 1),
        Column("share", 2),
    )
    total = sum(step.timed.total for step in now.steps)

    def row(each: Step) -> tuple[Cell, ...]:
        return (
            Cell(each.name),
            Cell(each.workflow, DIM),
            Cell(number(each.timed.count)),
            *map(Cell, percentiles(each.timed, *_PERCENTILES)),
            Cell(duration(each.timed.total)),
            Cell(percent(share(each.timed.total, total))),
        )

    slowest = sorted(now.steps, key=lambda each: (-slowness(each), each.workflow, each.name))
    shown = slowest
    if most is not None and len(slowest) > _SLOWEST:
        costly = sorted(slowest, key=lambda each: -each.timed.total)[:_SLOWEST]
        shown = [each for rank, each in enumerate(slowest) if rank < _SLOWEST or each in costly]
    left_out = len(slowest) - len(shown)
    words = "By p95; share is of the time of all steps."
    if left_out:
        words += f" {counted(left_out, 'step')} not shown: neither among the slowest nor among the costliest."
    return Section("Slowest steps", columns, tuple(map(row, shown)), words if shown else "No step ran.")


def slowness(step: Step) -> float:
    """Return the p95 in seconds; what lies beyond the last bucket comes after all that does not."""
    found = step.timed.percentile(95)
    if found is None:
        return 0.0
    return found.value * 2 if found.beyond else found.value


def _workers(now: Figures, most: int | None) -> Section:
    columns = (
        Column("worker", left=True),
        Column("runs"),
        Column("errors"),
        Column("cancelled", 4),
        Column("success"),
        *_timed_columns(),
        Column("queue p95", 2),
        Column("total time", 3),
    )
    workers = sorted(now.workers, key=lambda each: (-each.failed, -each.timed.total, each.name))
    shown, words = _cut(workers, most, "worker")
    rows = (
        (
            Cell(each.name),
            Cell(number(each.succeeded + each.failed + each.cancelled)),
            _count(each.failed, bad=True),
            _count(each.cancelled),
            Cell(percent(each.success)),
            *map(Cell, percentiles(each.timed, *_PERCENTILES)),
            *map(Cell, percentiles(each.queue, 95)),
            Cell(duration(each.timed.total)),
        )
        for each in shown
    )
    return Section("Workers", columns, tuple(rows), words or _none(shown, "No worker is known."))


def _errors(report: Report, most: int | None) -> Section:
    columns = (
        Column("worker", left=True),
        Column("error type", left=True),
        Column("errors"),
        Column("share", 2),
        Column("before", 3),
        Column("when", 1, left=True),
    )
    total = sum(report.now.errors.values())
    before = report.before.errors if report.before else None
    patterns = sorted(report.now.errors.items(), key=lambda item: (-item[1], item[0]))
    shown, words = _cut(patterns, most, "pattern")
    rows = (
        (
            Cell(worker),
            Cell(kind, BAD),
            Cell(number(count)),
            Cell(percent(share(count, total))),
            Cell(NOTHING if before is None else number(before.get((worker, kind), 0)), DIM),
            Cell(strip=report.timeline.errors.get((worker, kind), ())),
        )
        for (worker, kind), count in shown
    )
    told = f"Each mark under 'when' is {length(report.timeline.slot)}, the oldest first. {words}".rstrip()
    return Section("Error patterns", columns, tuple(rows), told if shown else "No worker failed.")


def _spikes(report: Report, most: int | None) -> Section:
    columns = (
        Column("worker", left=True),
        Column("error type", left=True),
        Column("from (UTC)", left=True),
        Column("to", 1, left=True),
        Column("most in 5 min"),
    )
    spikes = sorted(report.spikes, key=lambda each: (-each.most, each.start, each.worker, each.error_type))
    shown, words = _cut(spikes, most, "spike")
    rows = (
        (
            Cell(each.worker),
            Cell(each.error_type, BAD),
            Cell(day_and_time(each.start)),
            Cell(day_and_time(each.end)),
            Cell(number(each.most)),
        )
        for each in shown
    )
    none = f"No worker had more than {SPIKE_ERRORS} errors of one type within 5 minutes."
    return Section("Error spikes", columns, tuple(rows), words or _none(shown, none))


def _faults(now: Figures, most: int | None) -> Section:
    columns = (Column("fault", left=True), Column("where", left=True), Column("count"))
    faults = sorted(now.faults, key=lambda each: (-each.count, each.kind, each.where))
    shown, words = _cut(faults, most, "fault")
    rows = ((Cell(each.kind, BAD), Cell(each.where), Cell(number(each.count))) for each in shown)
    none = "Nothing was undelivered, run twice or late, and nothing failed to be published."
    return Section("Delivery", columns, tuple(rows), words or _none(shown, none))


def _events(now: Figures, most: int | None) -> Section:
    columns = (Column("event", left=True), Column("events"), Column("errors"), Column("success"), *_timed_columns())
    events = sorted(now.events, key=lambda each: (-each.succeeded - each.failed, each.type))
    shown, words = _cut(events, most, "type")
    rows = (
        (
            Cell(each.type),
            Cell(number(each.succeeded + each.failed)),
            _count(each.failed, bad=True),
            Cell(percent(each.success)),
            *map(Cell, percentiles(each.timed, *_PERCENTILES)),
        )
        for each in shown
    )
    return Section("Events", columns, tuple(rows), words or _none(shown, "No event was handled."))


def _timed_columns() -> Iterable[Column]:
    return (Column(f"p{each}", 0 if each == 95 else 1) for each in _PERCENTILES)


def _count(count: int, *, bad: bool = False) -> Cell:
    return Cell(number(count), "" if count and not bad else BAD if count else DIM)


def _cut(rows: Sequence[T], most: int | None, noun: str) -> tuple[Sequence[T], str]:
    if most is None or len(rows) <= most:
        return rows, ""
    return rows[:most], f"{counted(len(rows) - most, noun)} more (the page, -o FILE, has all)."


def _none(shown: Sequence[T], words: str) -> str:
    return "" if shown else words
