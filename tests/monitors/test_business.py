"""BusinessMetricsMonitor: the guide's figures by hand, by themselves, and never twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from multiagents_otel import BusinessMetricsMonitor, MetricsCollector
from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.telemetry.observers import OBSERVERS
from tests.contract.conftest import Clock, clock
from tests.contract.observed import Observed, series
from tests.monitors.test_custom_metrics import points
from tests.monitors.test_metrics_collector import Told
from tests.support.sagas import order_payload, order_system

__all__ = ["clock"]

ORDER: Final = "order_processing"


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed().instrument()
    yield made
    made.close()


class Ended:
    """What an observer reads of a workflow."""

    def __init__(self, transaction_id: str) -> None:
        self.workflow_id = ORDER
        self.transaction_id = transaction_id


def end(transaction_id: str, status: WorkflowStatus = WorkflowStatus.COMPLETED, seconds: float = 2.5) -> None:
    """The core tells that a workflow ended."""
    OBSERVERS.tell(OBSERVERS.guard, "workflow_ended", Ended(transaction_id), status, None, seconds)


async def test_a_completion_is_counted_by_status_and_bucket_and_its_duration_recorded(observed: Observed) -> None:
    collector, logger = MetricsCollector(), Told()
    monitor = BusinessMetricsMonitor(logger, collector)
    for number, duration in enumerate((99.9, 100, 999, 1_000, 4_999, 5_000, 30_000, 30_001)):
        await monitor.track_workflow_completion(ORDER, f"TX-{number}", duration, "completed")
    await monitor.track_workflow_completion(ORDER, "TX-9", 1.0, "failed")
    assert points(observed, "workflow_completion") == {
        series(workflow_id=ORDER, status="completed", duration_bucket="fast"): (1, 1),
        series(workflow_id=ORDER, status="completed", duration_bucket="normal"): (2, 2),
        series(workflow_id=ORDER, status="completed", duration_bucket="slow"): (2, 2),
        series(workflow_id=ORDER, status="completed", duration_bucket="very_slow"): (3, 3),
        series(workflow_id=ORDER, status="failed", duration_bucket="fast"): (1, 1),
    }
    assert points(observed, "workflow_duration") == {series(workflow_id=ORDER): (9, 72_199.9)}
    assert (await collector.get_metric_aggregations("workflow_duration"))["max"] == 30_001
    assert logger.records == [
        (
            "warning",
            "Slow workflow detected",
            {"workflow_id": ORDER, "transaction_id": "TX-7", "duration_ms": 30_001},
        )
    ]


async def test_errors_are_counted_by_type_and_worker_and_more_than_ten_in_five_minutes_are_a_spike(
    observed: Observed, clock: Clock
) -> None:
    collector, logger = MetricsCollector(), Told()
    monitor = BusinessMetricsMonitor(logger, collector)
    for _ in range(10):
        await monitor.track_error_pattern("PaymentDeclinedError", "payment_processor", {"order_id": "ORDER-456"})
    assert logger.records == []
    await monitor.track_error_pattern("TimeoutError", "shipping", {})
    spike = {"error_count": 11, "worker_name": "shipping", "error_type": "TimeoutError"}
    assert logger.records == [("error", "Error spike detected", spike)]
    for _ in range(50):
        await monitor.track_error_pattern("TimeoutError", "shipping", {})
    assert len(logger.records) == 1
    await clock.forward(61)
    await monitor.track_error_pattern("TimeoutError", "shipping", {})
    assert [context["error_count"] for _level, _message, context in logger.records] == [11, 62]
    await clock.forward(400)
    await monitor.track_error_pattern("TimeoutError", "shipping", {})
    assert len(logger.records) == 2
    assert points(observed, "error_occurrence") == {
        series(error_type="PaymentDeclinedError", worker_name="payment_processor"): (10, 10),
        series(error_type="TimeoutError", worker_name="shipping"): (53, 53),
    }


async def test_workflows_count_by_themselves_and_once_when_they_are_told_by_hand_too(observed: Observed) -> None:
    collector, logger = MetricsCollector(), Told()
    monitor = BusinessMetricsMonitor(logger, collector)
    end("TX-1")
    await monitor.track_workflow_completion(ORDER, "TX-1", 2_600.0, "completed")
    await monitor.track_workflow_completion(ORDER, "TX-2", 2_600.0, "completed")
    end("TX-2")
    end("TX-3", WorkflowStatus.STALLED, 40.0)
    while not logger.records:
        await asyncio.sleep(0)
    assert points(observed, "workflow_completion") == {
        series(workflow_id=ORDER, status="completed", duration_bucket="slow"): (2, 2),
        series(workflow_id=ORDER, status="stalled", duration_bucket="very_slow"): (1, 1),
    }
    assert (await collector.get_metric_aggregations("workflow_duration"))["sum"] == 2_500 + 2_600 + 40_000
    slow = {"workflow_id": ORDER, "transaction_id": "TX-3", "duration_ms": 40_000}
    assert logger.records == [("warning", "Slow workflow detected", slow)]


async def test_real_workflows_are_counted_as_the_instruments_count_them(observed: Observed) -> None:
    collector = MetricsCollector()
    monitor = BusinessMetricsMonitor(None, collector)
    async with order_system(monitors=False) as system:
        transactions = [await system.run() for _ in range(3)] + [await system.run(order_payload(fail_at="ship_order"))]
        states = [(await system.wait_ended(transaction))["state"] for transaction in transactions]
        await system.bus.drain()
        for transaction, state in zip(transactions, states, strict=True):
            await monitor.track_workflow_completion(ORDER, transaction, 1.0, state)
    counted: Counter[str] = Counter()
    for attributes, (count, _sum) in points(observed, "workflow_completion").items():
        counted[dict(attributes)["status"]] += count
    assert counted == {"completed": 3, "compensated": 1}
    exported = {dict(key)["status"]: value for key, value in observed.sums("multiagents.workflows").items()}
    assert counted == exported
    (seconds,) = (
        sum(point.sum for point in metric.data.data_points)
        for name, metric in observed.metrics().items()
        if name == "multiagents.workflow.duration"
    )
    assert (await collector.get_metric_aggregations("workflow_duration"))["sum"] == pytest.approx(seconds * 1_000)


async def test_two_calls_by_hand_are_two_and_a_monitor_that_nobody_keeps_counts_no_more() -> None:
    collector = MetricsCollector()
    monitor = BusinessMetricsMonitor(None, collector)
    for _ in range(2):
        await monitor.track_workflow_completion(ORDER, "TX-1", 1.0, "completed")
    end("TX-2")
    del monitor
    end("TX-3")
    assert (await collector.get_metric_aggregations("workflow_completion"))["count"] == 3


class UsersOwn:
    """A collector of the user's own, as the guide shows one; ``fail`` makes it raise."""

    def __init__(self, *, fail: bool = False) -> None:
        self.recorded: list[tuple[str, float, dict[str, Any]]] = []
        self._fail = fail

    async def record_metric(self, metric_name: str, value: float, tags: dict[str, Any] | None = None) -> None:
        if self._fail:
            raise OSError("no room")
        self.recorded.append((metric_name, value, tags or {}))

    async def get_metric_aggregations(self, metric_name: str, time_window_minutes: int = 60) -> dict[str, float]:
        if self._fail:
            raise OSError("no room")
        return {"count": sum(name == metric_name for name, _value, _tags in self.recorded)}


async def test_a_collector_of_the_user_s_own_is_told_too() -> None:
    collector, logger = UsersOwn(), Told()
    monitor = BusinessMetricsMonitor(logger, collector)
    await monitor.track_workflow_completion(ORDER, "TX-1", 50.0, "completed")
    end("TX-2", seconds=0.5)
    while len(collector.recorded) < 4:
        await asyncio.sleep(0)
    assert collector.recorded == [
        ("workflow_completion", 1, {"workflow_id": ORDER, "status": "completed", "duration_bucket": "fast"}),
        ("workflow_duration", 50.0, {"workflow_id": ORDER}),
        ("workflow_completion", 1, {"workflow_id": ORDER, "status": "completed", "duration_bucket": "normal"}),
        ("workflow_duration", 500.0, {"workflow_id": ORDER}),
    ]
    for _ in range(11):
        await monitor.track_error_pattern("E", "w", {})
    assert [message for _level, message, _context in logger.records] == ["Error spike detected"]


async def test_neither_a_collector_nor_a_logger_that_fails_reaches_the_application() -> None:
    monitor = BusinessMetricsMonitor(Told(fail=True), UsersOwn(fail=True))
    await monitor.track_workflow_completion(ORDER, "TX-1", 50_000.0, "completed")
    await monitor.track_error_pattern("E", "w", {})
    end("TX-2", seconds=60)
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("duration", [float("nan"), "soon", None])
async def test_a_duration_that_is_none_counts_without_one(duration: Any) -> None:
    collector = MetricsCollector()
    await BusinessMetricsMonitor(None, collector).track_workflow_completion(ORDER, "TX-1", duration, "completed")
    assert (await collector.get_metric_aggregations("workflow_completion"))["count"] == 1
    assert (await collector.get_metric_aggregations("workflow_duration"))["count"] == 0
