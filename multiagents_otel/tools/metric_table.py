"""The table of metrics: counters and gauges first, then histograms, grouped by instrument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from multiagents_otel import semconv
from multiagents_otel.tools.distributions import quantile
from multiagents_otel.tools.metric_series import Instrument, MetricStore, Series
from multiagents_otel.tools.otlp_values import as_text
from multiagents_otel.tools.quantities import clock, counted, plain, quantity
from multiagents_otel.tools.records import Distribution, Kind
from multiagents_otel.tools.terminal import Screen, columns

_MARGIN = "  "
_INDENT = "    "
_LEAST_FOR_LABELS = 26
_MOST_GAUGE_ROWS = 4
_NOTHING = "-"

_BAD_NEWS = frozenset(
    instrument.name
    for instrument in (
        semconv.EVENTS_UNDELIVERED,
        semconv.EVENTS_STALE,
        semconv.EVENTS_PUBLISH_ERRORS,
        semconv.COMMANDS_DUPLICATED,
        semconv.WORKER_ERRORS,
        semconv.WORKFLOW_STALLS,
        semconv.WORKFLOWS_STALLED,
        semconv.OTEL_ERRORS,
        semconv.OTEL_DROPPED,
    )
)
_BAD_STATUS = frozenset(
    {
        semconv.ERROR,
        semconv.UNDELIVERED,
        semconv.WorkflowStatus.FAILED.value,
        semconv.WorkflowStatus.COMPENSATED.value,
        semconv.WorkflowStatus.STALLED.value,
    }
)


@dataclass(frozen=True)
class _Row:
    labels: str
    cells: tuple[str, ...]
    style: str = ""
    idle: bool = False  # nothing has been counted yet


_Block = tuple[Instrument, Sequence[_Row]]


def metric_table(store: MetricStore, screen: Screen, *, everything: bool = False) -> Iterator[str]:
    """Return the lines of the table, none if there are no metrics.

    Series at 0 are counted and left out, since they are exported from the start, unless ``everything`` is asked for.
    """
    instruments = store.instruments()
    if not instruments:
        return
    processes = store.processes()
    yield from _heading(store, processes, screen)
    several = len(processes) > 1
    hidden = 0
    for titles, rows_of, histograms in ((("value",), _number_rows, False), (_TITLES, _histogram_rows, True)):
        chosen = [each for each in instruments if (each.kind is Kind.HISTOGRAM) is histograms]
        blocks = [(each, list(rows_of(each, several))) for each in chosen]
        if not everything:
            hidden += sum(row.idle for _, rows in blocks for row in rows)
            blocks = [(each, shown) for each, rows in blocks if (shown := [row for row in rows if not row.idle])]
        if blocks:
            yield ""
            yield from _table(titles, blocks, screen)
    if hidden:
        yield ""
        text = f"{counted(hidden, 'series', 'series')} at 0 {'is' if hidden == 1 else 'are'} not shown"
        yield screen.paint(f"{text} (--all shows them)", "dim")


def _heading(store: MetricStore, processes: dict[str, int], screen: Screen) -> Iterator[str]:
    facts = [f"{service} ({counted(count, 'process', 'processes')})" for service, count in processes.items()]
    facts.append(f"as of {clock(store.latest_time)}" if store.latest_time else "time not recorded")
    lines = screen.pack(facts, screen.width - len("Metrics  "), f" {screen.glyphs.dot} ")
    for index, line in enumerate(lines):
        title = screen.paint("Metrics", "bold") if index == 0 else " " * len("Metrics")
        yield f"{title}  {screen.paint(line, 'dim')}"


def _table(titles: tuple[str, ...], blocks: Sequence[_Block], screen: Screen) -> Iterator[str]:
    layout = _fit(titles, blocks, screen)
    yield from layout.title_line()
    for instrument, rows in blocks:
        yield from _block(instrument, rows, layout, screen)


def _block(instrument: Instrument, rows: Sequence[_Row], layout: _Layout, screen: Screen) -> Iterator[str]:
    unit, note = _unit(instrument), _sum_note(instrument)
    room = screen.width - len(_MARGIN)
    head = screen.clip(instrument.name, room)
    beside = columns(screen.safe(head + unit + note)) <= room
    tail = screen.clip(unit + note if beside else unit, room - columns(head))
    heading = f"{_MARGIN}{screen.paint(head, 'bold')}{screen.paint(tail, 'dim')}"
    zeros = [row for row in rows if row.idle]
    shown = [row for row in rows if not row.idle] if len(zeros) > 1 else list(rows)
    if _is_lone(rows) and layout.beside(columns(head + tail)):
        yield layout.row(heading, columns(head + tail) + len(_MARGIN), shown[0])
        return
    yield heading
    if not beside:
        yield _INDENT + screen.cell(note.strip(), screen.width - len(_INDENT), "dim").rstrip()
    for row in shown:
        yield from layout.lines(row)
    if len(zeros) > 1:
        # They are named, but get no row each.
        text = "at 0: " + "; ".join(row.labels or "no attributes" for row in zeros)
        for line in screen.wrap(text, screen.width - len(_INDENT)):
            yield _INDENT + screen.paint(line, "dim")


def _is_lone(rows: Sequence[_Row]) -> bool:
    """Whether an instrument has but one series, without attributes: its value stands beside its name."""
    return len(rows) == 1 and not rows[0].labels


def _unit(instrument: Instrument) -> str:
    return f"  {instrument.unit}" if instrument.unit not in ("", "1") else ""


def _sum_note(instrument: Instrument) -> str:
    summed = {service: count for service, count in instrument.processes.items() if count > 1}
    if instrument.kind is Kind.GAUGE or not summed:
        return ""
    if len(instrument.processes) == 1:
        return "".join(f"  sum of {count} processes" for count in summed.values())
    return "  " + ", ".join(f"{service}: sum of {count} processes" for service, count in summed.items())


@dataclass(frozen=True)
class _Layout:
    """Where the columns stand. ``stacked``: they do not fit, and the values are written as text under their labels."""

    screen: Screen
    titles: tuple[str, ...]
    chosen: tuple[int, ...]
    widths: tuple[int, ...]
    gap: int
    left: int
    """The column at which the values' columns start."""
    stacked: bool = False

    def title_line(self) -> Iterator[str]:
        if not self.stacked:
            cells = "".join(
                " " * self.gap + self.screen.cell(self.titles[index], width, "dim", right=True)
                for index, width in zip(self.chosen, self.widths, strict=True)
            )
            yield " " * self.left + cells

    def beside(self, width: int) -> bool:
        return not self.stacked and len(_MARGIN) + width <= self.left

    def row(self, text: str, width: int, row: _Row) -> str:
        cells = "".join(
            " " * self.gap + self.screen.cell(row.cells[index], width, row.style, right=True)
            for index, width in zip(self.chosen, self.widths, strict=True)
        )
        return text + " " * (self.left - width) + cells

    def lines(self, row: _Row) -> Iterator[str]:
        screen = self.screen
        labels = row.labels or "(no attributes)"
        style = row.style or ("" if row.labels else "dim")
        if self.stacked:
            for line in screen.wrap(labels, screen.width - len(_INDENT)):
                yield _INDENT + screen.paint(line, style)
            values = [f"{self.titles[index]} {row.cells[index]}" for index in self.chosen if row.cells[index]]
            for line in screen.pack(values, screen.width - len(_INDENT) - 2, "  "):
                yield f"{_INDENT}  {screen.paint(line, row.style)}"
            return
        width = len(_INDENT) + columns(screen.safe(labels))
        if width <= self.left:
            yield self.row(_INDENT + screen.paint(labels, style), width, row)
            return
        for line in screen.wrap(labels, screen.width - len(_INDENT)):
            yield _INDENT + screen.paint(line, style)
        yield self.row("", 0, row)


def _fit(titles: tuple[str, ...], blocks: Sequence[_Block], screen: Screen) -> _Layout:
    rows = [row for _, own in blocks for row in own]

    def widths(chosen: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(max(columns(titles[index]), *(columns(row.cells[index]) for row in rows)) for index in chosen)

    # Values stand close to their labels: the eye must not have to cross an empty line.
    texts = [_INDENT + row.labels for row in rows if not row.idle] + [
        _MARGIN + instrument.name + _unit(instrument) + _sum_note(instrument)
        for instrument, own in blocks
        if _is_lone(own)
    ]
    wanted = max(_LEAST_FOR_LABELS, *(columns(screen.safe(text)) for text in texts), 0)
    everything = tuple(range(len(titles)))
    without_min = tuple(index for index in everything if titles[index] != "min")
    for chosen, gap in ((everything, 2), (without_min, 2), (without_min, 1)):
        left = screen.width - sum(widths(chosen)) - gap * len(chosen)
        # Wide enough for the labels, or there is nothing to be had by stacking.
        if left >= _LEAST_FOR_LABELS or len(titles) == 1:
            return _Layout(screen, titles, chosen, widths(chosen), gap, min(left, wanted))
    return _Layout(screen, titles, everything, (), 0, 0, stacked=True)


def _number_rows(instrument: Instrument, several_services: bool) -> Iterator[_Row]:
    series = list(instrument.series)
    if instrument.kind is Kind.GAUGE:
        yield from _gauge_rows(instrument, series, several_services)
        return
    for entry in series:
        value = _number(entry)
        idle = value == 0
        style = "dim" if idle else "yellow" if value and _is_bad(instrument, entry) else ""
        yield _Row(_labels(entry, several_services), (quantity(value, instrument.unit),), style, idle)


def _gauge_rows(instrument: Instrument, series: list[Series], several_services: bool) -> Iterator[_Row]:
    groups: dict[str, list[Series]] = {}
    for entry in series:
        groups.setdefault(_labels(entry, several_services), []).append(entry)
    for labels, entries in groups.items():
        values = [_number(entry) for entry in entries]
        bad = any(_gauge_is_bad(instrument, value) for value in values)
        if len(entries) > _MOST_GAUGE_ROWS:
            low, high = (quantity(value, instrument.unit) for value in (min(values), max(values)))
            noun = "streams" if any(entry.scope for entry in entries) else "processes"
            text = f"{labels} over {len(entries)} {noun}".strip()
            idle = not bad and not any(values)
            yield _Row(text, (low if low == high else f"{low} to {high}",), "yellow" if bad else "", idle)
            continue
        for entry, value in zip(entries, values, strict=True):
            process = f"process {entry.process}" if entry.process else ""
            scope = f"scope {entry.scope}" if entry.scope else ""
            text = " ".join(filter(None, (labels, process, scope)))
            style = "yellow" if _gauge_is_bad(instrument, value) else ""
            yield _Row(text, (quantity(value, instrument.unit),), style, idle=value == 0 and not style)


_TITLES = ("count", "sum", "avg", "min", "p50", "p95", "max")


def _histogram_rows(instrument: Instrument, several_services: bool) -> Iterator[_Row]:
    for entry in instrument.series:
        value = entry.value
        if isinstance(value, Distribution):
            cells = _histogram_cells(value, instrument.unit)
            idle = not value.count
            yield _Row(_labels(entry, several_services), cells, "dim" if idle else "", idle)


def _histogram_cells(value: Distribution, unit: str) -> tuple[str, ...]:
    if not value.count:
        return ("0", *[_NOTHING] * (len(_TITLES) - 1))

    def shown(number: float | None) -> str:
        return _NOTHING if number is None else quantity(number, unit)

    average = None if value.total is None else value.total / value.count
    return (
        plain(value.count),
        shown(value.total),
        shown(average),
        shown(value.low),
        _quantile(value, 0.5, unit),
        _quantile(value, 0.95, unit),
        shown(value.high),
    )


def _quantile(value: Distribution, q: float, unit: str) -> str:
    estimate = quantile(value, q)
    if estimate is None:
        return _NOTHING
    return f"{'>' if estimate.beyond else '~'}{quantity(estimate.value, unit)}"


def _number(entry: Series) -> float:
    return 0 if isinstance(entry.value, Distribution) else entry.value


def _labels(entry: Series, several_services: bool) -> str:
    labels = [f"{name}={as_text(value)}" for name, value in entry.labels.items]
    return " ".join([f"[{entry.service}]", *labels] if several_services else labels)


def _is_bad(instrument: Instrument, entry: Series) -> bool:
    return instrument.name in _BAD_NEWS or any(
        name == semconv.STATUS and value in _BAD_STATUS for name, value in entry.labels.items
    )


def _gauge_is_bad(instrument: Instrument, value: float) -> bool:
    if instrument.name == semconv.LISTENER_ACTIVE.name:
        return value == 0
    return instrument.name in _BAD_NEWS and value > 0
