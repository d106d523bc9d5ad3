"""What a workflow and a handler hang under: a caller's span, another workflow, another current span."""

from __future__ import annotations

from typing import Any

import pytest
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.orchestrator.workflow import WorkflowBuilder
from multiagents.worker_sdk.decorators import worker
from opentelemetry import trace

from tests.contract.observed import Observed
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.expected import COMPLETED
from tests.support.sagas import SilentLogger, order_system, order_workers


def indented(tree: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in tree.splitlines())


async def test_a_workflow_is_a_child_of_the_callers_span_and_outlives_it(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        with observed.tracers.get_tracer("shop").start_as_current_span("request") as request:
            await system.run()
            assert trace.get_current_span() is request
        await system.bus.drain()
    assert observed.tree == "request INTERNAL\n" + indented(COMPLETED)
    (caller,) = [s for s in observed.exported.get_finished_spans() if s.name == "request"]
    assert observed.one("workflow.order_processing").end_ns > (caller.end_time or 0)
    assert not observed.one("workflow.order_processing").links


async def test_workflow_parent_link_makes_it_a_root_that_links_to_the_caller(observed: Observed) -> None:
    observed.instrument(workflow_parent="link")
    async with order_system(monitors=False) as system:
        with observed.tracers.get_tracer("shop").start_as_current_span("request") as request:
            await system.run()
        await system.bus.drain()
    assert observed.forest == "request INTERNAL\n\n" + COMPLETED
    root = observed.one("workflow.order_processing")
    caller = request.get_span_context()
    assert [(link.trace_id, link.span_id) for link in root.links] == [
        (f"{caller.trace_id:032x}", f"{caller.span_id:016x}")
    ]
    assert root.trace_id != f"{caller.trace_id:032x}"


async def test_workflow_parent_link_without_a_caller_is_a_root_without_links(observed: Observed) -> None:
    observed.instrument(workflow_parent="link")
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert observed.tree == COMPLETED
    assert observed.root().links == ()


@pytest.mark.parametrize("parent", ["child", "link"])
async def test_a_workflow_that_a_worker_starts_is_nested_or_linked(observed: Observed, parent: str) -> None:
    observed.instrument(workflow_parent=parent)
    bus = MemoryBus()
    inner: list[Orchestrator] = []

    @worker("ship_order")  # type: ignore[untyped-decorator,unused-ignore]
    async def ship_order(payload: dict[str, Any]) -> dict[str, Any]:
        await inner[0].execute_workflow("parcel", {"weight": 1})
        return {"tracking_id": "trk-1"}

    @worker("pack")  # type: ignore[untyped-decorator,unused-ignore]
    async def pack(payload: dict[str, Any]) -> dict[str, Any]:
        return {"packed": True}

    workers: list[Any] = [*order_workers()[:2], ship_order, pack]
    async with order_system(bus, workers=workers, monitors=False) as system:
        definition = WorkflowBuilder("parcel").add_step("pack", "pack").build()
        inner.append(Orchestrator(definition, bus, MemoryStore(), logger=SilentLogger()))
        await inner[0].start()
        await system.run()
        await bus.drain()
    nested = observed.one("workflow.parcel")
    outer = observed.one("worker.ship_order")
    assert nested.attributes["workflow.status"] == "completed"
    assert nested.attributes["workflow.transaction_id"] != outer.attributes["workflow.transaction_id"]
    assert observed.one("step.pack").parent_id == nested.span_id
    assert observed.one("worker.pack").attributes["workflow.id"] == "parcel"
    if parent == "child":
        assert nested.parent_id == outer.span_id
        assert observed.root().name == "workflow.order_processing"
    else:
        assert not nested.parent_id
        assert [link.span_id for link in nested.links] == [outer.span_id]
    assert observed.one("workflow.order_processing").attributes["workflow.status"] == "completed"
    assert observed.statuses() == {}


async def test_a_handler_called_where_another_span_is_current_gets_a_link_to_that_one(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    seen: list[dict[str, Any]] = []

    async def handler(event: dict[str, Any]) -> None:
        seen.append(event)

    tracer = observed.tracers.get_tracer("shop")
    async with order_system(bus, monitors=False):
        await bus.subscribe("shop.opened", handler)
        await bus.publish("shop.opened", {"id": "o-1"})
        await bus.drain()
        with tracer.start_as_current_span("poll") as poll:
            # As a bus that polls inside a span of its own does: it calls what was subscribed.
            await bus.handlers["shop.opened"][0](dict(bus.wire[-1].event))
    assert [event["id"] for event in seen] == ["o-1", "o-1"]
    first, second = observed.named("process shop.opened")
    assert first.links == ()
    assert [link.span_id for link in second.links] == [f"{poll.get_span_context().span_id:016x}"]
    assert second.parent_id == first.parent_id == observed.one("send shop.opened").span_id


async def test_A6_a_listener_that_was_started_inside_a_span_links_to_it_no_more_once_it_has_ended(
    observed: Observed,
) -> None:
    observed.instrument()
    with observed.tracers.get_tracer("shop").start_as_current_span("startup"):
        entered = order_system(monitors=False)
        system = await entered.__aenter__()
    await system.run()
    await system.run()
    await system.bus.drain()
    await entered.__aexit__(None, None, None)
    assert observed.forest == f"startup INTERNAL\n\n{COMPLETED}\n\n{COMPLETED}"
    assert [s.name for s in observed.spans if s.links] == []


async def test_a_bus_that_calls_its_handlers_inside_publish_needs_no_link(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus(inline=True)
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert observed.tree == COMPLETED
    assert [s.name for s in observed.spans if s.links] == []


async def test_the_parent_of_a_process_span_is_remote_and_that_of_a_worker_is_not(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    remote = {span.name.split()[0].split(".")[0]: span.parent.is_remote for span in observed.spans if span.parent}
    assert remote["process"] is True
    assert remote["worker"] is False
