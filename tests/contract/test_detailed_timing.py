"""``detailed_timing=False``: seven spans for three steps, joined the same way, and the same metrics."""

from __future__ import annotations

import json
from typing import Any

from multiagents_otel import MultiAgentsInstrumentor
from multiagents_otel.telemetry.observers import OBSERVERS
from tests.contract.answering import AnsweringBus
from tests.contract.expected import IDS, ROOT, message
from tests.contract.observed import MACHINE_METRICS, Observed, Series, span, values_of, whole
from tests.support.buses import MemoryBus
from tests.support.sagas import order_payload, order_system, order_workers


def size_without_carrier(bus: MemoryBus, event_type: str) -> int:
    (event,) = [m.event for m in bus.wire if m.event_type == event_type]
    del event["_otel"]
    return len(json.dumps(event).encode())


TREE = """\
workflow.order_processing INTERNAL
  step.validate PRODUCER
    worker.validate_order CONSUMER
  step.charge PRODUCER
    worker.charge_payment CONSUMER
  step.ship PRODUCER
    worker.ship_order CONSUMER"""


def step_spans(step: str, worker: str, command: str) -> list[dict[str, Any]]:
    names = {"multiagents.step.name": step, "worker.name": worker}
    messaging = (f"command.{worker}", command, f"TX1.{step}", "CommandEvent")
    return [
        span(
            f"step.{step}",
            "PRODUCER",
            ROOT,
            {**message("send", *messaging), **names, "multiagents.event.queue_time": "QUEUED"},
        ),
        span(
            f"worker.{worker}",
            "CONSUMER",
            f"step.{step}",
            {
                **message("process", *messaging),
                **names,
                "multiagents.worker.outcome": "success",
                "multiagents.worker.timeout": 300.0,
            },
        ),
    ]


async def test_a_workflow_of_three_steps_is_seven_spans(observed: Observed) -> None:
    observed.instrument(detailed_timing=False)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert observed.tree == TREE


async def test_step_and_worker_have_the_messaging_attributes(observed: Observed) -> None:
    observed.instrument(detailed_timing=False)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert whole(observed.spans) == [
        span(ROOT, "INTERNAL", "", {**IDS, "workflow.status": "completed"}),
        *step_spans("validate", "validate_order", "MSG1"),
        *step_spans("charge", "charge_payment", "MSG2"),
        *step_spans("ship", "ship_order", "MSG3"),
    ]


async def test_a_failure_and_its_compensation_are_told_with_their_exception(observed: Observed) -> None:
    observed.instrument(detailed_timing=False)
    bus = AnsweringBus()
    async with order_system(bus, monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await system.bus.drain()
    assert observed.tree.splitlines()[-3:] == [
        "  step.ship PRODUCER ERROR ValueError",
        "    worker.ship_order CONSUMER ERROR ValueError",
        "  compensate.refund_payment PRODUCER ERROR undelivered",
    ]
    assert observed.exceptions == [("worker.ship_order", "ValueError")]
    compensate = whole([s for s in observed.spans if s.name.startswith("compensate.")])[0]["attributes"]
    assert compensate == {
        **message("send", "compensation.refund_payment", "MSG1", "TX1.comp.charge", "CompensationEvent"),
        "multiagents.step.name": "charge",
        "multiagents.compensation.name": "refund_payment",
        "multiagents.event.receivers": 0,
        "messaging.message.body.size": size_without_carrier(bus, "compensation.refund_payment"),
        "error.type": "undelivered",
        "multiagents.sampling.keep": True,
    }


async def test_a_publish_error_goes_on_the_step(observed: Observed) -> None:
    observed.instrument(detailed_timing=False)
    bus = MemoryBus()
    bus.failures["command.charge_payment"] = ConnectionError("broker gone")
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert observed.statuses() == {
        "step.charge": "ConnectionError: broker gone",
        "workflow.order_processing": "ConnectionError: broker gone",
    }
    assert observed.exceptions == [("step.charge", "ConnectionError")]
    assert observed.root().attributes["workflow.status"] == "failed"


async def test_a_command_to_nobody_is_undelivered_on_the_step(observed: Observed) -> None:
    observed.instrument(detailed_timing=False)
    bus = AnsweringBus()
    bus.lost.add("command.validate_order")
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert observed.tree == (
        "workflow.order_processing INTERNAL ERROR undelivered\n  step.validate PRODUCER ERROR undelivered"
    )
    assert observed.one("step.validate").attributes["multiagents.event.receivers"] == 0


async def test_a_compensations_publish_error_goes_on_compensate(observed: Observed) -> None:
    observed.instrument(detailed_timing=False)
    bus = MemoryBus()
    bus.failures["compensation.refund_payment"] = ConnectionError("broker gone")
    async with order_system(bus, monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await bus.drain()
    assert observed.one("compensate.refund_payment").status == "ERROR"
    assert observed.exceptions == [
        ("worker.ship_order", "ValueError"),
        ("compensate.refund_payment", "ConnectionError"),
    ]
    assert not [s.name for s in observed.spans if s.name.startswith(("send", "process"))]


async def test_a_raising_handler_outside_a_workflow_still_gets_its_span(observed: Observed) -> None:
    async def fails(event: dict[str, Any]) -> None:
        raise ValueError("bad entry")

    async def works(event: dict[str, Any]) -> None: ...

    observed.instrument(detailed_timing=False)
    bus = MemoryBus()
    async with order_system(bus, monitors=False):
        await bus.subscribe("audit.entry", fails)
        await bus.subscribe("audit.other", works)
        await bus.publish("audit.other", {"id": "a-1"})
        with observed.tracers.get_tracer("shop").start_as_current_span("request"):
            await bus.publish("audit.entry", {"id": "a-2"})
        await bus.drain()
    assert observed.tree == "request INTERNAL\n  process audit.entry CONSUMER ERROR ValueError"
    assert observed.exceptions == [("process audit.entry", "ValueError")]


async def test_a_failed_publish_that_no_step_can_tell_of_gets_its_span(observed: Observed) -> None:
    observed.instrument(detailed_timing=False)
    bus = MemoryBus()
    bus.failures["result.validate_order"] = ConnectionError("broker gone")
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
    assert observed.one("send result.validate_order").status == "ERROR"
    assert observed.exceptions == [("send result.validate_order", "ConnectionError")]


async def test_the_workers_own_spans_hang_below_the_worker(observed: Observed) -> None:
    tracer = observed.tracers.get_tracer("shop")

    def probe(name: str, _payload: dict[str, Any]) -> None:
        with tracer.start_as_current_span(f"own {name}"):
            pass

    observed.instrument(detailed_timing=False)
    async with order_system(workers=order_workers(probe=probe), monitors=False) as system:
        await system.run()
        await system.bus.drain()
    own = [line for line in observed.tree.splitlines() if "own" in line]
    assert own == [f"      own {worker} INTERNAL" for worker in ("validate_order", "charge_payment", "ship_order")]


async def test_metrics_do_not_change() -> None:
    async def measured(detailed: bool) -> dict[str, Any]:
        observed = Observed().instrument(detailed_timing=detailed)
        bus = AnsweringBus()
        async with order_system(bus, monitors=False) as system:
            await system.run()
            await system.run(order_payload(fail_at="ship_order"))
            await bus.drain()
            bus.lost.add("command.charge_payment")
            await system.run()
            await bus.drain()
        numbers: dict[str, dict[Series, Any]] = {}
        for name, metric in observed.metrics().items():
            if name in MACHINE_METRICS:
                continue
            if hasattr(metric.data.data_points[0], "value"):
                numbers[name] = values_of(metric, zeros=True)
            else:
                numbers[name] = observed.counts(name)
        MultiAgentsInstrumentor().uninstrument()
        observed.close()
        OBSERVERS.clear()  # the next one's health is its own
        return numbers

    with_details, without = await measured(True), await measured(False)
    assert without == with_details
    assert len(without) >= 20
