"""Objects that answer for others can be looked at, copied and pickled half-made, as copy and pickle do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from multiagents_otel.configuration import Section
from multiagents_otel.fork_safe import ProcessExporter
from multiagents_otel.instrumentation.worker import _Asyncio, _Loop
from multiagents_otel.logs.secure import SecureLogger
from multiagents_otel.processing.exporters import RedactingSpanExporter
from multiagents_otel.telemetry.drops import CountingExporter
from multiagents_otel.telemetry.execution import WorkerProxy

KINDS: list[Any] = [
    ProcessExporter,
    CountingExporter,
    RedactingSpanExporter,
    SecureLogger,
    WorkerProxy,
    Section,
    _Asyncio,
    _Loop,
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_is_not_initialised_has_no_attributes(kind: Any) -> None:
    made = kind.__new__(kind)
    assert not hasattr(made, "of_another")
    assert type(copy.copy(made)) is kind
