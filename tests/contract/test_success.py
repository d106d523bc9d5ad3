"""A workflow that succeeds: the whole tree, every attribute, the order of things."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from multiagents_otel import __version__
from tests.contract.expected import SUCCESS
from tests.contract.observed import Observed, whole
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.expected import COMPLETED
from tests.support.sagas import STEPS, order_system
from tests.support.trees import received


async def run_one(observed: Observed, **options: Any) -> str:
    """One order on a bus in memory, to its end."""
    observed.instrument(**options)
    async with order_system(monitors=False) as system:
        transaction = await system.run()
        await system.bus.drain()
    return transaction


async def test_a_workflow_is_one_trace_that_reads_as_the_workflow_reads(observed: Observed) -> None:
    await run_one(observed)
    assert observed.tree == COMPLETED


async def test_every_span_has_exactly_the_contracts_attributes(observed: Observed) -> None:
    await run_one(observed)
    assert whole(observed.spans) == SUCCESS


async def test_the_same_with_the_frameworks_own_monitors_on(observed: Observed) -> None:
    observed.instrument()
    async with order_system() as system:
        await system.run()
        await system.bus.drain()
    assert whole(observed.spans) == SUCCESS


async def test_the_ids_are_the_workflows_and_the_messages_own(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        transaction = await system.run()
        await bus.drain()
    root = observed.root()
    assert root.attributes["workflow.transaction_id"] == transaction
    sent = {m.event_type: m.event["id"] for m in bus.wire if not m.event_type.startswith("status.")}
    assert len(sent) == 6
    for event_type, message_id in sent.items():
        for operation in ("send", "process"):
            assert observed.one(f"{operation} {event_type}").attributes["messaging.message.id"] == message_id
    for step, worker in zip(STEPS, ("validate_order", "charge_payment", "ship_order"), strict=True):
        assert observed.one(f"step.{step}").attributes["messaging.message.id"] == sent[f"command.{worker}"]
        conversation = observed.one(f"send command.{worker}").attributes["messaging.message.conversation_id"]
        assert conversation == f"{transaction}.{step}"


async def test_the_scope_has_name_version_and_schema(observed: Observed) -> None:
    await run_one(observed)
    scopes = {
        (s.name, s.version, s.schema_url)
        for span in observed.exported.get_finished_spans()
        if (s := span.instrumentation_scope) is not None
    }
    assert scopes == {("multiagents_otel", __version__, "https://opentelemetry.io/schemas/1.37.0")}
    data = observed.reader.get_metrics_data()
    assert data is not None
    metric_scopes = {
        (s.scope.name, s.scope.version, s.scope.schema_url) for r in data.resource_metrics for s in r.scope_metrics
    }
    assert metric_scopes == scopes


async def test_exactly_three_steps_stand_under_the_root_in_order(observed: Observed) -> None:
    await run_one(observed)
    root = observed.root()
    below = [s for s in sorted(observed.spans, key=_start) if s.parent and f"{s.parent.span_id:016x}" == root.span_id]
    assert [span.name for span in below] == ["step.validate", "step.charge", "step.ship"]


async def test_a_step_ends_before_the_next_one_starts_and_all_lie_within_the_workflow(observed: Observed) -> None:
    await run_one(observed)
    root = observed.root()
    steps = [observed.one(f"step.{step}") for step in STEPS]
    for earlier, later in pairwise(steps):
        assert earlier.end_ns <= later.start_ns
    assert root.start_ns <= steps[0].start_ns
    assert steps[-1].end_ns <= root.end_ns
    assert all(root.start_ns <= s.start_ns for s in map(received, observed.spans))


async def test_every_span_starts_after_its_parent_and_workers_lie_within_their_process_span(
    observed: Observed,
) -> None:
    await run_one(observed)
    by_id = {span.context.span_id: span for span in observed.spans if span.context}
    for span in observed.spans:
        assert _start(span) <= (span.end_time or 0)
        if span.parent is not None:
            assert _start(by_id[span.parent.span_id]) <= _start(span)
    for worker in ("validate_order", "charge_payment", "ship_order"):
        inner, outer = observed.one(f"worker.{worker}"), observed.one(f"process command.{worker}")
        assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns
        step = next(s for s in STEPS if observed.one(f"step.{s}").attributes["worker.name"] == worker)
        # The step spans from before its command leaves until its result is recorded, inside `process result.*`.
        send, result = observed.one(f"send command.{worker}"), observed.one(f"process result.{worker}")
        assert observed.one(f"step.{step}").start_ns <= send.start_ns
        assert result.start_ns <= observed.one(f"step.{step}").end_ns <= result.end_ns


async def test_the_next_step_runs_inside_the_result_before_it_yet_depth_does_not_grow(observed: Observed) -> None:
    await run_one(observed)
    assert observed.one("process result.validate_order").end_ns >= observed.one("step.charge").start_ns
    depths = {line[: len(line) - len(line.lstrip())] for line in observed.tree.splitlines()}
    assert max(map(len, depths)) == 2 * 5


async def test_two_workflows_at_once_are_two_traces(observed: Observed) -> None:
    observed.instrument()
    async with order_system(monitors=False) as system:
        await system.run()
        await system.run()
        await system.bus.drain()
    assert observed.forest == f"{COMPLETED}\n\n{COMPLETED}"


async def test_what_the_application_sees_is_as_without_us(observed: Observed) -> None:
    async def seen() -> list[Any]:
        store = MemoryStore()
        async with order_system(store=store, monitors=False) as system:
            transaction = await system.run()
            await system.bus.drain()
            status = await system.orchestrator.get_status(transaction)
        row = json.loads(store.rows[transaction])
        row["metadata"].pop("_otel", None)
        assert row["metadata"] == {}
        return [status["state"], status["current_step"], status["step_results"], row["data"], row["step_results"]]

    bare = await seen()
    observed.instrument()
    assert await seen() == bare


def _start(span: ReadableSpan) -> int:
    return span.start_time or 0
