"""Sampling: the decision is made once, when the workflow starts, with all that a sampler may want."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import TraceState

from tests.contract.observed import Observed, series, tally
from tests.support.expected import COMPLETED
from tests.support.sagas import order_system, order_workers


class Noting(Sampler):
    """Answers as it is told, and notes what it was asked."""

    def __init__(self, decision: Decision = Decision.RECORD_AND_SAMPLE, added: dict[str, str] | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._decision = decision
        self._added = added or {}

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        self.asked.append((name, dict(attributes or {})))
        return SamplingResult(
            self._decision, {**(attributes or {}), **self._added}, TraceState([("shop", "s1")]) if self._added else None
        )

    def get_description(self) -> str:
        return "Noting"


async def run_one(sampler: Sampler, **options: Any) -> Observed:
    observed = Observed(sampler=sampler).instrument(**options)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    return observed


@pytest.mark.parametrize("detailed_timing", [True, False])
async def test_at_zero_percent_no_span_is_exported_and_metrics_are_the_same(detailed_timing: bool) -> None:
    observed = await run_one(ALWAYS_OFF, detailed_timing=detailed_timing)
    assert observed.exported.get_finished_spans() == ()
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="completed"): 1}
    assert observed.sums("multiagents.events") == {
        series(event__type="CommandEvent", status="success"): 3,
        series(event__type="ResultEvent", status="success"): 3,
    }
    assert sum(observed.counts("multiagents.step.duration").values()) == 3
    assert sum(observed.counts("multiagents.worker.duration").values()) == 3
    observed.close()


async def test_the_sampler_is_asked_once_for_the_workflow_and_for_no_step() -> None:
    sampler = Noting()
    observed = await run_one(sampler)
    assert observed.tree == COMPLETED
    asked = tally(name for name, _ in sampler.asked)
    assert asked["workflow.order_processing"] == 1
    assert not [name for name in asked if name.startswith("step.")]
    observed.close()


async def test_a_dropped_workflow_costs_the_sampler_no_further_question() -> None:
    sampler = Noting(Decision.DROP)
    observed = await run_one(sampler)
    assert [name for name, _ in sampler.asked] == ["workflow.order_processing"]
    assert observed.exported.get_finished_spans() == ()
    observed.close()


async def test_H4_what_a_sampler_may_want_is_given_at_the_start() -> None:
    sampler = Noting()
    observed = await run_one(sampler)
    transaction = observed.root().attributes["workflow.transaction_id"]
    given = dict(sampler.asked)
    ids = {"workflow.transaction_id": transaction, "workflow.id": "order_processing"}
    assert given["workflow.order_processing"] == ids
    worker = given["worker.charge_payment"]
    assert worker == {
        **ids,
        "worker.name": "charge_payment",
        "multiagents.step.name": "charge",
        "multiagents.worker.timeout": 300.0,
    }
    for operation in ("send", "process"):
        message = given[f"{operation} command.charge_payment"]
        assert message.items() >= {**ids, "event.type": "CommandEvent", "messaging.operation.type": operation}.items()
        assert "messaging.message.id" in message
    observed.close()


async def test_a_sampler_that_only_records_has_its_spans_processed_and_not_exported() -> None:
    class Ended(SpanProcessor):
        def __init__(self) -> None:
            self.names: list[str] = []

        def on_end(self, span: ReadableSpan) -> None:
            self.names.append(span.name)

    observed, ended = Observed(sampler=Noting(Decision.RECORD_ONLY)), Ended()
    observed.tracers.add_span_processor(ended)
    observed.instrument()
    flags: set[bool] = set()

    def probe(*_: Any) -> None:
        flags.add(trace.get_current_span().get_span_context().trace_flags.sampled)

    async with order_system(workers=order_workers(probe=probe), monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert observed.exported.get_finished_spans() == ()
    assert ended.names.count("workflow.order_processing") == 1
    assert [name for name in ended.names if name.startswith("step.")] == ["step.validate", "step.charge", "step.ship"]
    assert flags == {False}
    observed.close()


async def test_what_a_sampler_adds_is_on_the_root_and_its_trace_state_on_all_of_it() -> None:
    sampler = ParentBased(Noting(added={"shop.sampled_by": "rule 7"}))
    observed = await run_one(sampler)
    root = observed.root()
    assert root.attributes["shop.sampled_by"] == "rule 7"
    assert root.attributes["workflow.status"] == "completed"
    assert {s.context.trace_state.to_header() for s in observed.spans if s.context} == {"shop=s1"}
    assert observed.tree == COMPLETED
    observed.close()


@pytest.mark.parametrize("sampled", [True, False])
async def test_a_parent_based_sampler_follows_the_caller(sampled: bool) -> None:
    observed = Observed(sampler=ParentBased(ALWAYS_ON)).instrument()
    caller = trace.NonRecordingSpan(
        trace.SpanContext(0xABC, 0xDEF, True, trace.TraceFlags(1 if sampled else 0), TraceState())
    )
    async with order_system(monitors=False) as system:
        with trace.use_span(caller):
            await system.run()
        await system.bus.drain()
    assert len(observed.spans) == (19 if sampled else 0)
    assert {s.context.trace_id for s in observed.spans if s.context} == ({0xABC} if sampled else set())
    observed.close()


async def test_traces_are_whole_or_absent_at_any_ratio() -> None:
    observed = Observed(sampler=ParentBased(TraceIdRatioBased(0.5))).instrument()
    async with order_system(monitors=False) as system:
        for _ in range(30):
            await system.run()
        await system.bus.drain()
    sizes = tally(s.context.trace_id for s in observed.spans if s.context)
    assert 0 < len(sizes) < 30
    assert set(sizes.values()) == {19}
    # A sampler without memory of parents decides by the same trace id: nothing changes.
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="completed"): 30}
    observed.close()


async def test_ids_are_the_providers_own_generators() -> None:
    class Counting:
        def __init__(self) -> None:
            self.next = 0

        def generate_span_id(self) -> int:
            self.next += 1
            return self.next

        def generate_trace_id(self) -> int:
            return 0xFEED

        def is_trace_id_random(self) -> bool:
            return False

    observed = Observed()
    observed.tracers.id_generator = Counting()  # type: ignore[assignment]
    observed.instrument()
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert {s.context.trace_id for s in observed.spans if s.context} == {0xFEED}
    assert sorted(s.context.span_id for s in observed.spans if s.context) == list(range(1, 20))
    observed.close()
