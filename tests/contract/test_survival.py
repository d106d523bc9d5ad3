"""A workflow that another process finishes: one root with the ids, the start and the sampling of its beginning."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from multiagents.orchestrator.orchestrator import Orchestrator
from multiagents.worker_sdk.decorators import worker
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import TraceState

from multiagents_otel import MultiAgentsInstrumentor
from tests.contract.observed import Observed, series
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.expected import COMPLETED
from tests.support.sagas import SilentLogger, order_system, order_workers, order_workflow
from tests.support.trees import received


class Stated(Sampler):
    """Samples, and says so in an attribute and in the trace state."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {"sampler.said": "yes"}, TraceState([("shop", "kept")]))

    def get_description(self) -> str:
        return "Stated"


async def handed_over(
    first: Observed | None, second: Observed, at: str = "charge_payment", then: Callable[[], None] | None = None
) -> str:
    """Runs an order whose orchestrator is gone while worker ``at`` works; another one, of ``second``, finishes it.

    Both are in this process: the first one's instrumentation is taken out, as its process would be, and its
    orchestrator unsubscribed. ``first`` None: it was never instrumented.
    """
    started, go_on = asyncio.Event(), asyncio.Event()

    async def waits(payload: dict[str, Any]) -> dict[str, Any]:
        started.set()
        await go_on.wait()
        return {}

    made: Any = worker(at)(waits)
    workers = [made if w.get_worker_type() == at else w for w in order_workers()]
    bus, store = MemoryBus(), MemoryStore()
    if first is not None:
        first.instrument()
    async with order_system(bus, store, workers=workers, monitors=False) as system:
        transaction = await system.run()
        await started.wait()
        if first is not None:
            MultiAgentsInstrumentor().uninstrument()
        bus.handlers = type(bus.handlers)(
            list, {name: handlers for name, handlers in bus.handlers.items() if name.startswith("command.")}
        )
        second.instrument()
        async with AsyncExitStack() as stack:
            other = bus.peer()
            await other.start()
            stack.push_async_callback(other.stop)
            heir = Orchestrator(order_workflow(), other, store, logger=SilentLogger())
            await heir.start()
            if then is not None:
                then()
            go_on.set()
            await bus.drain()
            assert (await heir.get_status(transaction))["state"] == "completed"
    return transaction


def merged(*parts: Observed) -> Observed:
    """All that left the processes, as a backend has it."""
    together = Observed()
    together.exported.export([span for part in parts for span in part.exported.get_finished_spans()])
    return together


async def test_the_heir_emits_the_one_root_with_the_first_ones_ids_and_start(observed: Observed) -> None:
    heir = Observed()
    before = time.time_ns()
    transaction = await handed_over(observed, heir)
    assert observed.named("workflow.order_processing") == []
    whole = merged(observed, heir)
    (root,) = whole.named("workflow.order_processing")
    assert root.parent_id == ""
    assert root.attributes == {
        "workflow.transaction_id": transaction,
        "workflow.id": "order_processing",
        "workflow.status": "completed",
    }
    first_step = observed.one("step.validate")
    assert (root.trace_id, root.span_id) == (first_step.trace_id, first_step.parent_id)
    assert before <= root.start_ns <= first_step.start_ns
    assert root.end_ns >= max(heir.one("step.ship").end_ns, heir.one("step.charge").end_ns)
    # The step in flight kept its identity, and its start from before its command was published.
    step = heir.one("step.charge")
    assert step.span_id == observed.one("send command.charge_payment").parent_id
    assert step.start_ns <= observed.one("send command.charge_payment").start_ns
    assert len(whole.named("step.charge")) == 1
    assert (
        step.attributes["messaging.message.id"]
        == (observed.one("send command.charge_payment").attributes["messaging.message.id"])
    )
    assert {span.trace_id for span in map(received, whole.spans)} == {root.trace_id}


async def test_no_span_is_missing_but_what_had_not_left_the_first_process(observed: Observed) -> None:
    heir = Observed()
    await handed_over(observed, heir)
    whole = merged(observed, heir)
    # The worker at work was in the process whose instrumentation was taken out: its spans are its own loss.
    lost = {"process command.charge_payment", "worker.charge_payment", "send result.charge_payment"}
    expected = sorted(line.split()[0:-1] for line in COMPLETED.splitlines() if not lost & {_name(line)})
    assert sorted(span.name.split() for span in whole.spans if span.name not in lost) == expected


async def test_both_processes_together_count_one_workflow_started_and_one_ended(observed: Observed) -> None:
    heir = Observed()
    await handed_over(observed, heir)
    order = series(workflow__id="order_processing")
    assert observed.sums("multiagents.workflows.started") == {}  # taken out: it observes nothing any more
    assert heir.sums("multiagents.workflows.started") == {}
    assert heir.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="completed"): 1}
    assert heir.sums("multiagents.active_workflows", zeros=True)[order] == 0
    assert sum(heir.counts("multiagents.workflow.duration").values()) == 1


async def test_what_the_first_process_sampled_is_emitted_by_an_heir_that_samples_nothing(observed: Observed) -> None:
    heir = Observed(sampler=ALWAYS_OFF)
    await handed_over(observed, heir)
    root = heir.one("workflow.order_processing")
    assert root.attributes["workflow.status"] == "completed"
    assert heir.one("step.charge").parent_id == root.span_id
    assert heir.one("step.ship").parent_id == root.span_id
    heir.close()


async def test_what_the_first_process_did_not_sample_is_emitted_by_nobody() -> None:
    first, heir = Observed(sampler=ALWAYS_OFF), Observed(sampler=ALWAYS_ON)
    await handed_over(first, heir)
    assert first.spans == []
    assert [span.name for span in heir.spans if not span.name.startswith(("send", "process", "worker"))] == []
    assert heir.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="completed"): 1}
    first.close()
    heir.close()


async def test_trace_state_and_the_samplers_attributes_are_kept() -> None:
    first, heir = Observed(sampler=Stated()), Observed()
    await handed_over(first, heir)
    root = heir.one("workflow.order_processing")
    assert root.trace_state == "shop=kept"
    assert root.attributes["sampler.said"] == "yes"
    assert heir.one("step.ship").trace_state == "shop=kept"
    first.close()
    heir.close()


@pytest.mark.parametrize("parent", ["child", "link"])
async def test_the_caller_of_the_first_process_stays_the_workflows_parent_or_link(parent: str) -> None:
    first, heir = Observed(), Observed()
    instrument = first.instrument
    first.instrument = lambda **options: instrument(workflow_parent=parent)  # type: ignore[method-assign]
    with first.tracers.get_tracer("shop").start_as_current_span("request") as request:
        await handed_over(first, heir)
    caller = request.get_span_context()
    root = heir.one("workflow.order_processing")
    if parent == "child":
        assert (root.trace_id, root.parent_id) == (f"{caller.trace_id:032x}", f"{caller.span_id:016x}")
        assert root.links == ()
    else:
        assert root.parent_id == ""
        assert [(link.trace_id, link.span_id) for link in root.links] == [
            (f"{caller.trace_id:032x}", f"{caller.span_id:016x}")
        ]
    first.close()
    heir.close()


async def test_a_workflow_that_had_begun_before_instrument_gets_a_root_from_its_next_step_on() -> None:
    observed = Observed()
    before = time.time_ns()
    transaction = await handed_over(None, observed)
    root = observed.one("workflow.order_processing")
    assert root.parent_id == ""
    assert root.attributes == {
        "workflow.transaction_id": transaction,
        "workflow.id": "order_processing",
        "workflow.status": "completed",
    }
    # Its start is the saga's own.
    assert before - 1_000_000 <= root.start_ns <= observed.one("step.ship").start_ns
    assert observed.one("step.ship").parent_id == root.span_id
    assert observed.named("step.validate") == observed.named("step.charge") == []
    # The result that it was first seen with had no trace to be of.
    assert observed.one("process result.charge_payment").trace_id != root.trace_id
    observed.close()


async def test_what_the_saga_keeps_is_the_identity_and_nothing_of_the_application(observed: Observed) -> None:
    observed.instrument()
    store = MemoryStore()
    async with order_system(store=store, monitors=False) as system:
        transaction = await system.run()
        await system.bus.drain()
    kept = json.loads(store.rows[transaction])["metadata"]
    root, last = observed.root(), observed.one("step.ship")
    assert list(kept) == ["_otel"]
    assert kept["_otel"].pop("traceparent").startswith(f"00-{root.trace_id}-{root.span_id}-")
    assert len(kept["_otel"].pop("owner")) == 32  # the process that started it
    decision = kept["_otel"].pop("decision")
    assert decision == Decision.RECORD_AND_SAMPLE.value
    assert kept["_otel"] == {
        "workflow": "order_processing",
        "start": root.start_ns,
        "step": {"name": "ship", "worker": "ship_order", "span_id": last.span_id, "start": last.start_ns},
    }


def _name(line: str) -> str:
    return line.strip().rsplit(" ", 1)[0]
