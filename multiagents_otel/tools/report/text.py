"""The report in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from multiagents_otel.tools.quantities import counted
from multiagents_otel.tools.report.figures import Report
from multiagents_otel.tools.report.period import day_and_time
from multiagents_otel.tools.report.tables import DIM, Cell, Section, headline, over_time, sections
from multiagents_otel.tools.report.trends import BAD, GOOD
from multiagents_otel.tools.report.wording import length
from multiagents_otel.tools.terminal import ASCII, Screen, columns

_MOST: Final = 20
_GAP: Final = 2
_LEAST_NAME: Final = 12
_STYLES: Final = {GOOD: "green", BAD: "red", DIM: "dim", "": ""}
_MARKS: Final = tuple("▁▂▃▄▅▆▇█")
_ASCII_MARKS: Final = tuple("12345678")


def lines(report: Report, screen: Screen) -> Iterator[str]:
    """Return the report's lines, none of them wider than the screen where names can be cut."""
    yield from _heading(report, screen)
    for section in (*sections(report, _MOST), over_time(report)):
        yield ""
        yield from _section(section, screen)


def source_lines(report: Report) -> list[str]:
    """Return what the report is about: its period, where it is from, the services, and what must be known."""
    period = report.now.period
    services = [
        f"{name or 'no name'} ({counted(count, 'process', 'processes')})" for name, count in report.services.items()
    ]
    return [
        f"{day_and_time(period.start)} to {day_and_time(period.end)} UTC ({length(period.length)}), {report.source}",
        f"services: {', '.join(services)}",
    ]


def _heading(report: Report, screen: Screen) -> Iterator[str]:
    yield screen.paint("multiagents report", "bold")
    for line in source_lines(report):
        for part in screen.wrap(line, screen.width):
            yield screen.paint(part, "dim")
    yield ""
    yield from screen.wrap(headline(report), screen.width)
    for note in report.notes:
        for part in screen.wrap(note, screen.width):
            yield screen.paint(part, "yellow")


def _section(section: Section, screen: Screen) -> Iterator[str]:
    yield screen.paint(section.title, "bold")
    for line in screen.wrap(section.words, screen.width - _GAP) if section.words else ():
        yield f"{' ' * _GAP}{screen.paint(line, 'dim')}"
    if section.rows:
        yield from _table(section, screen)


def _table(section: Section, screen: Screen) -> Iterator[str]:
    texts = [[_text(cell, screen) for cell in row] for row in section.rows]
    chosen, widths = _fit(section, texts, screen)

    def line(cells: Sequence[tuple[str, str]]) -> str:
        painted = (
            screen.cell(text, widths[index], style, right=not section.columns[index].left)
            for index in chosen
            for text, style in [cells[index]]
        )
        return (" " * _GAP + (" " * _GAP).join(painted)).rstrip()

    yield line([(column.title, "dim") for column in section.columns])
    for row, text in zip(section.rows, texts, strict=True):
        yield line([(each, _STYLES[cell.tone]) for each, cell in zip(text, row, strict=True)])


def _fit(section: Section, texts: Sequence[Sequence[str]], screen: Screen) -> tuple[list[int], dict[int, int]]:
    """Return the columns that there is room for, and their widths: first some go, then names are cut."""
    chosen = list(range(len(section.columns)))
    widths = {
        index: max(columns(section.columns[index].title), *(columns(row[index]) for row in texts)) for index in chosen
    }
    # Numbers and strips are whole or not there at all.
    names = {index for index in chosen if section.columns[index].left and not section.rows[0][index].strip}

    def excess() -> int:
        return sum(widths[index] + _GAP for index in chosen) - screen.width

    def narrowed() -> int:
        return sum(max(0, widths[index] - _LEAST_NAME) for index in names.intersection(chosen))

    while excess() > narrowed():
        least = max(chosen, key=lambda index: section.columns[index].rank)
        if not section.columns[least].rank:
            break
        chosen.remove(least)
    while excess() > 0 and narrowed():
        widths[max(names.intersection(chosen), key=lambda index: widths[index])] -= 1
    return chosen, widths


def _text(cell: Cell, screen: Screen) -> str:
    return _strip(cell, screen) if cell.strip else screen.safe(cell.text)


def _strip(cell: Cell, screen: Screen) -> str:
    """Return a mark for each value, by its height beside the highest. None, nothing known, is a space."""
    nothing, marks = (".", _ASCII_MARKS) if screen.glyphs is ASCII else ("·", _MARKS)
    top = max((value for value in (*cell.strip, cell.top) if value), default=1)
    return "".join(
        " " if value is None else marks[min(len(marks) - 1, int(value / top * len(marks)))] if value else nothing
        for value in cell.strip
    )
