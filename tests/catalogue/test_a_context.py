"""Failure catalogue A: context leaks and detach errors.

A4 does not apply as a span processor: the package has none. What it attaches, it attaches around a call of its
own (A1, A2).
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from multiagents.event_bus.events import CommandEvent, EventMetadata
from multiagents.event_bus.redis_bus import EventEncoder, RedisEventBus
from multiagents.worker_sdk.decorators import dspy_worker
from multiagents.worker_sdk.worker_manager import WorkerManager
from opentelemetry import baggage, trace
from opentelemetry import context as context_api
from opentelemetry.context import get_current
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

from tests.catalogue.observed import Observed, ambient, instrumented, records
from tests.support import trees
from tests.support.buses import MemoryBus, WireMessage
from tests.support.expected import COMPENSATED, COMPLETED, step_tree
from tests.support.sagas import (
    SilentLogger,
    order_payload,
    order_system,
    order_workers,
    subscribe_compensations,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


@pytest.fixture(autouse=True)
def nothing_failed_to_detach() -> Iterator[None]:
    """In every test of this module: no "Failed to detach context", no double end of a span."""
    with records("opentelemetry") as seen:
        yield
    assert [record.getMessage() for record in seen if record.levelno >= logging.WARNING] == []


async def started_bus(event_type: str, *handlers: Callable[..., Any], inline: bool = False) -> MemoryBus:
    """A bus that the instrumentation has met, with these handlers."""
    bus = MemoryBus(inline=inline)
    WorkerManager(bus, logger=SilentLogger())
    await bus.start()
    for handler in handlers:
        await bus.subscribe(event_type, handler)
    return bus


async def unchanged(call: Callable[[], Awaitable[Any]], raises: type[BaseException] | None = None) -> Any:
    """The call's result; every context variable is afterwards the object that it was before."""
    before, current, result = ambient(), get_current(), None
    raised: type[BaseException] | None = None
    try:
        result = await call()
    except BaseException as exception:
        raised = type(exception)
        if raises is None:
            raise
    assert raised is raises
    assert get_current() is current
    assert ambient() == before
    return result


# --- A1 ------------------------------------------------------------------------------------------


class ParkedBus(MemoryBus):
    """Its ``publish`` waits until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        await self.gate.wait()


async def test_A1_publish_is_closed_in_another_context() -> None:
    with instrumented() as observed:
        bus = ParkedBus()
        WorkerManager(bus, logger=SilentLogger())
        publishing: Any = bus.publish("a", {})
        contextvars.copy_context().run(publishing.send, None)
        contextvars.Context().run(publishing.close)
        publishing.close()
        assert trees.tree(observed.ours) == "send a PRODUCER"


async def test_A1_handler_is_closed_in_another_context() -> None:
    async def handler(_event: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    with instrumented() as observed:
        bus = await started_bus("a", handler)
        handling: Any = bus.handlers["a"][0]({"id": "1"})
        contextvars.copy_context().run(handling.send, None)
        contextvars.Context().run(handling.close)
        assert trees.tree(observed.ours) == "process a CONSUMER"
        await bus.stop()


async def test_A1_a_redis_message_that_is_closed_in_another_context_is_closed_as_without_us() -> None:
    async def handler(_event: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    with instrumented():
        bus = RedisEventBus("redis://localhost:1")
        bus.handlers["event:a"] = [handler]
        handling: Any = bus._handle_message({"type": "message", "channel": b"event:a", "data": b'{"id": "1"}'})
        contextvars.copy_context().run(handling.send, None)
        contextvars.Context().run(handling.close)  # as the garbage collector does


async def test_A1_async_generators_inside_handlers_keep_their_own_context() -> None:
    seen: list[bool] = []

    async def numbers() -> Any:
        try:
            for number in range(3):
                yield number
        finally:
            seen.append(trace.get_current_span().get_span_context().is_valid)

    async def handler(_event: dict[str, Any]) -> None:
        async for _ in numbers():
            break  # left open: the event loop closes it, in a task of its own

    with instrumented() as observed:
        bus = await started_bus("a", handler)
        await unchanged(lambda: bus.publish("a", {}))
        await bus.drain()
        gc.collect()
        await asyncio.get_running_loop().shutdown_asyncgens()
        assert len(seen) == 1
        assert trees.tree(observed.ours) == "send a PRODUCER\n  process a CONSUMER"
        await bus.stop()


# asyncio's own and the memory bus's, on a loop that is closed.
@pytest.mark.filterwarnings("ignore:.*coroutine object (Queue.get|MemoryBus)")
def test_A1_an_event_loop_that_dies_with_everything_under_way_ends_silently_and_once() -> None:
    reached = threading.Event()
    kept: list[Any] = []

    async def main() -> None:
        working = asyncio.Event()
        workers = order_workers(probe=lambda name, _: working.set() if name == "charge_payment" else None)
        system = order_system(workers=workers)
        kept.append(system)
        running = await system.__aenter__()
        await running.run(order_payload(hang_at="charge_payment"))
        await working.wait()
        reached.set()

    with instrumented() as observed, records("asyncio"):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        kept.clear()
        del loop
        gc.collect()
        ended = [trees.received(span).span_id for span in observed.ours]
        assert len(ended) == len(set(ended))
        assert observed.metric("multiagents.worker.active") == {
            ("charge_payment",): 0,
            ("ship_order",): 0,
            ("validate_order",): 0,
        }
    assert reached.is_set()


# --- A2 ------------------------------------------------------------------------------------------


async def test_A2_publish_gives_the_context_back() -> None:
    with instrumented() as observed:
        bus = await started_bus("a", inline=True)
        bus.failures["b"] = ConnectionError("gone")
        with observed.tracer.start_as_current_span("user"):
            await unchanged(lambda: bus.publish("a", {}))
            await unchanged(lambda: bus.publish("b", {}), _event_bus_exception())
            parked = ParkedBus()
            WorkerManager(parked, logger=SilentLogger())

            async def cancelled() -> None:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                await parked.publish("a", {})

            await unchanged(cancelled, asyncio.CancelledError)


@pytest.mark.parametrize("outcome", [None, KeyError, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["async", "sync", "awaitable"])
async def test_A2_handlers_give_the_context_back(outcome: type[BaseException] | None, kind: str) -> None:
    inside: list[Any] = []

    def work() -> None:
        inside.append(trace.get_current_span().get_span_context().span_id)
        if outcome is not None:
            raise outcome

    async def handle(_event: dict[str, Any]) -> None:
        work()

    def handle_sync(_event: dict[str, Any]) -> None:
        work()

    with instrumented() as observed:
        handler = {"async": handle, "sync": handle_sync, "awaitable": lambda event: handle(event)}[kind]
        bus = await started_bus("a", handler)

        async def call() -> None:
            result = bus.handlers["a"][0]({"id": "1"})
            if result is not None:
                await result  # type: ignore[unreachable,unused-ignore]

        await unchanged(call, outcome)
        process = observed.span("process a")
        assert process.context is not None
        assert inside == [process.context.span_id]
        await bus.stop()


@pytest.mark.parametrize("fail_at", [None, "ship_order"])
async def test_A2_workflow_calls_give_the_context_back(fail_at: str | None) -> None:
    with instrumented() as observed:
        async with order_system(MemoryBus(inline=True)) as system:
            with observed.tracer.start_as_current_span("user"):
                transaction = await unchanged(lambda: system.run(order_payload(fail_at=fail_at)))
            await system.bus.drain()
            result = {"id": "1", "type": "result", "command_id": "?", "success": True, "payload": {}}
            await unchanged(lambda: system.orchestrator._handle_result_event(result))
            assert await unchanged(lambda: system.orchestrator.cancel_workflow(transaction)) is True
            system.store.rows = None
            await unchanged(lambda: system.orchestrator.execute_workflow("order_processing", {}), TypeError)
            await unchanged(lambda: system.orchestrator.cancel_workflow("none"), AttributeError)


@pytest.mark.parametrize("where", ["_publish_status_event", "_execute_step", "_trigger_compensations"])
async def test_A2_steps_that_are_cancelled_give_the_context_back(where: str) -> None:
    with instrumented():
        async with order_system(workers=[]) as system:
            await system.run()
            (saga,) = system.orchestrator.active_workflows.values()

            async def cancelled(*_: object) -> None:
                raise asyncio.CancelledError

            system.store.save_context = system.bus.publish = cancelled
            step = system.orchestrator.workflow.get_steps()[0]
            argument = {"_publish_status_event": "message", "_execute_step": step}.get(where)
            arguments = (saga,) if argument is None else (saga, argument)
            await unchanged(lambda: getattr(system.orchestrator, where)(*arguments), asyncio.CancelledError)
            del system.bus.publish


@pytest.mark.parametrize("outcome", ["success", "error", "cancelled"])
async def test_A2_worker_executions_give_the_context_back(outcome: str) -> None:
    error = {"success": None, "error": ValueError, "cancelled": asyncio.CancelledError}[outcome]
    fail_at = "validate_order" if error is not None else None
    with instrumented() as observed:
        async with order_system() as system:
            payload = {} if error is None else order_payload(fail_at=fail_at, error=error)

            async def execute() -> None:
                command = _command(payload)
                before = len(system.manager._handler_tasks)
                await system.bus.handlers["command.validate_order"][0](command)
                assert len(system.manager._handler_tasks) == before + 1
                (task,) = system.manager._handler_tasks
                await asyncio.wait([task])

            await unchanged(execute)
            assert (observed.span("worker.validate_order").attributes or {})["multiagents.worker.outcome"] == outcome
            await system.bus.drain()


# --- A3, A9, A10 -----------------------------------------------------------------------------------

GARBAGE: dict[str, Any] = {
    "null": None,
    "int": 7,
    "float": 1.5,
    "true": True,
    "string": TRACEPARENT,
    "list": [TRACEPARENT],
    "empty": {},
    "nested": {"traceparent": {"traceparent": TRACEPARENT}},
    "list inside": {"traceparent": [TRACEPARENT]},
    "int inside": {"traceparent": 1, "tracestate": 2, "baggage": 3, "ts": "x", "t": [], "w": {}, "s": 1, "q": "x"},
    "huge": {"traceparent": "0" * 1_000_000, "tracestate": "a=b," * 250_000, "baggage": "a=b," * 250_000},
    "not hex": {"traceparent": f"00-{'g' * 32}-{'h' * 16}-01"},
    "zeros": {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"},
    "short": {"traceparent": f"00-{TRACE_ID[:31]}-{SPAN_ID}-01"},
    "upper case": {"traceparent": TRACEPARENT.upper()},
    "version ff": {"traceparent": f"ff{TRACEPARENT[2:]}"},
    "newline": {"traceparent": f"{TRACEPARENT}\n\n"},
    "unicode digits": {"traceparent": TRACEPARENT.replace("1", "\u0661")},
    "tracestate alone": {"tracestate": "vendor=1"},
    "garbage tracestate": {"tracestate": "=,,;;\x00\n" * 100},
    "garbage baggage": {"baggage": "=;,%%%\x00,a b=c d,é=ü,k=%zz,=v," * 10},
    "times": {"ts": -1, "q": -5},
    "wild times": {"ts": 1 << 70, "q": 1e300},
    "nan times": {"ts": float("nan"), "q": float("nan")},
    "wild names": {"t": "x" * 10_000, "w": "y" * 10_000, "s": "", "e": ["ValueError"]},
    "unknown keys": {"\x00": "1", "": "", "x" * 10_000: "y"},
}


@pytest.mark.parametrize("carrier", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("kind", ["Event", "command", "result", "status", "compensation"])
async def test_A3_A9_A10_garbage_instead_of_a_carrier_is_a_new_root_and_others_stay_joined(
    carrier: object, kind: str
) -> None:
    seen: list[dict[str, Any]] = []

    async def handler(event: dict[str, Any]) -> None:
        seen.append(event)
        assert baggage.get_all() in ({}, {"user": "7"})

    with instrumented(status_events=True) as observed, records("") as logged:
        bus = await started_bus("a", handler)
        await bus._deliver(WireMessage("a", json.dumps({"type": kind, "n": 1, "_otel": carrier})))
        good = {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "baggage": "user=7"}
        await bus._deliver(WireMessage("a", json.dumps({"type": kind, "n": 2, "_otel": good})))
        await bus.drain()
        await bus.stop()
    assert seen == [{"type": kind, "n": 1}, {"type": kind, "n": 2}]
    alone, joined = map(trees.received, observed.ours)
    assert (alone.name, alone.parent_id, alone.trace_state) == ("process a", "", "")
    assert alone.trace_id != TRACE_ID
    assert (joined.trace_id, joined.parent_id, joined.trace_state) == (TRACE_ID, SPAN_ID, "vendor=1")
    assert [record.getMessage() for record in logged if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("carrier", GARBAGE.values(), ids=GARBAGE)
async def test_A10_sagas_survive_garbage_in_the_carriers_of_commands_and_results(carrier: object) -> None:
    with instrumented() as observed, records("") as logged:
        async with order_system(workers=[]) as orchestrating, order_system() as working:
            for name in order_names():
                del working.bus.handlers[f"result.{name}"]
            transaction = await orchestrating.run()
            for worker in ("validate_order", "charge_payment", "ship_order"):
                command = orchestrating.bus.wire[-1]
                assert command.event_type == f"command.{worker}"
                before = len(working.bus.wire)
                await working.bus._deliver(command._replace(text=json.dumps({**command.event, "_otel": carrier})))
                await working.bus.drain()
                result = working.bus.wire[before]
                await orchestrating.bus._deliver(result._replace(text=json.dumps({**result.event, "_otel": carrier})))
                await orchestrating.bus.drain()
            assert (await orchestrating.orchestrator.get_status(transaction))["state"] == "completed"
        own_roots = [f"process {kind}.{w}" for w in order_names() for kind in ("command", "result")]
        assert sorted(span.name for span in trees.roots(observed.ours)) == sorted(
            [*own_roots, "workflow.order_processing"]
        )
        assert observed.metric("multiagents.workflows")["completed", "order_processing"] == 1
    assert [record.getMessage() for record in logged if record.levelno >= logging.WARNING] == []


def order_names() -> tuple[str, ...]:
    return ("validate_order", "charge_payment", "ship_order")


async def test_A3_uninstrumented_peers_take_our_events_and_give_us_theirs() -> None:
    with instrumented() as observed:
        async with order_system(workers=[]) as orchestrating:
            transaction = await orchestrating.run()
            command = orchestrating.bus.wire[-1]
    assert set(command.event["_otel"]) >= {"traceparent", "ts"}
    async with order_system() as peer:  # without us: a worker of another team, say
        await peer.bus._deliver(command)
        await peer.bus.drain()
        (result,) = [message for message in peer.bus.wire if message.event_type == "result.validate_order"]
    assert result.event["success"] is True
    assert "_otel" not in json.dumps(result.event)
    with instrumented(observed) as observed:
        async with order_system(store=orchestrating.store) as adopting:
            await adopting.bus._deliver(result)
            assert (await adopting.wait_ended(transaction))["state"] == "completed"
            await adopting.bus.drain()
    # The event of the peer starts a trace of its own; the workflow's own trace is whole.
    roots = [span.name for span in trees.roots(observed.ours)]
    assert sorted(roots) == ["process result.validate_order", "workflow.order_processing"]
    assert trees.orphans(observed.ours) == []
    (workflow,) = [group for group in trees.by_trace(observed.ours).values() if len(group) > 1]
    assert trees.tree(workflow) == COMPLETED.replace(
        step_tree("validate", "validate_order"),
        "  step.validate INTERNAL\n    send command.validate_order PRODUCER",
    )


# --- A5, A6, A7 ------------------------------------------------------------------------------------


async def test_A5_handlers_that_end_in_another_thread_end_once() -> None:
    """A bus that dispatches into a loop of its own, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    done: list[str] = []

    async def handler(event: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        done.append(event["id"])

    try:
        with instrumented() as observed:
            bus = await started_bus("a", handler)
            wrapped: Any = bus.handlers["a"][0]
            for number in range(20):
                # The call in this thread, the rest in the other one.
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(wrapped({"id": str(number)}), loop))
            assert len(done) == 20
            spans = [trees.received(span) for span in observed.ours]
            assert [span.name for span in spans] == ["process a"] * 20
            assert len({span.span_id for span in spans}) == 20
            await bus.stop()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_A5_sync_handlers_in_many_threads_end_once_each_in_their_own_trace() -> None:
    def handler(event: dict[str, Any]) -> None:
        barrier.wait()
        seen[event["n"]] = trace.get_current_span().get_span_context().trace_id

    barrier, seen = threading.Barrier(8), dict[int, int]()
    with instrumented() as observed:
        bus = asyncio.run(started_bus("a", handler, inline=True))
        wrapped: Any = bus.handlers["a"][0]
        carriers = {n: {"traceparent": f"00-{n + 1:032x}-{n + 1:016x}-01"} for n in range(8)}
        threads = [
            threading.Thread(target=wrapped, args=({"n": n, "_otel": carrier},)) for n, carrier in carriers.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == {n: n + 1 for n in range(8)}
        assert sorted(span.trace_id for span in map(trees.received, observed.ours)) == [
            f"{n + 1:032x}" for n in range(8)
        ]
        assert observed.metric("multiagents.events")["Event", "success"] == 8


async def test_A6_messages_do_not_inherit_the_context_of_whoever_subscribed_first() -> None:
    seen: list[tuple[int, dict[str, Any]]] = []

    async def handler(_event: dict[str, Any]) -> None:
        seen.append((trace.get_current_span().get_span_context().trace_id, dict(baggage.get_all())))

    with instrumented() as observed:
        with observed.tracer.start_as_current_span("startup") as startup:
            token = context_api.attach(baggage.set_baggage("who", "startup"))
            bus = await started_bus("a", handler)
            context_api.detach(token)
        traces = []
        for name in ("one", "two"):
            with observed.tracer.start_as_current_span(name) as span:
                traces.append(span.get_span_context().trace_id)
                await bus.publish("a", {})
        await bus.drain()
        assert seen == [(trace_id, {}) for trace_id in traces]
        assert startup.get_span_context().trace_id not in traces
        assert len(set(traces)) == 2
        await bus.stop()


@pytest.mark.parametrize("sync", [(), order_names()], ids=["async", "sync"])
async def test_A7_spans_of_workers_hang_below_their_worker_span(sync: tuple[str, ...]) -> None:
    observed = Observed()

    def probe(name: str, _payload: dict[str, Any]) -> None:
        with observed.tracer.start_as_current_span(f"llm {name}"):
            pass

    with instrumented(observed):
        async with order_system(workers=order_workers(sync=sync, probe=probe)) as system:
            await system.wait_ended(await system.run())
            await system.bus.drain()
    for name in order_names():
        worker, child = observed.span(f"worker.{name}"), observed.span(f"llm {name}")
        assert worker.context is not None
        assert child.parent is not None
        assert (child.parent.trace_id, child.parent.span_id) == (worker.context.trace_id, worker.context.span_id)
    assert trees.tree(observed.ours) == COMPLETED


async def test_A7_sync_functions_of_dspy_workers_hang_below_their_worker_span() -> None:
    observed = Observed()

    def work(_context: dict[str, Any]) -> dict[str, Any]:
        with observed.tracer.start_as_current_span("llm"):
            return {"thread": threading.current_thread().name}

    worker: Any = dspy_worker("validate_order")(work)
    worker.dspy_module = lambda **_inputs: SimpleNamespace(answer="yes")
    with instrumented(observed):
        async with order_system(workers=[worker]) as system:
            await system.bus._deliver(WireMessage("command.validate_order", json.dumps(_command({}), cls=EventEncoder)))
            await system.bus.drain()
            (result,) = [m.event for m in system.bus.wire if m.event_type == "result.validate_order"]
    assert result["payload"]["thread"] != threading.current_thread().name
    child, parent = observed.span("llm").parent, observed.span("worker.validate_order").context
    assert child is not None
    assert parent is not None
    assert child.span_id == parent.span_id


async def test_A7_the_executor_of_sync_workers_is_the_applications_own_once_uninstrumented() -> None:
    seen: list[bool] = []
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def probe(_name: str, _payload: dict[str, Any]) -> None:
        seen.append(variable.get() == "set")

    async def run() -> None:
        variable.set("set")
        async with order_system(workers=order_workers(sync=order_names(), probe=probe)) as system:
            await system.wait_ended(await system.run())

    with instrumented():
        await asyncio.create_task(run())
    await asyncio.create_task(run())
    assert seen == [True] * 3 + [False] * 3


# --- A8 ----------------------------------------------------------------------------------------------


async def test_A8_an_unsampled_trace_reaches_the_consumer_unsampled() -> None:
    contexts: list[trace.SpanContext] = []

    def probe(_name: str, _payload: dict[str, Any]) -> None:
        contexts.append(trace.get_current_span().get_span_context())

    with instrumented(Observed(sampler=ALWAYS_OFF)) as observed:
        async with order_system(workers=order_workers(probe=probe)) as system:
            await system.wait_ended(await system.run())
            await system.bus.drain()
            carriers = [m.event["_otel"]["traceparent"] for m in system.bus.wire if "status" not in m.event_type]
    assert observed.spans == []
    assert len({context.trace_id for context in contexts}) == 1
    assert all(context.is_valid and not context.trace_flags.sampled for context in contexts)
    assert {carrier.split("-")[1] for carrier in carriers} == {f"{contexts[0].trace_id:032x}"}
    assert {carrier.split("-")[3] for carrier in carriers} <= {"00", "02"}


async def test_A8_a_parents_decision_not_to_sample_holds_over_there() -> None:
    remote = trace.NonRecordingSpan(trace.SpanContext(int(TRACE_ID, 16), int(SPAN_ID, 16), True))
    with instrumented(Observed(sampler=ParentBased(ALWAYS_ON))) as observed:
        seen: list[trace.SpanContext] = []

        async def handler(_event: dict[str, Any]) -> None:
            seen.append(trace.get_current_span().get_span_context())

        bus = await started_bus("a", handler)
        with trace.use_span(remote):
            await bus.publish("a", {})
        await bus.drain()
        await bus.stop()
    assert [(context.trace_id, context.trace_flags.sampled) for context in seen] == [(int(TRACE_ID, 16), False)]
    assert observed.spans == []


async def test_A8_suppressed_code_hands_the_context_on() -> None:
    with instrumented() as observed:
        seen: list[int] = []

        async def handler(_event: dict[str, Any]) -> None:
            seen.append(trace.get_current_span().get_span_context().trace_id)

        bus = await started_bus("a", handler)
        with observed.tracer.start_as_current_span("user") as user, suppress_instrumentation():
            await bus.publish("a", {})
        await bus.drain()
        await bus.stop()
        assert seen == [user.get_span_context().trace_id]
        assert trees.tree(observed.spans) == "user INTERNAL\n  process a CONSUMER"


# --- A11, A12 ----------------------------------------------------------------------------------------


class Event(dict[str, Any]):
    """A mapping of the application's own."""


@pytest.mark.parametrize("make", [dict, Event], ids=["dict", "subclass"])
async def test_A11_the_publishers_event_is_deep_equal_afterwards(make: type[dict[str, Any]]) -> None:
    with instrumented():
        bus = await started_bus("a", inline=True)
        bus.failures["b"] = ConnectionError("gone")
        event = make(id="1", metadata={"tags": ["x"], "transaction_id": "t"}, payload={"n": [1, {"a": None}]})
        inner = event["payload"]
        before = copy.deepcopy(event)
        for event_type in ("a", "b"):
            with pytest.raises(_event_bus_exception()) if event_type == "b" else _nothing():
                await bus.publish(event_type, event)
            assert event == before
            assert list(event) == list(before)
            assert event["payload"] is inner


@pytest.mark.parametrize("nested", [False, True], ids=["later", "inside the handler"])
async def test_A11_an_event_that_is_published_again_carries_its_new_parent(nested: bool) -> None:
    """A forwarder may get the raw message, an old carrier in it, from a bus that nobody unwraps it for."""
    with instrumented() as observed:

        async def forward(event: dict[str, Any]) -> None:
            await bus.publish("b", event)

        bus = await started_bus("a", *([forward] if nested else []))
        with observed.tracer.start_as_current_span("first"):
            await bus.publish("a", {"id": "1"})
        await bus.drain()
        raw = bus.wire[0].event
        assert "_otel" in raw
        if not nested:
            with observed.tracer.start_as_current_span("second"):
                await bus.publish("b", raw)
        (again,) = [message for message in bus.wire if message.event_type == "b"]
        sent = trees.received(observed.span("send b"))
        assert again.event["_otel"]["traceparent"].startswith(f"00-{sent.trace_id}-{sent.span_id}-")
        assert trees.received(observed.span("first" if nested else "second")).trace_id == sent.trace_id
        assert again.event == {"id": "1", "_otel": again.event["_otel"]}
        await bus.stop()


async def test_A12_baggage_makes_the_round_trip() -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    with instrumented() as observed:

        def probe(name: str, _payload: dict[str, Any]) -> None:
            seen.append((name, dict(baggage.get_all())))

        async with order_system(workers=order_workers(sync=["charge_payment"], probe=probe)) as system:
            token = context_api.attach(baggage.set_baggage("user", "ünï=7, a"))
            transaction = await system.run()
            context_api.detach(token)
            await system.wait_ended(transaction)
            await system.bus.drain()
    assert seen == [(name, {"user": "ünï=7, a"}) for name in order_names()]
    assert trees.tree(observed.ours) == COMPLETED


async def test_A2_the_tree_of_a_compensated_saga_is_whole_with_contexts_given_back() -> None:
    with instrumented() as observed:
        async with order_system() as system:
            await subscribe_compensations(system.bus)
            before = ambient()
            await system.wait_ended(await system.run(order_payload(fail_at="ship_order")))
            await system.bus.drain()
            assert ambient() == before
    assert trees.tree(observed.ours) == COMPENSATED


def _command(payload: dict[str, Any]) -> dict[str, Any]:
    from multiagents.event_bus.events import CommandEvent, EventMetadata

    metadata = EventMetadata(transaction_id="t", correlation_id="t.validate", source="test")
    command: dict[str, Any] = CommandEvent(metadata=metadata, worker_type="validate_order", payload=payload).dict()
    return command


def _event_bus_exception() -> type[Exception]:
    from multiagents.core.exceptions import EventBusException

    kind: type[Exception] = EventBusException
    return kind


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


class Restless:
    """Suspends once: whoever drives the coroutine can change the context there."""

    def __await__(self) -> Any:
        yield


class RestlessBus(MemoryBus):
    """Suspends in ``publish``."""

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        await super().publish(event_type, event_data)
        await Restless()


def driven(coroutine: Any) -> Any:
    """The coroutine's result, each of its parts run in another context, as no asyncio task does but others may."""
    while True:
        try:
            contextvars.Context().run(coroutine.send, None)
        except StopIteration as stop:
            return stop.value


async def test_A5_calls_that_end_in_another_context_end_silently_and_once() -> None:
    async def handler(_event: dict[str, Any]) -> Any:
        await Restless()
        return "done"

    with instrumented() as observed:
        bus = RestlessBus(inline=True)
        async with order_system(bus, workers=[]) as system:
            driven(bus.publish("a", {}))
            transaction = driven(system.run())
            assert driven(system.orchestrator.cancel_workflow(transaction)) is True
            await bus.subscribe("b", handler)
            wrapped: Any = bus.handlers["b"][0]
            assert driven(wrapped({})) == "done"
    names = [span.name for span in observed.ours]
    assert sorted(names) == [
        "process b",
        "send a",
        "send command.validate_order",
        "step.validate",
        "workflow.order_processing",
    ]


async def driven_on(coroutine: Any) -> Any:
    """The coroutine's result, all but its first part run in other contexts."""
    within = contextvars.copy_context()
    while True:
        try:
            waits_for = within.run(coroutine.send, None)
        except StopIteration as stop:
            return stop.value
        if waits_for is not None:
            waits_for._asyncio_future_blocking = False
            await asyncio.wait([waits_for])
        within = contextvars.Context()


class DrivingManager(WorkerManager):
    async def _handle_command(self, worker: Any, event_data: Any) -> None:
        await driven_on(self._execute_worker_with_timeout(worker, CommandEvent(**event_data)))


async def test_A5_an_execution_that_ends_in_another_context_ends_its_command_too() -> None:
    with instrumented() as observed:
        bus = MemoryBus()
        manager = DrivingManager(bus, logger=SilentLogger())
        manager.register(order_workers()[0])
        await bus.start()
        await manager.start()
        metadata = EventMetadata(transaction_id="t", correlation_id="t.validate", source="test")
        command = CommandEvent(metadata=metadata, worker_type="validate_order", payload=order_payload())
        await bus.publish("command.validate_order", command.dict())
        await bus.drain()
        await manager.stop()
        await bus.stop()
        assert observed.metric("multiagents.events")["CommandEvent", "success"] == 1
    assert {span.name for span in observed.ours} >= {"process command.validate_order", "worker.validate_order"}
    assert observed.span("process command.validate_order").status.is_unset
