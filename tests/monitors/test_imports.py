"""Monitors serve as the framework's own, and do not import it."""

from __future__ import annotations

from tests.support.processes import Process

PROGRAM = """
import sys
{first}
from multiagents_otel import EventMonitor, WorkerMonitor
class Mine(EventMonitor):
    pass
events, mine, workers = EventMonitor(), Mine(), WorkerMonitor()
loaded = {{"multiagents", "dspy", "redis"}} & set(sys.modules)
from multiagents.monitoring.interfaces import IEventMonitor
print("loaded", sorted(loaded), isinstance(events, IEventMonitor), isinstance(mine, IEventMonitor))
"""


def told(first: str) -> str:
    with Process.python(PROGRAM.format(first=first)) as process:
        process.wait_ok(60)
        return process.wait_line("loaded")


def test_monitors_made_before_the_framework_is_imported_are_its_monitors_when_it_is() -> None:
    assert told("") == "loaded [] True True"


def test_monitors_made_after_the_framework_is_imported_are_its_monitors() -> None:
    assert told("import multiagents").endswith("] True True")
