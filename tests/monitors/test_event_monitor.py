"""What an EventMonitor tells of events that are tracked by hand, called back, lost, or of odd shapes."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import weakref
from typing import Any

import pytest
from multiagents.event_bus.events import (
    CommandEvent,
    CompensationEvent,
    ErrorEvent,
    EventMetadata,
    EventType,
    ResultEvent,
    StatusEvent,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode

from multiagents_otel import EventMonitor, WorkerMonitor
from tests.contract.answering import AnsweringBus
from tests.contract.observed import Observed, series
from tests.monitors.conftest import Clock
from tests.support.sagas import order_payload, order_system


def metadata(transaction: str = "TX-123", step: str = "charge") -> EventMetadata:
    return EventMetadata(transaction_id=transaction, correlation_id=f"{transaction}.{step}", source="charge_payment")


def command(transaction: str = "TX-123") -> CommandEvent:
    return CommandEvent(metadata=metadata(transaction), worker_type="charge_payment", payload={"amount": 1})


def result(of: CommandEvent, *, success: bool = True, **more: Any) -> ResultEvent:
    return ResultEvent(metadata=of.metadata, command_id=of.id, success=success, **more)


async def counts(monitor: EventMonitor, kind: Any) -> tuple[int, int, int, int]:
    told = await monitor.get_event_type_metrics(kind)
    return told["count"], told["success_count"], told["error_count"], told["timeout_count"]


async def stages(monitor: EventMonitor, transaction: str = "TX-123") -> list[tuple[str, str]]:
    return [(entry["event_type"], entry["stage"]) for entry in await monitor.get_transaction_trace(transaction)]


# --- by hand -------------------------------------------------------------------------------------


async def test_the_guide_s_three_stages_are_two_events_and_one_answered_command() -> None:
    monitor, sent = EventMonitor(), command()
    await monitor.track_event_lifecycle(sent, "published")
    await monitor.track_event_lifecycle(sent, "received")
    await monitor.track_event_lifecycle(result(sent), "completed")
    metrics = await monitor.get_event_metrics(time_window_minutes=60)
    assert metrics["total_events"] == 2
    assert metrics["events_by_type"] == {"CommandEvent": 1, "ResultEvent": 1}
    assert (metrics["success_rate"], metrics["error_rate"], metrics["pending"]) == (100.0, 0.0, 0)
    assert 0 < metrics["avg_latency_ms"] < 1e4, "the command's, from its publication until its result"
    assert await stages(monitor) == [
        ("CommandEvent", "published"),
        ("CommandEvent", "received"),
        ("CommandEvent", "completed"),
        ("ResultEvent", "completed"),
    ] or await stages(monitor) == [
        ("CommandEvent", "published"),
        ("CommandEvent", "received"),
        ("ResultEvent", "completed"),
        ("CommandEvent", "completed"),
    ]
    first = (await monitor.get_transaction_trace("TX-123"))[0]
    assert first["event_id"] == sent.id
    assert (first["name"], first["worker"]) == ("command.charge_payment", "charge_payment")
    assert len(first["timestamp"]) == len("2026-01-01T00:00:00.000000+00:00")
    assert first["timestamp"].endswith("+00:00")


@pytest.mark.parametrize("as_dict", [False, True], ids=["events", "dicts"])
async def test_every_class_of_event_by_hand_has_the_outcome_that_it_means(as_dict: bool) -> None:
    monitor = EventMonitor()
    first, second, third = command(), command(), command()
    timeout = {"error_type": "timeout"}
    tracked: list[tuple[Any, str]] = [
        (first, "published"),
        (result(first, success=False, error_message="declined"), "published"),
        (second, "published"),
        (result(second, success=False, error_message="late", error_details=timeout), "completed"),
        (third, "error"),
        (ErrorEvent(metadata=metadata(), error_code="E", error_message="broken"), "published"),
        (StatusEvent(metadata=metadata(), status="started"), "published"),
        (StatusEvent(metadata=metadata(), status="started"), "error"),
        (CompensationEvent(metadata=metadata(), original_command_id="c", compensation_type="refund"), "undelivered"),
    ]
    for event, stage in tracked:
        await monitor.track_event_lifecycle(event.model_dump() if as_dict else event, stage)
    assert await counts(monitor, "CommandEvent") == (3, 0, 3, 1)
    assert await counts(monitor, EventType.RESULT) == (2, 0, 2, 1)
    assert await counts(monitor, "error") == (1, 0, 1, 0)
    assert await counts(monitor, "status") == (2, 1, 1, 0)
    assert await counts(monitor, "CompensationEvent") == (1, 0, 1, 0)
    metrics = await monitor.get_event_metrics()
    assert metrics["total_events"] == 9
    assert metrics["events_by_status"] == {"success": 1, "error": 6, "timeout": 2, "pending": 0}
    json.dumps([metrics, await monitor.get_transaction_trace("TX-123")])


async def test_an_event_counts_once_however_often_it_is_tracked() -> None:
    monitor, sent = EventMonitor(), command()
    for stage in ("published", "published", "received", "mine", "completed", "completed", "error"):
        await monitor.track_event_lifecycle(sent, stage)
    assert await counts(monitor, "command") == (1, 1, 0, 0), "the first outcome stays"
    assert await stages(monitor) == [
        ("CommandEvent", stage) for stage in ("published", "received", "mine", "completed", "error")
    ]


async def test_an_event_that_tells_little_is_told_of_as_far_as_it_goes() -> None:
    monitor = EventMonitor()
    await monitor.track_event_lifecycle({"id": "a", "type": "command", "transaction_id": "TX-123"}, "published")
    (entry,) = await monitor.get_transaction_trace("TX-123")
    assert (entry["event_type"], entry["name"], entry["worker"]) == ("CommandEvent", "command", None)
    await monitor.track_event_lifecycle({"type": "command", "metadata": {"transaction_id": "TX-123"}}, "published")
    assert len(await monitor.get_transaction_trace("TX-123")) == 2
    assert await counts(monitor, "command") == (1, 0, 0, 0), "without an id it can't be counted once"


async def test_a_user_s_own_word_changes_no_outcome() -> None:
    monitor, sent = EventMonitor(), command()
    await monitor.track_event_lifecycle(sent, "checked")
    assert await counts(monitor, "command") == (1, 0, 0, 0)
    assert (await monitor.get_event_metrics())["pending"] == 1


async def test_custom_events_are_in_the_trace_and_in_no_total() -> None:
    monitor = EventMonitor()
    data = {"order_id": "ORDER-123", "total_value": 299.99, "transaction_id": "TX-789"}
    await monitor.track_custom_event({"event_name": "order_completed", "data": data})
    (entry,) = await monitor.get_transaction_trace("TX-789")
    assert (entry["event_type"], entry["stage"]) == ("order_completed", "custom")
    assert (await monitor.get_event_metrics())["total_events"] == 0
    assert await counts(monitor, "CustomEvent") == (1, 0, 0, 0)
    assert "299.99" not in json.dumps(entry)


async def test_a_subclass_that_samples_what_is_tracked_by_hand_leaves_the_counts_exact(observed: Observed) -> None:
    class SamplingEventMonitor(EventMonitor):
        async def track_event_lifecycle(self, event: Any, stage: Any) -> None:
            raise AssertionError("operations do not come this way")

    observed.instrument()
    monitor = SamplingEventMonitor()
    async with order_system() as system:
        await system.wait_ended(await system.run())
        await system.bus.drain()
    assert await counts(monitor, "command") == (3, 3, 0, 0)


# --- what operations tell ------------------------------------------------------------------------


async def test_what_nobody_received_and_what_could_not_be_published_are_errors(observed: Observed) -> None:
    observed.instrument()
    monitor, workers = EventMonitor(), WorkerMonitor()
    bus = AnsweringBus()
    async with order_system(bus) as system:
        bus.lost = {"command.charge_payment"}
        await system.wait_ended(await system.run(), states=("running", "step_completed"))
        await bus.drain()
        bus.lost, bus.failures = set(), {"command.validate_order": ConnectionError("password=hunter2")}
        failed = await system.run()
        await bus.drain()
    assert await counts(monitor, "command") == (3, 1, 2, 0)
    exported = observed.sums("multiagents.events")
    assert exported[series(event__type="CommandEvent", status="error")] == 2
    trace = await monitor.get_transaction_trace(failed)
    (error,) = [entry for entry in trace if entry["stage"] == "error"]
    assert "hunter2" not in json.dumps(trace)
    assert "password" in error["error"]
    health = await workers.check_worker_health("charge_payment")
    assert health["status"] == "failed"
    assert health["issues"] == [
        "1 command for it reached nobody: start a WorkerManager with this worker, on the same channels"
    ]


async def test_excluded_events_are_not_counted(observed: Observed) -> None:
    observed.instrument(excluded_events="status.*,result.ship_order", excluded_workers="charge_payment")
    monitor: Any = EventMonitor()
    workers: Any = WorkerMonitor()
    async with order_system() as system:
        system.manager.event_monitor, system.manager.worker_monitor = monitor, workers
        await system.wait_ended(await system.run())
        await system.bus.drain()
    assert (await monitor.get_event_metrics())["events_by_type"] == {"CommandEvent": 3, "ResultEvent": 2}
    summary = await workers.get_worker_performance_summary()
    executed = {name for name, m in summary["worker_metrics"].items() if m["total_executions"]}
    assert executed == {"validate_order", "ship_order"}


async def test_a_result_that_no_step_waits_for_is_stale_in_the_trace(observed: Observed) -> None:
    observed.instrument()
    monitor = EventMonitor()
    async with order_system() as system:
        transaction = await system.run()
        await system.wait_ended(transaction)
        late = result(command(transaction)).model_dump(mode="json")
        await system.bus.publish("result.charge_payment", late)
        await system.bus.drain()
    trace = await monitor.get_transaction_trace(transaction)
    assert [entry["stage"] for entry in trace if entry["event_id"] == late["id"]] == [
        "published",
        "received",
        "stale",
        "completed",
    ]


async def test_monitors_see_what_comes_after_their_construction_each_for_itself(observed: Observed) -> None:
    observed.instrument()
    first = EventMonitor()
    async with order_system() as system:
        await system.wait_ended(await system.run())
        await system.bus.drain()
        second = EventMonitor()
        await system.wait_ended(await system.run(order_payload(fail_at="ship_order")))
        await system.bus.drain()
    assert await counts(first, "command") == (6, 5, 1, 0)
    assert await counts(second, "command") == (3, 2, 1, 0)


async def test_events_are_counted_where_nothing_is_recorded_at_all() -> None:
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.trace import NoOpTracerProvider

    from multiagents_otel import MultiAgentsInstrumentor

    MultiAgentsInstrumentor().instrument(tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
    monitor = EventMonitor()
    async with order_system() as system:
        await system.wait_ended(await system.run())
        await system.bus.drain()
    assert await counts(monitor, "command") == await counts(monitor, "result") == (3, 3, 0, 0)
    assert (await monitor.get_event_type_metrics("command"))["p95_latency_ms"] > 0


async def test_spans_that_somebody_else_made_count_and_our_own_do_not_count_again(observed: Observed) -> None:
    observed.instrument()
    events, workers = EventMonitor(), WorkerMonitor()
    foreign = TracerProvider()
    for provider in (observed.tracers, foreign):
        for monitor in (events, workers):
            provider.add_span_processor(monitor)
    async with order_system() as system:
        await system.wait_ended(await system.run())
        await system.bus.drain()
    assert await counts(events, "command") == (3, 3, 0, 0)
    tracer = foreign.get_tracer("multiagents_otel")
    ids = {"messaging.message.id": "one", "event.type": "CommandEvent", "workflow.transaction_id": "TX-9"}
    with tracer.start_as_current_span(
        "send command.mine", kind=SpanKind.PRODUCER, attributes={**ids, "messaging.operation.type": "send"}
    ):
        pass
    attributes = {**ids, "messaging.operation.type": "process"}
    with (
        tracer.start_as_current_span("process command.mine", kind=SpanKind.CONSUMER, attributes=attributes) as process,
        tracer.start_as_current_span("worker.mine", attributes={"worker.name": "mine"}) as worker,
    ):
        worker.set_status(Status(StatusCode.ERROR, "declined"))
        process.set_status(Status(StatusCode.ERROR))
    with tracer.start_as_current_span("GET /", attributes={"worker.name": "none"}):
        pass
    assert await counts(events, "command") == (4, 3, 1, 0)
    assert [stage for _kind, stage in await stages(events, "TX-9")] == ["published", "received", "error"]
    performance = await workers.get_worker_performance("mine")
    assert (performance["total_executions"], performance["error_count"]) == (1, 1)
    assert (await workers.get_worker_performance_summary())["total_workers"] == 4
    foreign.shutdown()


async def test_a_monitor_that_nobody_keeps_is_let_go(observed: Observed) -> None:
    observed.instrument()
    gone = weakref.ref(EventMonitor())
    gc.collect()
    assert gone() is None


# --- the framework's calls -----------------------------------------------------------------------


async def test_callbacks_of_interleaved_commands_give_each_result_its_own_outcome() -> None:
    events, workers = EventMonitor(), WorkerMonitor()
    for name in ("a", "b"):
        told = {"channel": "multiagent:command.charge_payment", "event_type": "command.charge_payment"}
        await events.track_event_dispatch(name, EventType.COMMAND, "TX-123", f"TX-123.{name}", "redis_event_bus", told)
        await workers.track_command_start("charge_payment", name)
    await workers.track_command_success("charge_payment", "a", 1.0, result_metadata={"huge": "result"})
    await workers.track_command_timeout("charge_payment", "b", 1.0)
    for name in ("a", "b"):
        await events.track_event_dispatch(f"r{name}", "result", "TX-123", f"TX-123.{name}", "redis_event_bus", {})
    assert await counts(events, "command") == await counts(events, "result") == (2, 1, 1, 1)
    trace = await events.get_event_trace("a")
    assert trace is not None
    assert (trace["status"], trace["worker_type"], trace["transaction_id"]) == ("completed", "charge_payment", "TX-123")
    assert trace.to_dict() == dict(trace)  # type: ignore[attr-defined]
    assert trace.status == "completed"  # type: ignore[attr-defined]


async def test_ids_that_the_framework_does_not_know_are_no_transaction() -> None:
    monitor = EventMonitor()
    await monitor.track_event_dispatch("a", "mine", "unknown", "unknown", "redis_event_bus", {"event_type": "mine.x"})
    assert (await monitor.get_event_metrics())["events_by_type"] == {"Event": 1}
    assert await monitor.get_transaction_trace("unknown") == []


# --- options and time ----------------------------------------------------------------------------


async def test_the_newest_entries_and_the_newest_transactions_are_kept() -> None:
    monitor = EventMonitor(max_trace_history=3, max_traces_per_transaction=2)
    for number in range(5):
        sent = command(f"TX-{number}")
        for stage in ("published", "received", "completed"):
            await monitor.track_event_lifecycle(sent, stage)
    assert [await stages(monitor, f"TX-{number}") for number in range(5)] == [
        [],
        [],
        *[[("CommandEvent", "received"), ("CommandEvent", "completed")]] * 3,
    ]
    assert monitor.get_monitor_stats()["active_traces"] == 6


async def test_traces_are_forgotten_after_their_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = EventMonitor(trace_retention_hours=2)
    await monitor.track_event_lifecycle(command("old"), "published")
    real = time.perf_counter_ns
    monkeypatch.setattr(time, "perf_counter_ns", lambda: real() + 7200 * 10**9)
    assert await monitor.get_transaction_trace("old") == []
    assert monitor.get_monitor_stats()["active_transactions"] == 0


async def test_a_wall_clock_that_is_set_changes_no_order_and_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, sent = EventMonitor(), command()
    await monitor.track_event_lifecycle(sent, "published")
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() - 86_400)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - 86_400 * 10**9)
    await monitor.track_event_lifecycle(sent, "received")
    await monitor.track_event_lifecycle(sent, "completed")
    trace = await monitor.get_transaction_trace("TX-123")
    assert [entry["stage"] for entry in trace] == ["published", "received", "completed"]
    assert trace == sorted(trace, key=lambda entry: entry["timestamp"])
    assert 0 <= trace[2]["duration_ms"] < 1e4
    assert await counts(monitor, "command") == (1, 1, 0, 0)


async def test_throughput_is_over_the_window_or_the_monitor_s_age(clock: Clock) -> None:
    monitor = EventMonitor()
    for _ in range(6):
        await monitor.track_event_lifecycle(command(), "published")
    assert (await monitor.get_event_metrics(60))["throughput_per_minute"] == pytest.approx(360), "a second at least"
    clock.now += 120
    assert (await monitor.get_event_metrics(60))["throughput_per_minute"] == pytest.approx(3)
    clock.now += 240
    assert (await monitor.get_event_metrics(5))["throughput_per_minute"] == 0
    assert (await monitor.get_event_metrics(60))["total_events"] == 6


async def test_what_was_first_seen_before_the_window_may_finish_in_it(clock: Clock) -> None:
    monitor, sent = EventMonitor(), command()
    await monitor.track_event_lifecycle(sent, "published")
    clock.now += 600
    await monitor.track_event_lifecycle(sent, "completed")
    assert await counts(monitor, "command") == (1, 1, 0, 0)
    told = await monitor.get_event_type_metrics("command", 5)
    assert (told["count"], told["success_count"]) == (0, 1)


async def test_without_performance_there_are_no_quantiles() -> None:
    monitor, sent = EventMonitor(track_performance=False, track_payload_size=False), command()
    await monitor.track_event_lifecycle(sent, "published")
    await monitor.track_event_lifecycle(sent, "completed")
    metrics = await monitor.get_event_metrics()
    assert metrics["avg_latency_ms"] > 0
    assert metrics["p95_latency_ms"] == 0.0
    assert "avg_payload_bytes" not in metrics


async def test_starting_and_stopping_twice_is_no_fault_and_nothing_polls() -> None:
    monitor, before = EventMonitor(), asyncio.all_tasks()
    for call in (monitor.start, monitor.start, monitor.stop, monitor.stop):
        await call()
    assert asyncio.all_tasks() == before
    assert monitor.force_flush()
    monitor.shutdown()


def test_views_are_those_of_the_instruments_of_events() -> None:
    pytest.importorskip("opentelemetry.sdk.metrics.view")
    assert {view._instrument_name for view in EventMonitor().views()} == {
        "multiagents.event.duration",
        "multiagents.event.queue_time",
        "multiagents.event.size",
    }
    assert {view._instrument_name for view in WorkerMonitor().views()} == {"multiagents.worker.duration"}
