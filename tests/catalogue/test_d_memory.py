"""Row D2 of the failure catalogue: every map that is kept by an id is bounded, whatever happens to the events.

The same in megabytes over a million events is in tests/soak.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from multiagents_otel import MultiAgentsInstrumentor, instrument_event_bus
from multiagents_otel.telemetry import workflows
from tests.bench.workload import QueueBus
from tests.catalogue.recording import recording
from tests.soak import traffic as lossy
from tests.soak.traffic import Traffic

_PACKAGE: Final = "multiagents_otel"
_CONTAINERS: Final = (dict, list, set, deque)

BOUNDS: Final = {
    "_flights": 20_000,  # commands in flight
    "_queues": 20_000,  # the same, by timeout
    "_active": 50_000,  # workflows that are held
    "stalled": 10_000,
    "_ended": 10_000,
    "_published": 4_096,  # publications whose monotonic time is known
    "_shared": 256,  # messages that several handlers have
    "_attributes": 10_000,  # attribute sets of series, which names bound
    "_sums": 10_000,
    "_bases": 1_000,
    "_warned": 1_000,
}
"""The documented bounds, by attribute; everything else holds no more than a few hundred names or patches."""

OTHERWISE: Final = 500


def containers() -> Iterator[tuple[str, Any]]:
    """Every container that can be reached from the instrumentation and the package's modules, with its path."""
    seen: set[int] = set()
    modules = [module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] == _PACKAGE]
    waiting: list[tuple[str, Any]] = [("active", MultiAgentsInstrumentor._active)]
    for module in modules:
        names = {name: value for name, value in vars(module).items() if not name.startswith("__")}
        waiting += [(f"{module.__name__}.{name}", value) for name, value in names.items()]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or isinstance(value, (ModuleType, str, bytes, int)):
            continue
        seen.add(id(value))
        if isinstance(value, _CONTAINERS):
            yield path, value
            values = value.values() if isinstance(value, dict) else value
            waiting += [(f"{path}[]", item) for item in list(values)[:200]]
        elif type(value).__module__.partition(".")[0] == _PACKAGE or isinstance(value, type):
            if isinstance(value, type) and value.__module__.partition(".")[0] != _PACKAGE:
                continue
            waiting += [(f"{path}.{name}", item) for name, item in _attributes(value)]
        elif closure := getattr(value, "__closure__", None):
            if value.__module__.partition(".")[0] == _PACKAGE:
                waiting += [(path, cell.cell_contents) for cell in closure]
        elif bound := getattr(value, "__self__", None):
            waiting.append((path, bound))


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from ((name, item) for name, item in vars(value).items()) if hasattr(value, "__dict__") else ()
    for cls in type(value).__mro__:
        for name in getattr(cls, "__slots__", ()):
            if hasattr(value, name):
                yield name, getattr(value, name)


def beyond() -> dict[str, int]:
    """The containers that hold more than they may."""
    found = {}
    for path, container in containers():
        attribute = path.replace("[]", "").rpartition(".")[2]
        if len(container) > BOUNDS.get(attribute, OTHERWISE):
            found[path] = len(container)
    return found


def size(attribute: str) -> int:
    """How much a container holds that is there once."""
    (found,) = [len(container) for path, container in containers() if path.endswith(f".{attribute}")]
    return found


def event(kind: str, **more: Any) -> dict[str, Any]:
    transaction = str(uuid4())
    metadata = {"transaction_id": transaction, "correlation_id": f"{transaction}.{uuid4()}", "source": "test"}
    return {"id": str(uuid4()), "type": kind, "metadata": metadata, "payload": {}, **more}


def test_D2_the_search_finds_a_map_that_is_not_bounded() -> None:
    with recording():
        active = MultiAgentsInstrumentor._active
        assert active is not None
        assert not beyond()
        active.workflows.leak = dict.fromkeys(range(1_000))  # type: ignore[attr-defined]
        assert list(beyond().values()) == [1_000]


async def test_D2_workflows_that_lose_and_double_their_results_leave_bounded_maps() -> None:
    with recording(keep_spans=False, stall_grace=0) as record:
        async with Traffic(timeout_seconds=3600) as traffic:
            await traffic.events(6_000)
            assert traffic.lossy.lost > 10
            assert traffic.lossy.doubled > 30
            assert not beyond()
            assert size("_flights") == traffic.lossy.lost, "each of them still has its time"
            # A doubled result may have ended the workflow whose last result is lost.
            assert 0 < size("_active") <= traffic.lossy.lost
        assert set(record.open.names) == set()


async def test_D2_100_000_events_of_every_kind_leave_bounded_maps() -> None:
    """Commands that nobody answers, results that nobody waits for, workflows nobody takes; ids and names run wild."""
    bus = QueueBus()

    async def handler(_data: dict[str, Any]) -> None: ...

    with recording(ALWAYS_OFF, keep_spans=False) as record:
        instrument_event_bus(bus)  # no worker manager or orchestrator has it
        for name in ("command.nobody", "result.nobody", "user.event"):
            await bus.subscribe(name, handler)
            await bus.subscribe(name, handler)
        for n in range(25_000):
            await bus.publish("command.nobody", event("command", worker_type="nobody", timeout_seconds=n % 1000))
            await bus.publish("result.nobody", event("result", command_id=str(uuid4()), success=not n % 2))
            await bus.publish(f"wild.{n}", event("status"))
            await bus.publish("user.event", {"id": n, f"key {n}": n})
            if not n % 100:
                while not bus.queue.empty():
                    await asyncio.sleep(0)
        assert not beyond()
        assert size("_flights") == BOUNDS["_flights"], "the test filled it"
        assert size("_published") > BOUNDS["_published"] / 100
        assert record.counts("multiagents.events.in_flight") == {(("worker.name", "nobody"),): 20_000}
    await bus.stop()


@pytest.mark.parametrize("ends", ["stalled", "completed"])
async def test_D2_workflows_beyond_the_bounds_are_let_go(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossy, "LOST", 1 << 40)
    monkeypatch.setattr(lossy, "DOUBLED", 1 << 40)
    monkeypatch.setattr(workflows, "_CAPACITY", 40)
    monkeypatch.setattr(workflows, "_REMEMBERED", 20)
    with recording(keep_spans=False, stall_grace=0) as record:
        traffic = Traffic(timeout_seconds=3600)
        if ends == "stalled":
            traffic.manager.workers.clear()  # nobody takes the commands
        async with traffic:
            for _ in range(100):
                transaction = await traffic.orchestrator.execute_workflow("order_processing", {})
                while ends == "completed" and transaction in traffic.orchestrator.active_workflows:
                    await asyncio.sleep(0)
            assert size("_active") == (40 if ends == "stalled" else 0)
            assert size("_ended") == (0 if ends == "stalled" else 20)
            assert record.counts("multiagents.workflows.started") == {(("workflow.id", "order_processing"),): 100}
        assert not beyond()
