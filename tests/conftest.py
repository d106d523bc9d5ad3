"""What every test has: faults of ours raise, and nothing stays patched afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from multiagents_otel import MultiAgentsInstrumentor
from multiagents_otel.processing.guard import Guard
from multiagents_otel.telemetry.observers import OBSERVERS


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
