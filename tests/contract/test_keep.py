"""What is kept whatever the sampler says: a workflow in which something fails, or that is critical."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from multiagents.worker_sdk.decorators import worker
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from multiagents_otel import MultiAgentsInstrumentor
from tests.contract.conftest import Clock
from tests.contract.expected import KEPT_AT_0_PERCENT
from tests.contract.failing import SCENARIOS, Scenario, told
from tests.contract.observed import Observed, series, tally
from tests.contract.test_providers import PlainProvider, unpinnable
from tests.contract.test_survival import handed_over, merged
from tests.support.buses import MemoryBus, MemoryStore
from tests.support.expected import COMPLETED
from tests.support.sagas import order_payload, order_system, order_workers, subscribe_compensations
from tests.support.trees import by_trace, orphans, received, tree

KEEP = "multiagents.sampling.keep"

KEPT_AT_0_PERCENT_TO_NOBODY = KEPT_AT_0_PERCENT.replace("\n      process compensation.refund_payment CONSUMER", "")
FAILING = order_payload(fail_at="ship_order")


async def run(*payloads: dict[str, Any] | None, bus: MemoryBus | None = None, **system_options: Any) -> None:
    async with order_system(bus, monitors=False, **system_options) as system:
        await subscribe_compensations(system.bus)
        for payload in payloads or (None,):
            await system.run(payload)
            await system.bus.drain()


class Stated(Sampler):
    """Drops, and says so in the trace state."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.DROP, {"sampler.said": "no"}, TraceState([("shop", "d1")]))

    def get_description(self) -> str:
        return "Stated"


class OnlyRecorded(Sampler):
    """Records, and does not sample."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY, args[4] if len(args) > 4 else None)

    def get_description(self) -> str:
        return "OnlyRecorded"


# --- something fails ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler",
    [ALWAYS_OFF, ParentBased(ALWAYS_OFF), TraceIdRatioBased(0), ParentBased(TraceIdRatioBased(0)), OnlyRecorded()],
    ids=["always_off", "parentbased_always_off", "traceidratio", "parentbased_traceidratio", "only recorded"],
)
async def test_a_worker_that_fails_is_told_with_its_process_step_compensations_earlier_steps_and_root(
    sampler: Sampler,
) -> None:
    observed = Observed(sampler=sampler).instrument()
    await run(FAILING)
    assert observed.tree == KEPT_AT_0_PERCENT
    assert observed.exceptions == [("worker.ship_order", "ValueError")]
    assert {span.attributes[KEEP] for span in map(received, observed.spans)} == {True}
    observed.close()


@pytest.mark.parametrize("detailed_timing", [True, False], ids=["detailed", "plain"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_whatever_goes_wrong_is_told_at_0_percent_as_it_is_told_at_100(
    scenario: Scenario, detailed_timing: bool, clock: Clock
) -> None:
    everything, nothing = Observed(sampler=ALWAYS_ON), Observed(sampler=ALWAYS_OFF)
    for observed in (everything, nothing):
        observed.instrument(detailed_timing=detailed_timing)
        await scenario(clock)
        MultiAgentsInstrumentor().uninstrument()
    expected, kept = told(everything, of=nothing), told(nothing)
    assert kept == expected
    assert kept["errors"]
    assert {span.attributes[KEEP] for span in map(received, nothing.spans)} == {True}
    everything.close()
    nothing.close()


async def test_healthy_workflows_beside_a_failing_one_stay_unsampled() -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument()
    await run(None, FAILING, None)
    assert observed.tree == KEPT_AT_0_PERCENT
    assert observed.sums("multiagents.workflows") == {
        series(workflow__id="order_processing", status="completed"): 2,
        series(workflow__id="order_processing", status="compensated"): 1,
    }
    observed.close()


async def test_a_sampled_workflow_is_marked_from_its_failure_on(observed: Observed) -> None:
    observed.instrument()
    await run(FAILING)
    assert {span.name for span in observed.spans if KEEP in (span.attributes or {})} == {
        "worker.ship_order",
        "process command.ship_order",
        "send result.ship_order",
        "process result.ship_order",
        "step.ship",
        "compensate.refund_payment",
        "send compensation.refund_payment",
        "process compensation.refund_payment",
        "workflow.order_processing",
    }


async def test_late_spans_have_the_times_of_what_they_are_of() -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument()
    await run(FAILING)
    by_id = {span.span_id: span for span in map(received, observed.spans)}
    for span in by_id.values():
        assert span.start_ns <= span.end_ns
        if span.parent_id and not span.name.startswith("process "):
            assert by_id[span.parent_id].start_ns <= span.start_ns
    validate, charge, ship = (observed.one(f"step.{name}") for name in ("validate", "charge", "ship"))
    assert validate.end_ns <= charge.start_ns <= charge.end_ns <= ship.start_ns
    worker = observed.one("worker.ship_order")
    assert ship.start_ns <= worker.start_ns <= worker.end_ns <= ship.end_ns
    observed.close()


async def test_with_keep_errors_off_the_sampler_has_the_last_word() -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument(keep_errors=False)
    await run(FAILING)
    assert observed.spans == []
    sampled = Observed().instrument
    MultiAgentsInstrumentor().uninstrument()
    everything = sampled(keep_errors=False)
    await run(FAILING)
    assert [span.name for span in everything.spans if KEEP in (span.attributes or {})] == []
    observed.close()
    everything.close()


async def test_the_samplers_trace_state_and_attributes_are_on_what_is_kept() -> None:
    observed = Observed(sampler=Stated()).instrument()
    await run(FAILING)
    assert observed.tree == KEPT_AT_0_PERCENT
    assert {span.trace_state for span in map(received, observed.spans)} == {"shop=d1"}
    assert observed.root().attributes["sampler.said"] == "no"
    observed.close()


async def test_an_event_of_no_workflow_whose_handler_raises_is_kept_with_the_id_that_its_code_has_seen() -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument()
    seen: list[SpanContext] = []

    async def raises(event: dict[str, Any]) -> None:
        seen.append(trace.get_current_span().get_span_context())
        raise KeyError("gone")

    bus = MemoryBus()
    MultiAgentsInstrumentor().instrument_event_bus(bus)
    await bus.start()
    await bus.subscribe("stock.low", raises)
    await bus.publish("stock.low", {"id": "e1"})
    await bus.drain()
    await bus.stop()
    (span,) = observed.spans
    assert (span.name, span.context.trace_id, span.context.span_id) == (
        "process stock.low",
        seen[0].trace_id,
        seen[0].span_id,
    )
    assert (span.attributes or {})[KEEP] is True
    assert observed.exceptions == [("process stock.low", "KeyError")]
    observed.close()


async def test_another_makers_provider_has_the_last_word_and_that_is_told_at_most_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    observed = Observed(sampler=ALWAYS_OFF)
    observed.instrument(tracer_provider=PlainProvider(observed.tracers), critical_workflows="*")
    await run(FAILING, FAILING)
    assert observed.exported.get_finished_spans() == ()
    assert len(caplog.records) == len(unpinnable(caplog)) == 1
    observed.close()


async def test_a_workflow_that_began_without_a_provider_is_not_given_its_callers_ids_when_it_fails() -> None:
    observed = Observed(sampler=ALWAYS_OFF)
    caller = SpanContext(0xABC, 0xDEF, True, TraceFlags(0), TraceState())
    instrumentor = MultiAgentsInstrumentor()
    instrumentor.instrument(tracer_provider=trace.NoOpTracerProvider(), skip_dep_check=True)
    store = MemoryStore()
    async with order_system(store=store, monitors=False) as system:
        with trace.use_span(trace.NonRecordingSpan(caller)):
            transaction = await system.run(order_payload(hang_at="charge_payment"))
        await asyncio.sleep(0)
        instrumentor.uninstrument()
        observed.instrument()
        result = {
            "metadata": {"transaction_id": transaction, "correlation_id": f"{transaction}.charge", "source": "test"},
            "command_id": "c1",
            "success": False,
            "error_message": "no",
        }
        await system.bus.publish("result.charge_payment", {"id": "r1", "type": "result", **result})
        await system.orchestrator.cancel_workflow(transaction)
    assert [span.name for span in observed.spans if span.context.span_id == 0xDEF] == []
    observed.close()


@pytest.mark.parametrize(("sampler", "share"), [(TraceIdRatioBased(0.01), 2), (TraceIdRatioBased(0.1), 20)])
async def test_the_healthy_share_is_the_samplers_by_trace_id(sampler: Sampler, share: int) -> None:
    class Spread(IdGenerator):
        """200 trace ids, evenly spread."""

        def __init__(self) -> None:
            self._trace, self._span = 0, 0

        def generate_trace_id(self) -> int:
            self._trace += 1
            return (1 << 64) + (self._trace * (1 << 64) // 200 - 1)

        def generate_span_id(self) -> int:
            self._span += 1
            return self._span

    observed = Observed(sampler=sampler)
    observed.tracers.id_generator = Spread()  # type: ignore[assignment]
    observed.instrument()
    async with order_system(monitors=False) as system:
        for number in range(200):
            await system.run(FAILING if number % 50 == 47 else None)
        await system.bus.drain()
    trees = [tree(spans) for spans in by_trace(observed.spans).values()]
    assert tally(trees) == {COMPLETED: share, KEPT_AT_0_PERCENT_TO_NOBODY: 4}
    assert observed.sums("multiagents.workflows") == {
        series(workflow__id="order_processing", status="completed"): 196,
        series(workflow__id="order_processing", status="compensated"): 4,
    }
    observed.close()


@pytest.mark.parametrize("keep", [1, "true", None, {"k": True}, [True]])
async def test_a_carrier_that_says_keep_in_another_way_keeps_nothing(keep: Any) -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument()

    async def handle(event: dict[str, Any]) -> None: ...

    bus = MemoryBus()
    MultiAgentsInstrumentor().instrument_event_bus(bus)
    await bus.start()
    await bus.subscribe("stock.low", handle)
    await bus.handlers["stock.low"][0](
        {"id": "e1", "_otel": {"k": keep}, "priority": keep, "metadata": {"priority": 7}}
    )
    await bus.stop()
    assert observed.spans == []
    observed.close()


# --- who called, and who goes on ------------------------------------------------------------------


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled caller", "unsampled caller"])
@pytest.mark.parametrize("parent", ["child", "link"])
async def test_the_caller_stays_the_kept_workflows_parent_or_link(parent: str, sampled: bool) -> None:
    caller = SpanContext(0xABC, 0xDEF, True, TraceFlags(int(sampled)), TraceState())
    # One that asks nobody: a sampled caller too has an unsampled workflow.
    observed = Observed(sampler=ALWAYS_OFF).instrument(workflow_parent=parent)
    with trace.use_span(trace.NonRecordingSpan(caller)):
        await run(FAILING)
    spans = list(map(received, observed.spans))
    (root,) = [span for span in spans if span.name == "workflow.order_processing"]
    if parent == "child":
        assert (int(root.trace_id, 16), int(root.parent_id, 16), root.links) == (0xABC, 0xDEF, ())
    else:
        assert (root.parent_id, [int(link.span_id, 16) for link in root.links]) == ("", [0xDEF])
        assert int(root.trace_id, 16) != 0xABC
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert [span.name for span in orphans(spans)] == (["workflow.order_processing"] if parent == "child" else [])
    assert len(spans) == len(KEPT_AT_0_PERCENT.splitlines())
    observed.close()


async def test_the_saga_says_that_it_is_kept() -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument()
    store = MemoryStore()
    async with order_system(store=store, monitors=False) as system:
        transaction = await system.run(FAILING)
        await system.bus.drain()
    identity = json.loads(store.rows[transaction])["metadata"]["_otel"]
    assert identity["decision"] == Decision.RECORD_AND_SAMPLE.value
    assert identity["attributes"] == {KEEP: True}
    assert int(identity["traceparent"][-2:], 16) & 1
    assert int(identity["step"]["span_id"], 16) == int(observed.one("step.ship").span_id, 16)
    observed.close()


async def test_another_process_that_takes_a_kept_workflow_over_emits_the_root_and_all_that_follows() -> None:
    first, heir = Observed(sampler=ALWAYS_OFF), Observed(sampler=ALWAYS_OFF)
    instrument = first.instrument
    first.instrument = lambda **options: instrument(critical_workflows="order_*")  # type: ignore[method-assign]
    await handed_over(first, heir)
    whole = merged(first, heir)
    (root,) = whole.named("workflow.order_processing")
    assert heir.named("workflow.order_processing") == [root]
    assert root.attributes["workflow.status"] == "completed"
    assert {span.trace_id for span in map(received, whole.spans)} == {root.trace_id}
    assert sorted(span.name for span in whole.spans if span.name.startswith("step.")) == [
        "step.charge", "step.ship", "step.validate",
    ]  # fmt: skip
    assert heir.one("worker.ship_order").attributes[KEEP] is True
    first.close()
    heir.close()


# --- critical -------------------------------------------------------------------------------------


async def test_a_workflow_started_inside_critical_baggage_is_sampled_whole() -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument()
    token = context.attach(baggage.set_baggage("multiagents.priority", "critical", context.Context()))
    await run()
    context.detach(token)
    await run()
    assert observed.tree == COMPLETED
    assert {span.attributes[KEEP] for span in map(received, observed.spans)} == {True}
    observed.close()


async def test_a_workflow_whose_id_the_user_named_is_sampled_whole() -> None:
    observed = Observed(sampler=TraceIdRatioBased(0)).instrument(critical_workflows=["refund_*", "order_*"])
    await run()
    assert observed.tree == COMPLETED
    assert {span.attributes[KEEP] for span in map(received, observed.spans)} == {True}
    observed.close()


@pytest.mark.parametrize("where", ["at the top", "in the metadata"])
async def test_a_critical_event_is_sampled_where_it_is_sent_and_handled(where: str) -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument()
    handled: list[dict[str, Any]] = []

    async def handle(event: dict[str, Any]) -> None:
        handled.append(event)

    bus = MemoryBus()
    MultiAgentsInstrumentor().instrument_event_bus(bus)
    await bus.start()
    await bus.subscribe("stock.low", handle)
    critical: dict[str, Any] = (
        {"priority": "critical"} if where == "at the top" else {"metadata": {"priority": "Critical"}}
    )
    await bus.publish("stock.low", {"id": "e1", **critical})
    await bus.publish("stock.low", {"id": "e2", "priority": "low"})
    await bus.drain()
    await bus.stop()
    assert observed.tree == "send stock.low PRODUCER\n  process stock.low CONSUMER"
    assert handled == [{"id": "e1", **critical}, {"id": "e2", "priority": "low"}]
    observed.close()


async def test_a_critical_event_of_a_worker_keeps_its_workflow_from_then_on() -> None:
    observed = Observed(sampler=ALWAYS_OFF).instrument()
    bus = MemoryBus()

    async def charge(payload: dict[str, Any]) -> dict[str, Any]:
        await bus.publish("fraud.suspected", {"id": "e1", "priority": "critical"})
        return {}

    charging: Any = worker("charge_payment")(charge)
    workers = [charging if made.get_worker_type() == "charge_payment" else made for made in order_workers()]
    await run(bus=bus, workers=workers)
    assert observed.tree == (
        "workflow.order_processing INTERNAL\n"
        "  step.validate INTERNAL\n"
        "  step.charge INTERNAL\n"
        "    process command.charge_payment CONSUMER\n"
        "      worker.charge_payment INTERNAL\n"
        "        send fraud.suspected PRODUCER\n"
        "      send result.charge_payment PRODUCER\n"
        "        process result.charge_payment CONSUMER\n"
        "  step.ship INTERNAL\n"
        "    send command.ship_order PRODUCER\n"
        "      process command.ship_order CONSUMER\n"
        "        worker.ship_order INTERNAL\n"
        "        send result.ship_order PRODUCER\n"
        "          process result.ship_order CONSUMER"
    )
    observed.close()
