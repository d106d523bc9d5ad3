"""Row E1 of the failure catalogue: neither ids nor names that run wild make more series or span names than promised."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final
from uuid import uuid4

from multiagents import WorkflowBuilder
from multiagents.worker_sdk.interface import IWorker
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from multiagents_otel import semconv
from tests.bench.workload import QueueBus, System
from tests.catalogue.recording import Recording, recording
from tests.soak import traffic

WILD: Final = 300
OTHER: Final = "_OTHER"
_BOUNDS: Final = {"worker.name": 200, "workflow.id": 200, "multiagents.step.name": 200, "error.type": 50}


def series(record: Recording) -> dict[str, set[Any]]:
    """The attribute sets of every instrument."""
    return {name: set(by_attributes) for name, by_attributes in record.metrics().items()}


def values(record: Recording, attribute: str) -> set[str]:
    """All values of an attribute, over all instruments."""
    return {value for sets in series(record).values() for pairs in sets for key, value in pairs if key == attribute}


async def test_E1_ten_thousand_ids_leave_the_series_as_they_are() -> None:
    with recording(ALWAYS_OFF, keep_spans=False, stall_grace=0) as record:
        async with traffic.Traffic(timeout_seconds=3600) as busy:
            await busy.events(5_000)  # every kind of event and outcome has occurred
            before = series(record)
            assert len(before) > 15
            metadata = {"correlation_id": "c", "source": "s"}
            for _ in range(10_000):
                event = {"id": str(uuid4()), "metadata": {**metadata, "transaction_id": str(uuid4())}, "payload": {}}
                await busy.bus.publish(
                    "result.ship_worker", {**event, "type": "result", "command_id": str(uuid4()), "success": True}
                )
            while not busy.lossy.queue.empty():
                await asyncio.sleep(0)
            assert series(record) == before
    told = {str(value) for sets in before.values() for pairs in sets for _key, value in pairs}
    assert not [value for value in told if len(value) >= 36], "no id among the values"


class Wild(System):
    """A workflow, its step, its worker and its compensation, all with a name of their own."""

    def __init__(self, number: int, error: type[Exception]) -> None:
        super().__init__()
        builder = WorkflowBuilder(f"workflow-{number}")
        builder.add_step(f"step-{number}", f"worker-{number}", compensation=f"undo-{number}")
        builder.add_step(f"last-{number}", f"failing-{number}")
        self.orchestrator.workflow = builder.build()
        self.manager.workers.clear()
        self.manager.register(_Worker(f"worker-{number}", None))
        self.manager.register(_Worker(f"failing-{number}", error))


class _Worker(IWorker):
    def __init__(self, name: str, error: type[Exception] | None) -> None:
        self._name = name
        self._error = error

    def get_worker_type(self) -> str:
        return self._name

    async def process(self, _payload: dict[str, Any]) -> dict[str, Any]:
        if self._error is not None:
            raise self._error("failed")
        return {}

    async def on_start(self) -> None: ...

    async def on_stop(self) -> None: ...

    def validate_input(self, _payload: dict[str, Any]) -> bool:
        return True

    async def health_check(self) -> dict[str, Any]:
        return {}


async def test_E1_names_that_run_wild_are_OTHER_beyond_their_limits() -> None:
    with recording() as record:
        for number in range(WILD):
            system = Wild(number, type(f"Error{number}", (Exception,), {}))
            await system.manager.start()
            await system.orchestrator.start()
            transaction = await system.orchestrator.execute_workflow(f"workflow-{number}", {})
            while system.orchestrator.active_workflows[transaction].state.value != "compensated":
                await asyncio.sleep(0)
            while not system.bus.queue.empty():  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            await system.manager.stop()
            await system.bus.stop()
        for attribute, bound in _BOUNDS.items():
            told = values(record, attribute)
            assert OTHER in told, attribute
            assert len(told) == bound + 1, attribute
        names = Counter(
            span.name.partition(".")[0].partition(" ")[0] for span in {s.name: s for s in record.spans}.values()
        )
        # The system's usual definition, which never runs, is one of the 200.
        assert record.counts("multiagents.workflows.started")[(("workflow.id", OTHER),)] == WILD - 199
        assert sum(record.counts("multiagents.workflows.started").values()) == WILD, "none is lost"
    # Of the 200 event types and worker names some are commands, some results, some compensations.
    assert all(count <= 201 for count in names.values()), names
    assert {"workflow", "step", "worker", "compensate", "send", "process"} <= set(names)
    roots = [span for span in record.spans if span.parent is None]
    assert len(roots) == WILD
    assert {(span.attributes or {})[semconv.WORKFLOW_ID] for span in roots} == {f"workflow-{n}" for n in range(WILD)}


async def test_E1_event_types_that_run_wild_leave_finite_span_names() -> None:
    bus = QueueBus()

    async def handler(_event: dict[str, Any]) -> None: ...

    with recording(messaging_metrics=True) as record:
        for number in range(WILD):
            await bus.subscribe(f"user.{number}", handler)
            await bus.publish(f"user.{number}", {"id": str(number), "type": f"kind-{number}"})
        while not bus.queue.empty():
            await asyncio.sleep(0)
        kinds = values(record, "event.type")
        destinations = values(record, "messaging.destination.name")
    await bus.stop()
    names = Counter(span.name for span in record.spans)
    assert names["send"] == names["process"] == WILD - 200
    assert len(names) == 2 * 200 + 2
    assert kinds <= {"Event", "CommandEvent", "ResultEvent", "ErrorEvent", "CompensationEvent", "StatusEvent"}
    assert len(destinations) == 201
