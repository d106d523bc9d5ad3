"""A real Prometheus with a known past, and the command run against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest

from multiagents_otel.tools import main
from tests.cli.shown import Run, Shown
from tests.report.history import History
from tests.support.ports import free_port
from tests.support.services import Prometheus

HOUR = 3600
END = datetime(2026, 11, 24, 12, tzinfo=timezone.utc).timestamp()

Told = Callable[[History], Prometheus]


@contextmanager
def prometheus_with(history: History, directory: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes nothing and knows this past."""
    config, data = directory / "prometheus.yaml", directory / "data"
    config.write_text("global: {}\n")
    data.mkdir()
    history.write(data)
    # The past of a test must not be too old to be kept.
    with Prometheus(config, data, free_port(), "--storage.tsdb.retention.time=100y") as prometheus:
        yield prometheus


@pytest.fixture
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Starts a Prometheus with a past, for this test."""
    with ExitStack() as stack:

        def start(history: History) -> Prometheus:
            return stack.enter_context(prometheus_with(history, tmp_path_factory.mktemp("prometheus")))

        yield start


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command; without its program's name: `run("report", ...)`."""
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("PROMETHEUS_BEARER_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def run_command(*argv: str) -> Shown:
        status = main(argv)
        captured = capsys.readouterr()
        return Shown(status, captured.out, captured.err)

    return run_command
