"""The report as one HTML page that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from html import escape
from typing import Final

from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.tools.quantities import duration
from multiagents_otel.tools.report import charts
from multiagents_otel.tools.report.charts import Bar, Series, Time
from multiagents_otel.tools.report.figures import Report, Step, Timed, Timeline
from multiagents_otel.tools.report.period import day_and_time
from multiagents_otel.tools.report.style import STYLE
from multiagents_otel.tools.report.tables import Cell, Column, Section, headline, sections, slowness
from multiagents_otel.tools.report.trends import Trend, trends
from multiagents_otel.tools.report.wording import length, number, percent
from multiagents_otel.tools.terminal import safe
from multiagents_otel.version import __version__

# Names are data of the application's users. Even if one got through unescaped, nothing could be loaded or run.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SLOWEST: Final = 10
_CARDS: Final = frozenset(
    {"workflow success", "workflows ended", "workflow p95", "stalled workflows", "worker success", "queue time p95",
     "undelivered events"}
)  # fmt: skip


def page(report: Report) -> str:
    """Return the HTML of a whole page."""
    title = f"multiagents report, {_span(report)}"
    tables = "".join(map(_section, sections(report)))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        f"{_header(report)}<main>\n{_cards(report)}{_plots(report)}{tables}{_plotted(report)}</main>\n{_footer()}"
        "</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    services = ", ".join(
        f"{name or 'no name'} ({number(count)} {'process' if count == 1 else 'processes'})"
        for name, count in report.services.items()
    )
    notes = "".join(f'<p class="note">{_text(note)}</p>\n' for note in report.notes)
    period = length(report.now.period.length)
    return (
        f"<header>\n<h1>multiagents report</h1>\n<p>{_text(_span(report))} UTC ({period})</p>\n"
        f'<p class="faint">Services: {_text(services)}. From {_text(report.source)}.</p>\n{notes}'
        f'<p class="headline">{_text(headline(report))}</p>\n</header>\n'
    )


def _span(report: Report) -> str:
    period = report.now.period
    return f"{day_and_time(period.start)} to {day_and_time(period.end)}"


def _cards(report: Report) -> str:
    def card(row: Trend) -> str:
        change = f'<span class="{row.tone or "dim"}">{_text(row.change)}</span>' if report.before else ""
        return f"<li>{_text(row.name)}<b>{_text(row.now)}</b>{change}</li>\n"

    shown = (card(row) for row in trends(report.now, report.before) if row.name in _CARDS)
    return f'<ul class="cards">\n{"".join(shown)}</ul>\n'


def _plots(report: Report) -> str:
    now, before = report.timeline, report.timeline_before
    time = Time(now.starts, now.slot)
    drawn = [
        charts.columns("Workflows ended, by status", time, list(_by_status(now)), _earlier_count(before)),
        charts.lines("Workflow success rate", time, list(_success(report)), percent, ends=_rate_axis(report)),
        charts.lines("Workflow duration", time, list(_durations(now, before)), duration),
        charts.lines("Queue time", time, list(_queue(now, before)), duration),
    ]
    if report.now.steps:
        slowest = sorted(report.now.steps, key=slowness, reverse=True)[:_SLOWEST]
        costly = sorted(report.now.steps, key=lambda step: step.timed.total, reverse=True)[:_SLOWEST]
        drawn += [
            charts.bars("Slowest steps, by p95", [_bar(step, slowness(step)) for step in slowest]),
            charts.bars("Costliest steps, by total time", [_bar(step, step.timed.total) for step in costly]),
        ]
    return f'<section class="plots" aria-label="plots">\n{"".join(drawn)}\n</section>\n'


def _by_status(timeline: Timeline) -> Iterator[Series]:
    for status in WorkflowStatus:
        counts = timeline.ended.get(status.value)
        if counts and any(counts):
            yield Series(status.value, status.value, counts)


def _earlier_count(before: Timeline | None) -> Series | None:
    return Series("all, the period before", "earlier", before.all_ended) if before else None


def _success(report: Report) -> Iterator[Series]:
    yield Series("success rate", "first", report.timeline.success)
    if report.timeline_before:
        yield Series("the period before", "earlier", report.timeline_before.success)
    yield Series("objective", "objective", [report.objective] * len(report.timeline.times))


def _rate_axis(report: Report) -> tuple[float, float]:
    """Return the ends of the axis of success rates: close enough to see 99 % beside 99.9 %."""
    known = [value for series in _success(report) for value in series.values if value is not None]
    return next(end for end in (0.99, 0.9, 0.5, 0.0) if end <= min(known)), 1.0


def _durations(now: Timeline, before: Timeline | None) -> Iterator[Series]:
    yield Series("p95", "second", _percentile(now.times, 95))
    yield Series("p50", "first", _percentile(now.times, 50))
    if before:
        yield Series("p95, the period before", "earlier", _percentile(before.times, 95))


def _queue(now: Timeline, before: Timeline | None) -> Iterator[Series]:
    yield Series("p95", "second", _percentile(now.queue, 95))
    if before:
        yield Series("p95, the period before", "earlier", _percentile(before.queue, 95))


def _percentile(parts: Iterable[Timed], percentile: float) -> list[float | None]:
    return [found.value if (found := each.percentile(percentile)) else None for each in parts]


def _bar(step: Step, value: float) -> Bar:
    return Bar(safe(f"{step.workflow} / {step.name}"), value, duration(value))


def _section(section: Section) -> str:
    words = f'<p class="words">{_text(section.words)}</p>\n' if section.words else ""
    table = _table(section.title, section.columns, section.rows) if section.rows else ""
    return f"<section>\n<h2>{_text(section.title)}</h2>\n{words}{table}</section>\n"


def _table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> str:
    head = "".join(f'<th scope="col"{_side(column)}>{_text(column.title)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(_cells(columns, row))}</tr>\n" for row in rows)
    # A box that scrolls must be reachable by keyboard, and so needs a name.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(caption)}">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )


def _cells(columns: Sequence[Column], row: Sequence[Cell]) -> Iterator[str]:
    for index, (column, cell) in enumerate(zip(columns, row, strict=True)):
        inside = _strip(cell) if cell.strip else f'<span class="{cell.tone}">{_text(cell.text)}</span>'
        inside = inside if cell.tone or cell.strip else _text(cell.text)
        yield f'<th scope="row"{_side(column)}>{inside}</th>' if not index else f"<td{_side(column)}>{inside}</td>"


def _side(column: Column) -> str:
    return ' class="left"' if column.left else ""


def _strip(cell: Cell) -> str:
    counts = ", ".join(number(value or 0) for value in cell.strip)
    return charts.strip(cell.strip, f"oldest first: {counts}")


def _plotted(report: Report) -> str:
    """Return the plots' figures as a table: for who can't see them, or wants to take them elsewhere."""
    timeline = report.timeline
    titles = ("from (UTC)", "workflows ended", "success", "p50", "p95", "queue time p95", "worker errors")
    columns = [Column(title, left=not index) for index, title in enumerate(titles)]

    def shown(values: Iterable[float | None]) -> list[str]:
        return ["-" if value is None else duration(value) for value in values]

    rows = zip(
        map(day_and_time, timeline.starts),
        map(number, timeline.all_ended),
        map(percent, timeline.success),
        shown(_percentile(timeline.times, 50)),
        shown(_percentile(timeline.times, 95)),
        shown(_percentile(timeline.queue, 95)),
        map(number, timeline.all_errors),
        strict=True,
    )
    table = _table("Over time", columns, (tuple(map(Cell, row)) for row in rows))
    return f"<details>\n<summary>The plots' figures</summary>\n{table}</details>\n"


def _footer() -> str:
    now = datetime.now(timezone.utc)
    return (
        f"<footer>Made by multiagents-otel {__version__} on {now:%Y-%m-%d %H:%M} UTC. "
        "Percentiles are estimated from buckets. Times are UTC.</footer>\n"
    )


def _text(text: str) -> str:
    return escape(safe(text))
