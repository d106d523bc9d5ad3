"""What the command has printed, and the reading of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.cli.otlp_lines import Data


@dataclass(frozen=True)
class Shown:
    status: int
    out: str
    err: str


class Run(Protocol):
    def __call__(self, *argv: str) -> Shown: ...


class Show(Protocol):
    """Writes lines to a file and shows it; the file's path is FILE in what it returns."""

    def __call__(self, lines: Sequence[Data | str], *options: str) -> Shown: ...


def drawn(text: str) -> list[str]:
    """The rows of the waterfalls: what is left of the bars."""
    return [re.split(r" +[━╸╺╍]", line)[0].rstrip() for line in text.splitlines() if re.search("[━╸╺╍]", line)]


def numbers(text: str, instrument: str) -> list[str]:
    """The rows of an instrument, white space collapsed."""
    lines = text[text.index("\nMetrics ") if "\nMetrics " in text else 0 :].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"  {instrument}"))
    rows = [lines[start]]
    for line in lines[start + 1 :]:
        if not line.startswith("    "):
            break
        rows.append(line)
    return [" ".join(row.split()) for row in rows]
