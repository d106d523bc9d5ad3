"""Rows D1 and D4 to D14: spans that never end, end twice, end wrong, or tell a failure wrong.

D2 and D3 are in test_d_memory.py and test_d_gauges.py, D1 after a crash in tests/integration/test_crashes.py, D12 in
tests/integration/test_end_of_process.py.

* D6: the framework turns every exception of a worker into a failed step, so there is no control flow to leave out;
  a failed validation is told apart by its ``error.type``.
* D11: a worker's result is a dict; there is no stream to close early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind

from multiagents_otel import instrument_event_bus, semconv
from multiagents_otel.config import Options
from multiagents_otel.core.trace_context import EMPTY
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.execution import WorkerProxy
from multiagents_otel.telemetry.failure import Failure
from multiagents_otel.telemetry.operation import Operation
from tests.contract.observed import Observed, series
from tests.support.buses import MemoryBus
from tests.support.deadline import DEADLINE
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload, order_system, order_workers, redis_parts

_CHARGE = ("worker.name", "charge_payment")


class Open(SpanProcessor):
    """Counts the spans that have started and not ended."""

    def __init__(self) -> None:
        self.started = 0
        self.ended = 0

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.started += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.ended += 1


@pytest.fixture
def observed() -> Iterator[Observed]:
    observed = Observed()
    yield observed
    observed.close()


@pytest.mark.parametrize("ends", ["success", "error", "timeout", "stop", "cancelled task"])
async def test_D1_every_span_that_was_started_ends(observed: Observed, ends: str) -> None:
    spans = Open()
    observed.tracers.add_span_processor(spans)
    observed.instrument()
    payload = {
        "success": order_payload(),
        "error": order_payload(fail_at="ship_order"),
    }.get(ends, order_payload(hang_at="charge_payment"))
    working = asyncio.Event()
    workers = order_workers(probe=lambda name, _payload: working.set() if name == "charge_payment" else None)
    async with order_system(workers=workers, timeout=1 if ends == "timeout" else 300) as system:
        transaction = await system.run(payload)
        if ends in ("success", "error", "timeout"):
            await system.wait_ended(transaction)
            await system.bus.drain()
        else:
            await asyncio.wait_for(working.wait(), DEADLINE)
            if ends == "stop":
                await system.manager.stop()
            for task in system.manager._handler_tasks:
                task.cancel()
            await asyncio.gather(*system.manager._handler_tasks, return_exceptions=True)
    assert spans.started == spans.ended > 0


async def test_D4_a_worker_that_is_cancelled_at_shutdown_did_not_fail(observed: Observed) -> None:
    observed.instrument()
    working = asyncio.Event()
    workers = order_workers(probe=lambda *_: working.set())
    async with order_system(workers=workers) as system:
        await system.run(order_payload(hang_at="validate_order"))
        await asyncio.wait_for(working.wait(), DEADLINE)
        await system.manager.stop()
        await asyncio.gather(*system.manager._handler_tasks, return_exceptions=True)
    worker = observed.one("worker.validate_order")
    assert (worker.status, worker.attributes[semconv.WORKER_OUTCOME], worker.events) == ("UNSET", "cancelled", ())


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (order_payload(), ("UNSET", "success", None, 0)),
        (order_payload(fail_at="charge_payment"), ("ERROR", "error", "ValueError", 1)),
        (order_payload(hang_at="charge_payment"), ("ERROR", "timeout", "timeout", 0)),
    ],
    ids=["success", "exception", "timeout"],
)
async def test_D4_each_end_of_a_worker_has_its_status(
    observed: Observed, payload: dict[str, Any], expected: tuple[str, str, str | None, int]
) -> None:
    observed.instrument()
    async with order_system(timeout=1) as system:
        await system.wait_ended(await system.run(payload))
        await system.bus.drain()
    worker = observed.one("worker.charge_payment")
    told = (worker.attributes[semconv.WORKER_OUTCOME], worker.attributes.get("error.type"), len(worker.events))
    assert (worker.status, *told) == expected
    status = "success" if expected[0] == "UNSET" else "error"  # a timeout is an error
    counted = {key: n for key, n in observed.sums(semconv.WORKER_EXECUTIONS.name).items() if _CHARGE in key}
    assert counted == {series(worker__name="charge_payment", status=status): 1}


async def test_D4_a_coroutine_that_is_closed_half_way_did_not_fail(observed: Observed) -> None:
    observed.instrument()
    bus = SlowBus()
    instrument_event_bus(bus)
    publishing: Any = bus.publish("user.event", {"id": "1"})
    publishing.send(None)
    publishing.close()
    span = observed.one("send user.event")
    assert (span.status, span.attributes.get("error.type"), span.events) == ("UNSET", None, ())


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
async def test_D4_what_ends_the_process_is_an_error_of_its_own_class(
    observed: Observed, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    observed.instrument()
    seen: list[BaseException] = []
    original = WorkerProxy.process

    async def caught(proxy: WorkerProxy, *args: Any) -> Any:
        try:
            return await original(proxy, *args)
        except (KeyboardInterrupt, SystemExit) as error:  # it would end the test run
            seen.append(error)
            return {}

    async def process(_context: dict[str, Any]) -> dict[str, Any]:
        raise raised

    monkeypatch.setattr(WorkerProxy, "process", caught)
    async with order_system() as system:
        monkeypatch.setattr(system.manager.workers["validate_order"], "process", process)
        await system.bus.publish("command.validate_order", _command())
        await system.bus.drain()
    worker = observed.one("worker.validate_order")
    assert [type(error) for error in seen] == [raised]
    assert (worker.status, worker.attributes["error.type"]) == ("ERROR", raised.__name__)


@pytest.mark.parametrize("sync", [(), ("ship_order",)], ids=["async", "sync"])
async def test_D5_D7_one_exception_event_in_a_trace_of_the_cause_s_class(
    observed: Observed, sync: tuple[str, ...]
) -> None:
    observed.instrument()
    async with order_system(workers=order_workers(sync=sync)) as system:
        await system.wait_ended(await system.run(order_payload(fail_at="ship_order", error=ValueError)))
        await system.bus.drain()
    assert observed.exceptions == [("worker.ship_order", "ValueError")]
    errors = {span.name: span.attributes["error.type"] for span in map(observed.one, observed.statuses())}
    assert errors["worker.ship_order"] == errors["step.ship"] == errors["workflow.order_processing"] == "ValueError"


async def test_D6_a_failed_validation_is_told_apart(observed: Observed) -> None:
    observed.instrument()
    async with order_system() as system:
        worker: Any = system.manager.workers["validate_order"]
        worker.validate_input = lambda _context: False
        await system.wait_ended(await system.run())
        await system.bus.drain()
    assert observed.one("worker.validate_order").attributes["error.type"] == (
        "multiagents.core.exceptions.ValidationException"
    )


class SlowBus(MemoryBus):
    """Its publish, and the first handler of a command, take 50 ms."""

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        await asyncio.sleep(0.05)
        await super().publish(event_type, event_data)


async def test_D8_a_span_covers_all_of_its_operation(observed: Observed) -> None:
    observed.instrument()

    async def slow(_event: dict[str, Any]) -> None:
        await asyncio.sleep(0.05)

    bus = SlowBus()
    instrument_event_bus(bus)
    await bus.start()
    await bus.subscribe("user.event", slow)
    await bus.publish("user.event", {"id": "1"})
    await bus.drain()
    await bus.stop()
    for name in ("send user.event", "process user.event"):
        span = observed.one(name)
        assert span.end_ns - span.start_ns >= 50_000_000


async def test_D9_results_that_come_early_twice_or_late_end_nothing_twice(observed: Observed) -> None:
    observed.instrument()
    async with order_system() as system:
        early = {**_result("validate_order"), "command_id": "not published yet"}
        await system.bus.publish("result.validate_order", early)
        transaction = await system.run()
        await system.wait_ended(transaction)
        last = [message.event for message in system.bus.wire if message.event_type == "result.ship_order"][-1]
        for _ in range(2):
            await system.bus.publish("result.ship_order", last)
        await system.bus.drain()
    assert len(observed.named("workflow.order_processing")) == 1
    assert [len(observed.named(f"step.{step}")) for step in ("validate", "charge", "ship")] == [1, 1, 1]
    assert sum(observed.sums(semconv.EVENTS_STALE.name).values()) == 3


async def test_D9_a_result_that_comes_after_the_timeout_ends_nothing_again(observed: Observed) -> None:
    observed.instrument()
    async with order_system(timeout=1) as system:
        await system.wait_ended(await system.run(order_payload(hang_at="charge_payment")))
        await system.bus.drain()
        before = observed.tree
        timed_out = next(message.event for message in system.bus.wire if message.event_type == "result.charge_payment")
        late = {key: value for key, value in timed_out.items() if key != semconv.CARRIER_KEY}
        observed.exported.clear()
        await system.bus.publish("result.charge_payment", late | {"success": True, "error_message": None})
        await system.bus.drain()
    assert before.count("workflow.order_processing INTERNAL ERROR timeout") == 1
    assert before.count("step.charge INTERNAL ERROR timeout") == 1
    assert not [span.name for span in observed.spans if span.name.startswith(("workflow.", "step."))]
    # The framework goes on from the late success, in a workflow that has ended: the next result is as stale.
    assert observed.sums(semconv.EVENTS_STALE.name) == {
        series(worker__name="charge_payment"): 1,
        series(worker__name="ship_order"): 1,
    }


async def test_D10_the_process_span_of_a_command_lasts_until_its_worker_is_done(observed: Observed) -> None:
    observed.instrument()
    async with order_system() as system:
        await system.wait_ended(await system.run())
        await system.bus.drain()
    process, worker = observed.one("process command.ship_order"), observed.one("worker.ship_order")
    assert process.start_ns <= worker.start_ns <= worker.end_ns <= process.end_ns


async def test_D13_a_listener_that_polls_and_gets_nothing_leaves_no_trace(observed: Observed) -> None:
    observed.instrument()
    polls = 0
    with RedisServer() as server:
        bus: Any = redis_parts(server.url)[0]
        await bus.start()
        enough = asyncio.Event()
        await bus.subscribe("user.event", lambda _event: asyncio.sleep(0))
        original = bus.pubsub.get_message

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal polls
            polls += 1
            if polls == 1_000:
                enough.set()
            return await original(*args, timeout=0.0, **kwargs)  # as the framework does

        bus.pubsub.get_message = counted
        await asyncio.wait_for(enough.wait(), DEADLINE)
        await bus.stop()
    assert polls >= 1_000
    assert observed.spans == []
    counters = [row.name for row in semconv.INSTRUMENTS if row.kind == semconv.COUNTER]
    histograms = [row.name for row in semconv.INSTRUMENTS if row.kind == semconv.HISTOGRAM]
    assert {name: observed.sums(name) for name in counters if observed.sums(name)} == {}
    assert {name: observed.counts(name) for name in histograms if observed.counts(name)} == {}


async def test_D14_an_operation_that_is_ended_again_stays_as_it_was(observed: Observed) -> None:
    operation = Operation(Telemetry(Options(), observed.tracers, observed.meters), EMPTY)
    operation.open("once", SpanKind.INTERNAL, {})
    operation.close()
    operation.close(Failure("late"))
    assert [(span.name, span.status) for span in map(observed.one, ["once"])] == [("once", "UNSET")]


def _command() -> dict[str, Any]:
    metadata = {"transaction_id": "t", "correlation_id": "t.validate", "source": "test"}
    return {"id": "c", "type": "command", "worker_type": "validate_order", "metadata": metadata, "payload": {}}


def _result(worker: str) -> dict[str, Any]:
    metadata = {"transaction_id": "unknown", "correlation_id": "unknown.validate", "source": worker}
    return {"id": "r", "type": "result", "metadata": metadata, "payload": {}, "command_id": "c", "success": True}
