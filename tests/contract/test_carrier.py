"""The carrier: what is in it, what is not, and who sees it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from multiagents_otel import MultiAgentsInstrumentor
from tests.contract.observed import Observed
from tests.support.buses import MemoryBus
from tests.support.sagas import order_payload, order_system, order_workers

WORKERS = ("validate_order", "charge_payment", "ship_order")


async def wire_of(observed: Observed, payload: dict[str, Any] | None = None) -> tuple[str, dict[str, dict[str, Any]]]:
    """Runs one order; gives what was on the wire by event type, status events left out."""
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        transaction = await system.run(payload)
        await bus.drain()
    return transaction, {m.event_type: m.event for m in bus.wire if m.event_type != "status.workflow"}


async def test_a_commands_carrier_has_the_contracts_fields_and_no_others(observed: Observed) -> None:
    before = time.time_ns()
    transaction, wire = await wire_of(observed)
    for step, worker in zip(("validate", "charge", "ship"), WORKERS, strict=True):
        carrier = wire[f"command.{worker}"]["_otel"]
        send = observed.one(f"send command.{worker}")
        assert before <= carrier.pop("ts") <= time.time_ns()
        assert carrier == {
            "traceparent": f"00-{send.trace_id}-{send.span_id}-{carrier['traceparent'][-2:]}",
            "t": transaction,
            "w": "order_processing",
            "s": step,
        }
        assert int(carrier["traceparent"][-2:], 16) & 1


async def test_a_results_carrier_has_the_queue_time_and_on_failure_the_causes_class_too(observed: Observed) -> None:
    _, wire = await wire_of(observed, order_payload(fail_at="charge_payment", error=KeyError))
    assert set(wire["result.validate_order"]["_otel"]) == {"traceparent", "ts", "t", "w", "s", "q"}
    failed = wire["result.charge_payment"]["_otel"]
    assert set(failed) == {"traceparent", "ts", "t", "w", "s", "q", "e", "k"}
    assert failed["e"] == "KeyError"
    assert isinstance(failed["q"], float)
    assert 0 <= failed["q"] < 60
    assert observed.one("step.charge").attributes["multiagents.event.queue_time"] == failed["q"]
    # What the framework itself tells does not change.
    assert wire["result.charge_payment"]["error_details"] == {"error_type": "WorkerException"}


async def test_the_carrier_is_one_key_at_the_top_and_nothing_is_in_the_payload(observed: Observed) -> None:
    def stamped(event: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in event.items() if k not in ("id", "metadata", "command_id", "_otel")}

    bus = MemoryBus()
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    bare = {m.event_type: stamped(m.event) for m in bus.wire if m.event_type != "status.workflow"}
    _, wire = await wire_of(observed)
    assert {name: stamped(event) for name, event in wire.items()} == bare
    assert all("_otel" in event for event in wire.values())
    assert all("_otel" not in repr(event["payload"]) for event in wire.values())


async def test_handlers_and_workers_never_see_it(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    given: list[dict[str, Any]] = []

    async def handler(event: dict[str, Any]) -> None:
        given.append(event)

    async def probe_all() -> None:
        for worker in WORKERS:
            await bus.subscribe(f"result.{worker}", handler)
        await bus.subscribe("status.workflow", handler)

    workers = order_workers(probe=lambda _, payload: given.append(dict(payload)))
    async with order_system(bus, workers=workers, monitors=False) as system:
        await probe_all()
        await system.run()
        await bus.drain()
    assert len(given) == 3 + 3 + 2
    assert "_otel" not in repr(given)


async def test_A11_the_publishers_dict_is_never_changed_and_not_kept(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    event = {"id": "o-1", "payload": {"deep": {"list": [1, 2]}}, "metadata": {"transaction_id": "t-1"}}
    before = copy.deepcopy(event)
    async with order_system(bus, monitors=False):
        await bus.publish("shop.opened", event)
        assert event == before
        await bus.publish(event_type="shop.opened", event_data=event)
        assert event == before


async def test_A11_an_event_that_is_published_again_carries_the_new_parent(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()

    async def forward(event: dict[str, Any]) -> None:
        await bus.publish("shop.forwarded", event)

    async with order_system(bus, monitors=False):
        await bus.subscribe("shop.opened", forward)
        await bus.publish("shop.opened", {"id": "o-1"})
        await bus.drain()
        # A received event of another process, its carrier still in it.
        await bus.publish("shop.stale", bus.wire[-1].event)
    assert observed.forest.splitlines() == [
        "send shop.opened PRODUCER",
        "  process shop.opened CONSUMER",
        "    send shop.forwarded PRODUCER",
        "",
        "send shop.stale PRODUCER",
    ]
    stale = observed.one("send shop.stale")
    assert bus.wire[-1].event["_otel"]["traceparent"].split("-")[1] == stale.trace_id


async def test_several_handlers_of_one_message_all_see_the_context_and_the_same_dict(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    seen: list[tuple[str, dict[str, Any], int]] = []

    def handler(name: str) -> Any:
        async def handle(event: dict[str, Any]) -> None:
            seen.append((name, event, trace.get_current_span().get_span_context().trace_id))

        return handle

    async with order_system(bus, monitors=False):
        for name in ("first", "second", "third"):
            await bus.subscribe("shop.opened", handler(name))
        await bus.publish("shop.opened", {"id": "o-1", "payload": {"a": 1}})
        await bus.drain()
    assert [name for name, _, _ in seen] == ["first", "second", "third"]
    assert all(event is seen[0][1] for _, event, _ in seen)
    assert seen[0][1] == {"id": "o-1", "payload": {"a": 1}}
    send = observed.one("send shop.opened")
    assert {f"{trace_id:032x}" for _, _, trace_id in seen} == {send.trace_id}
    assert [s.parent_id for s in observed.named("process shop.opened")] == [send.span_id] * 3
    assert sum(observed.sums("multiagents.events").values()) == 1
    assert observed.counts("multiagents.event.duration") == {frozenset({("event.type", "Event")}): 1}


async def test_A12_baggage_and_tracestate_travel_the_whole_workflow(observed: Observed) -> None:
    observed.instrument()
    seen: list[tuple[str, object, str]] = []

    def probe(name: str, _payload: dict[str, Any]) -> None:
        span_context = trace.get_current_span().get_span_context()
        seen.append((name, baggage.get_baggage("tenant"), span_context.trace_state.to_header()))

    remote = SpanContext(0xABC, 0xDEF, True, TraceFlags(1), TraceState([("vendor", "x1")]))
    caller = trace.set_span_in_context(NonRecordingSpan(remote), baggage.set_baggage("tenant", "green, ltd"))
    async with order_system(workers=order_workers(probe=probe), monitors=False) as system:
        token = context.attach(caller)
        try:
            await system.run()
        finally:
            context.detach(token)
        await system.bus.drain()
    assert seen == [(worker, "green, ltd", "vendor=x1") for worker in WORKERS]
    assert {span.context.trace_id for span in observed.spans if span.context} == {0xABC}
    states = {span.name: span.context.trace_state.to_header() for span in observed.spans if span.context}
    assert set(states.values()) == {"vendor=x1"}
    assert observed.one("workflow.order_processing").parent_id == f"{0xDEF:016x}"


async def test_A8_unsampled_context_is_propagated_all_the_same() -> None:
    observed = Observed(sampler=ALWAYS_OFF)
    seen: set[tuple[int, bool]] = set()

    def probe(_name: str, _payload: dict[str, Any]) -> None:
        span_context = trace.get_current_span().get_span_context()
        seen.add((span_context.trace_id, span_context.trace_flags.sampled))

    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, workers=order_workers(probe=probe), monitors=False) as system:
        await system.run()
        await bus.drain()
    ((trace_id, sampled),) = seen
    assert trace_id != 0
    assert sampled is False
    carried = {m.event["_otel"]["traceparent"].split("-")[1] for m in bus.wire}
    assert carried == {f"{trace_id:032x}"}
    assert observed.exported.get_finished_spans() == ()
    observed.close()


async def test_A8_suppressed_calls_record_no_span_and_propagate(observed: Observed) -> None:
    observed.instrument()
    bus = MemoryBus()
    async with order_system(bus, monitors=False):
        with observed.tracers.get_tracer("shop").start_as_current_span("request") as request:
            for key in ("suppress_instrumentation", context._SUPPRESS_INSTRUMENTATION_KEY):
                token = context.attach(context.set_value(key, True))
                await bus.publish("shop.opened", {"id": "o-1"})
                context.detach(token)
    assert observed.spans == []
    trace_id = f"{request.get_span_context().trace_id:032x}"
    assert [m.event["_otel"]["traceparent"].split("-")[1] for m in bus.wire] == [trace_id] * 2


class OneHeader(TextMapPropagator):
    """A propagator with fields of its own, in the manner of B3's single header, and one more."""

    def inject(self, carrier: Any, context: Context | None = None, setter: Any = None) -> None:
        span_context = trace.get_current_span(context).get_span_context()
        carrier["b3"] = f"{span_context.trace_id:032x}-{span_context.span_id:016x}-{int(span_context.trace_flags) & 1}"
        carrier["x-tenant"] = str(baggage.get_baggage("tenant", context))

    def extract(self, carrier: Any, context: Context | None = None, getter: Any = None) -> Context:
        context = context if context is not None else Context()
        if "b3" not in carrier:
            return context
        trace_id, span_id, sampled = carrier["b3"].split("-")
        parent = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(sampled)))
        context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        return baggage.set_baggage("tenant", carrier["x-tenant"], context)

    @property
    def fields(self) -> set[str]:
        return {"b3", "x-tenant"}


@pytest.fixture
def restored_propagator() -> Iterator[None]:
    configured = propagate.get_global_textmap()
    yield
    propagate.set_global_textmap(configured)


@pytest.mark.parametrize("composite", [False, True])
@pytest.mark.usefixtures("restored_propagator")
async def test_the_globally_configured_propagator_is_the_one_that_is_used(observed: Observed, composite: bool) -> None:
    propagate.set_global_textmap(CompositePropagator([OneHeader()]) if composite else OneHeader())
    observed.instrument()
    tenants: list[object] = []
    bus = MemoryBus()
    workers = order_workers(probe=lambda *_: tenants.append(baggage.get_baggage("tenant")))
    async with order_system(bus, workers=workers, monitors=False) as system:
        token = context.attach(baggage.set_baggage("tenant", "green"))
        await system.run()
        context.detach(token)
        await bus.drain()
    assert set(bus.wire[1].event["_otel"]) == {"b3", "x-tenant", "ts", "t", "w", "s"}
    assert tenants == ["green"] * 3
    assert len(observed.spans) == 19
    assert observed.root().name == "workflow.order_processing"


@pytest.mark.parametrize("state", ["", "vendor=a"])
@pytest.mark.usefixtures("restored_propagator")
async def test_where_no_propagator_is_configured_a_workflow_is_one_trace_all_the_same(
    observed: Observed, state: str
) -> None:
    propagate.set_global_textmap(CompositePropagator([]))
    observed.instrument()
    tenants: list[object] = []
    workers = order_workers(probe=lambda *_: tenants.append(baggage.get_baggage("tenant")))
    bus = MemoryBus()
    caller = SpanContext(1, 2, True, TraceFlags(1), trace.TraceState.from_header([state]))
    async with order_system(bus, workers=workers, monitors=False) as system:
        started_in = trace.set_span_in_context(NonRecordingSpan(caller), baggage.set_baggage("tenant", "green"))
        token = context.attach(started_in)
        await system.run()
        context.detach(token)
        await bus.drain()
    assert tenants == [None] * 3
    assert len(observed.spans) == 19
    assert {span.context.trace_id for span in observed.spans if span.context} == {1}
    command = next(message.event["_otel"] for message in bus.wire if message.event_type == "command.charge_payment")
    assert set(command) == {"traceparent", "ts", "t", "w", "s", *(["tracestate"] if state else [])}


@pytest.mark.parametrize(
    "carrier",
    [None, 3, "text", [], {}, {"traceparent": None}, {"traceparent": "00-xyz-1-01"}, {"traceparent": ["a"]}, [{}]],
)
async def test_A9_A10_garbage_or_no_carrier_is_a_new_root_without_a_record(
    observed: Observed, carrier: Any, caplog: pytest.LogCaptureFixture
) -> None:
    observed.instrument()
    bus = MemoryBus()
    given: list[dict[str, Any]] = []

    async def handler(event: dict[str, Any]) -> None:
        given.append(event)

    async with order_system(bus, monitors=False):
        await bus.subscribe("shop.opened", handler)
        await bus.handlers["shop.opened"][0]({"id": "o-1", "_otel": carrier})
    assert given == [{"id": "o-1"}]
    assert observed.tree == "process shop.opened CONSUMER"
    assert caplog.records == []


async def test_baggage_travels_where_no_span_is_current_and_none_is_recorded() -> None:
    MultiAgentsInstrumentor().instrument(tracer_provider=trace.NoOpTracerProvider(), skip_dep_check=True)
    seen: list[object] = []
    async with order_system(
        workers=order_workers(probe=lambda *_: seen.append(baggage.get_baggage("tenant")))
    ) as system:
        token = context.attach(baggage.set_baggage("tenant", "green", context.Context()))
        await system.run()
        context.detach(token)
        await system.bus.drain()
    assert seen == ["green"] * 3


@pytest.mark.parametrize(
    "key", ["suppress_instrumentation", context._SUPPRESS_INSTRUMENTATION_KEY], ids=["plain", "the api's"]
)
async def test_one_of_the_keys_alone_suppresses_where_no_span_is_current(observed: Observed, key: str) -> None:
    observed.instrument()
    bus = MemoryBus()
    MultiAgentsInstrumentor().instrument_event_bus(bus)
    await bus.start()
    token = context.attach(context.Context({key: True}))
    await bus.publish("stock.low", {"id": "e1"})
    context.detach(token)
    await bus.stop()
    assert observed.spans == []
