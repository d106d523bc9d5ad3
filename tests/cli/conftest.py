"""Running the command, and what it has printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from multiagents_otel.tools import main
from tests.cli.otlp_lines import Data, write
from tests.cli.shown import Run, Show, Shown


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "100")

    def run_command(*argv: str) -> Shown:
        status = main(argv)
        captured = capsys.readouterr()
        return Shown(status, captured.out, captured.err)

    return run_command


@pytest.fixture
def show(run: Run, tmp_path: Path) -> Show:
    def show_lines(lines: Sequence[Data | str], *options: str) -> Shown:
        path = tmp_path / "otlp.jsonl"
        write(path, lines)
        shown = run("show", str(path), *options)
        return Shown(shown.status, shown.out, shown.err.replace(str(path), "FILE"))

    return show_lines
