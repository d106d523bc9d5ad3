"""What every test has: faults of ours raise, and nothing stays patched afterwards."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from multiagents_otel import MultiAgentsInstrumentor
from multiagents_otel.processing.guard import Guard
from multiagents_otel.telemetry.observers import OBSERVERS

# Folders whose files take longest: two processes that begin with them end at the same time.
LONGEST_FIRST: Final = (
    "sampling", "alerting", "collector", "stack", "matrix", "ends", "integration", "dashboards", "guide", "report",
)  # fmt: skip


def pytest_configure() -> None:
    # Started in the background of a shell, or by nohup, whose programs ignore them.
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    rank = {folder: index for index, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(here).parts[0], len(rank)))


def pytest_collection_finish() -> None:
    # What has been collected lives as long as the process: the garbage collector need not walk it in each test.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def strict_guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault inside the package fails the test, but where the test injects faults."""
    monkeypatch.setattr(Guard, "strict", request.node.get_closest_marker("faults") is None)


@pytest.fixture(autouse=True)
def uninstrumented() -> Iterator[None]:
    """Every test starts and ends without instrumentation."""
    yield
    instrumentor = MultiAgentsInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    OBSERVERS.clear()  # monitors of this test that are not collected yet


@pytest.fixture(autouse=True)
def quiet_framework() -> None:
    """The framework logs every event through structlog to standard output."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
