"""Status events, a user's own events, and what is excluded."""

from __future__ import annotations

import re
from typing import Any

import pytest
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.orchestrator.workflow import WorkflowBuilder
from multiagents.worker_sdk.decorators import worker

from multiagents_otel import MultiAgentsInstrumentor, OptionError
from tests.contract.answering import AnsweringBus
from tests.contract.expected import message
from tests.contract.observed import Observed, series, span, whole
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.expected import COMPLETED
from tests.support.sagas import SilentLogger, order_payload, order_system, order_workers


async def collect(bus: MemoryBus, event_type: str) -> list[dict[str, Any]]:
    """Subscribes to an event type; returns what arrives."""
    arrived: list[dict[str, Any]] = []

    async def handler(event: dict[str, Any]) -> None:
        arrived.append(event)

    await bus.subscribe(event_type, handler)
    return arrived


async def test_status_events_get_no_spans_and_carry_context_all_the_same(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        arrived = await collect(bus, "status.workflow")
        await system.run()
        await bus.drain()
    assert observed.tree == COMPLETED
    assert [event["status"] for event in arrived] == ["running", "completed"]
    root = observed.root()
    carriers = [sent.event["_otel"] for sent in bus.wire if sent.event_type == "status.workflow"]
    assert [c["traceparent"].split("-")[1] for c in carriers] == [root.trace_id] * 2
    assert carriers[0]["traceparent"].split("-")[2] == root.span_id
    assert observed.sums("multiagents.events")[series(event__type="StatusEvent", status="success")] == 2


async def test_status_events_true_gives_them_spans_under_the_workflow(observed: Observed) -> None:
    observed.instrument(status_events=True)
    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        await collect(bus, "status.workflow")
        await system.run()
        await bus.drain()
    lines = [line for line in observed.tree.splitlines() if "status" in line]
    assert [line.strip() for line in lines] == [
        "send status.workflow PRODUCER",
        "process status.workflow CONSUMER",
    ] * 2
    sends = observed.named("send status.workflow")
    assert [s.parent_id for s in sends] == [observed.root().span_id] * 2
    for operation, shown in zip(("send", "process"), whole(_two_of(observed)), strict=True):
        assert shown["attributes"] == message(operation, "status.workflow", "MSG1", "TX1", "StatusEvent")


def _two_of(observed: Observed) -> list[Any]:
    return [span for span in observed.spans if "status.workflow" in span.name][:2]


async def test_a_nested_workflows_status_event_is_of_its_own_workflow(observed: Observed) -> None:
    observed.instrument(status_events=True)
    bus = MemoryBus()
    inner: list[Orchestrator] = []

    @worker("ship_order")  # type: ignore[untyped-decorator,unused-ignore]
    async def ship_order(payload: dict[str, Any]) -> dict[str, Any]:
        await inner[0].execute_workflow("parcel", {"weight": 1})
        return {}

    workers: list[Any] = [*order_workers()[:2], ship_order]
    async with order_system(bus, workers=workers, monitors=False) as system:
        definition = WorkflowBuilder("parcel").add_step("pack", "pack").build()
        inner.append(Orchestrator(definition, bus, MemoryStore(), logger=SilentLogger()))
        await inner[0].start()
        await system.run()
        await bus.drain()
    told = [span.attributes["workflow.id"] for span in observed.named("send status.workflow")]
    assert told == ["order_processing", "parcel", "order_processing"]
    carried = [m.event["_otel"]["w"] for m in bus.wire if m.event_type == "status.workflow"]
    assert carried == told


async def test_a_users_own_event_gets_its_send_and_process_spans_and_no_more(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False):
        await collect(bus, "shop.opened")
        await bus.publish("shop.opened", {"id": "msg-1", "payload": {"where": "here"}})
        await bus.drain()
    common = {
        "messaging.system": "multiagents",
        "messaging.destination.name": "shop.opened",
        "messaging.message.id": "MSG1",
        "event.type": "Event",
    }
    operations = [
        {"messaging.operation.name": operation, "messaging.operation.type": operation, **common}
        for operation in ("send", "process")
    ]
    assert whole(observed.spans) == [
        span("send shop.opened", "PRODUCER", "", operations[0]),
        span("process shop.opened", "CONSUMER", "send shop.opened", operations[1]),
    ]
    assert observed.sums("multiagents.events") == {series(event__type="Event", status="success"): 1}


async def test_an_event_beyond_two_hundred_types_has_the_operation_alone_for_a_name(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False):
        for number in range(203):
            await bus.publish(f"own.{number}", {"id": f"m-{number}"})
    names = [span.name for span in observed.spans]
    assert names == [f"send own.{number}" for number in range(200)] + ["send"] * 3
    last = (observed.spans[-1].attributes or {})["messaging.destination.name"]
    assert last == "own.202"


async def test_excluded_events_have_no_spans_and_no_metrics_and_carry_context(observed: Observed) -> None:
    observed.instrument(excluded_events=["noise.*"])
    bus = MemoryBus()
    async with order_system(bus, monitors=False):
        arrived = await collect(bus, "noise.tick")
        with observed.tracers.get_tracer("shop").start_as_current_span("request") as request:
            await bus.publish("noise.tick", {"id": "n-1"})
            await bus.publish("signal.tick", {"id": "s-1"})
        await bus.drain()
    assert observed.tree == "request INTERNAL\n  send signal.tick PRODUCER"
    assert arrived == [{"id": "n-1"}]
    assert observed.sums("multiagents.events") == {}
    assert observed.counts("multiagents.event.duration") == {}
    carried = bus.wire[0].event["_otel"]["traceparent"].split("-")
    assert carried[1:3] == [
        f"{request.get_span_context().trace_id:032x}",
        f"{request.get_span_context().span_id:016x}",
    ]


EXCLUDED = """\
workflow.order_processing INTERNAL ERROR ValueError
  step.validate INTERNAL
    worker.validate_order INTERNAL
  step.charge INTERNAL
    worker.charge_payment INTERNAL
  step.ship INTERNAL ERROR ValueError
    worker.ship_order INTERNAL ERROR ValueError
  compensate.refund_payment INTERNAL"""


async def test_excluded_events_leave_workflow_steps_workers_and_the_error_where_they_were(observed: Observed) -> None:
    observed.instrument(excluded_events="command.*,result.*,compensation.*,status.*")
    async with order_system(monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await system.bus.drain()
    assert observed.tree == EXCLUDED
    assert observed.exceptions == [("worker.ship_order", "ValueError")]
    assert observed.sums("multiagents.events") == {}
    assert observed.counts("multiagents.event.queue_time") == {}
    assert observed.sums("multiagents.worker.executions") == {
        series(worker__name="validate_order", status="success"): 1,
        series(worker__name="charge_payment", status="success"): 1,
        series(worker__name="ship_order", status="error"): 1,
    }
    assert sum(observed.counts("multiagents.worker.duration").values()) == 3


async def test_excluded_events_leave_the_workers_without_detailed_timing_too(observed: Observed) -> None:
    observed.instrument(excluded_events="*", detailed_timing=False)
    async with order_system(monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await system.bus.drain()
    kinds = {"step": "PRODUCER", "worker": "CONSUMER", "compensate": "PRODUCER", "workflow": "INTERNAL"}
    for kind, shown in kinds.items():
        assert {s.kind.name for s in observed.spans if s.name.startswith(kind)} == {shown}
    assert observed.tree == re.sub(
        r"(\w+)(\.\w+) INTERNAL", lambda line: f"{line[1]}{line[2]} {kinds[line[1]]}", EXCLUDED
    )
    assert observed.exceptions == [("worker.ship_order", "ValueError")]


async def test_an_excluded_command_that_reaches_nobody_stalls_its_workflow_all_the_same(
    observed: Observed,
) -> None:
    observed.instrument(excluded_events="command.*")
    bus = AnsweringBus()
    bus.lost.add("command.validate_order")
    async with order_system(bus, monitors=False) as system:
        await system.run()
    assert observed.tree == (
        "workflow.order_processing INTERNAL ERROR undelivered\n  step.validate INTERNAL ERROR undelivered"
    )
    assert observed.sums("multiagents.events.undelivered") == {}
    assert observed.sums("multiagents.events.in_flight") == {}


async def test_excluded_workers_have_no_worker_span_and_no_worker_metrics(observed: Observed) -> None:
    observed.instrument(excluded_workers=["charge_*"])
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    expected = [line for line in COMPLETED.splitlines() if "worker.charge_payment" not in line]
    assert observed.tree.splitlines() == expected
    assert observed.sums("multiagents.worker.executions") == {
        series(worker__name="validate_order", status="success"): 1,
        series(worker__name="ship_order", status="success"): 1,
    }
    assert set(observed.counts("multiagents.worker.duration")) == {
        series(worker__name="validate_order"),
        series(worker__name="ship_order"),
    }
    assert observed.sums("multiagents.events")[series(event__type="CommandEvent", status="success")] == 3


@pytest.mark.parametrize(
    "options",
    [
        {"workflow_parent": "sibling"},
        {"detailed_timing": "perhaps"},
        {"stall_grace": -1},
        {"excluded_events": [1]},
        {"no_such_option": True},
    ],
)
def test_a_wrong_option_is_refused_by_name_and_nothing_is_patched(observed: Observed, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        observed.instrument(**options)
    from multiagents.orchestrator.orchestrator import Orchestrator

    assert not hasattr(Orchestrator.execute_workflow, "__wrapped__")
    assert MultiAgentsInstrumentor._active is None
