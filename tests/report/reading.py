"""What the command has printed, read back."""

from __future__ import annotations

import re
from collections.abc import Iterable

from multiagents_otel.tools.quantities import duration
from tests.report.history import boundaries


def table(out: str, title: str) -> list[dict[str, str]]:
    """The rows under a title, by column. Cells must not be empty."""
    rows = [_cells(line) for line in _block(out, title) if len(_cells(line)) > 1]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]] if rows else []


def words(out: str, title: str) -> list[str]:
    """The lines under a title that are no table."""
    return [line.strip() for line in _block(out, title) if len(_cells(line)) == 1]


def summary(out: str) -> dict[str, list[str]]:
    """The summary's rows: now, and before and change if there are such."""
    rows = (_cells(line) for line in _block(out, "Summary")[1:])
    return {name: cells for name, *cells in rows}


def interpolated(values: Iterable[float], metric: str, percent: float) -> str:
    """A percentile as told from a histogram: counted into its buckets, and linear within the one that it falls in."""
    known = sorted(values)
    rank = percent / 100 * len(known)
    low = 0.0
    for high in boundaries(metric):
        below, inside = sum(value <= low for value in known), sum(low < value <= high for value in known)
        if below + inside >= rank:
            return duration(low + (high - low) * (rank - below) / inside)
        low = high
    return f">{duration(low)}"


def _block(out: str, title: str) -> list[str]:
    after = re.split(rf"^{re.escape(title)}$", out, maxsplit=1, flags=re.MULTILINE)[1]
    return after.strip("\n").split("\n\n")[0].splitlines()


def _cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())
