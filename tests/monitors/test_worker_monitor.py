"""Performance and health of workers: what is told of them, and when they are degraded or have failed."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import pytest

from multiagents_otel import WorkerMonitor
from tests.contract.observed import Observed, series
from tests.monitors.conftest import Clock
from tests.support.sagas import SilentLogger, order_payload, order_system, order_workers


async def executions(
    monitor: WorkerMonitor, name: str, good: int = 0, bad: int = 0, ms: float = 10.0, error: str = "declined"
) -> None:
    for _ in range(good):
        await monitor.track_worker_execution(worker_name=name, execution_time_ms=ms, success=True)
    for _ in range(bad):
        await monitor.track_worker_execution(worker_name=name, execution_time_ms=ms, success=False, error=error)


async def health(monitor: WorkerMonitor, name: str = "pay") -> tuple[str, list[str]]:
    told = await monitor.check_worker_health(name)
    return told["status"], told["issues"]


# --- performance ---------------------------------------------------------------------------------


async def test_executions_by_hand_are_told_with_the_guide_s_keys() -> None:
    monitor = WorkerMonitor(performance_window_minutes=60)
    for ms in range(1, 101):
        await monitor.track_worker_execution(worker_name="pay", execution_time_ms=float(ms), success=ms > 10)
    told = await monitor.get_worker_performance("pay")
    assert told["total_executions"] == 100
    assert (told["success_count"], told["error_count"], told["timeout_count"]) == (90, 10, 0)
    assert (told["success_rate"], told["error_rate"]) == (90.0, 10.0)
    assert told["avg_duration_ms"] == pytest.approx(50.5)
    assert told["p50_duration_ms"] == pytest.approx(50, rel=0.01)
    assert told["p95_duration_ms"] == pytest.approx(95, rel=0.01)
    assert told["p99_duration_ms"] == pytest.approx(99, rel=0.01)
    assert told["last_execution"] == told["last_seen"]
    assert len(told["last_execution"]) == len("2026-01-01T00:00:00.000000+00:00")
    json.dumps(told)


async def test_the_window_of_a_worker_s_performance_is_the_option_s(clock: Clock) -> None:
    monitor = WorkerMonitor(performance_window_minutes=5)
    await executions(monitor, "pay", 2)
    clock.now += 600
    await executions(monitor, "pay", 1)
    assert (await monitor.get_worker_performance("pay"))["total_executions"] == 1
    summary = await monitor.get_worker_performance_summary()
    assert summary["worker_metrics"]["pay"]["total_executions"] == 3, "the summary's own window is an hour"
    assert (await monitor.get_worker_metrics("pay"))["total_commands"] == 3


async def test_averages_over_workers_are_weighted_by_their_executions() -> None:
    monitor = WorkerMonitor()
    await executions(monitor, "quick", good=9, ms=10)
    await executions(monitor, "slow", bad=1, ms=110)
    monitor.register_worker("idle")
    summary = await monitor.get_worker_performance_summary(time_window_minutes=5)
    aggregated = summary["aggregated_metrics"]
    assert summary["total_workers"] == 3
    assert aggregated["total_commands"] == 10
    assert aggregated["average_success_rate"] == 90.0
    assert aggregated["average_duration_ms"] == pytest.approx(20)
    assert aggregated["average_processing_time"] == pytest.approx(0.02)
    assert summary["worker_metrics"]["idle"]["success_rate"] == 0.0
    assert set(summary["workers"]) == {"quick:quick", "slow:slow", "idle:idle"}
    assert [line["worker_type"] for line in summary["top_performers"]] == ["quick", "slow"]
    assert [line["worker_type"] for line in summary["problem_workers"]] == ["slow"]
    json.dumps(summary)


async def test_instances_of_a_worker_are_one_worker_by_name() -> None:
    monitor = WorkerMonitor()
    for instance, seconds in (("one", 0.1), ("two", 0.3)):
        await monitor.track_command_success("pay", f"c-{instance}", seconds, worker_instance=instance)
    assert (await monitor.get_worker_performance("pay"))["total_executions"] == 2
    assert (await monitor.get_worker_performance("pay:two"))["avg_duration_ms"] == pytest.approx(300)
    assert set((await monitor.get_worker_performance_summary())["workers"]) == {"pay:one", "pay:two"}
    assert (await monitor.get_worker_metrics("pay", "one"))["max_processing_time"] == pytest.approx(0.1)


async def test_a_command_s_duration_is_measured_where_its_start_was_told(clock: Clock) -> None:
    monitor = WorkerMonitor()
    await monitor.track_command_start("pay", "c1")
    clock.now += 2
    await monitor.track_command_failure("pay", "c1", -3600.0, "declined", error_details={"error_type": "ValueError"})
    told = await monitor.get_worker_performance("pay")
    assert told["avg_duration_ms"] == pytest.approx(2000), "the wall clock was set back meanwhile"
    assert told["error_count"] == 1


async def test_a_worker_that_is_unregistered_is_forgotten() -> None:
    monitor = WorkerMonitor()
    await executions(monitor, "pay", 3)
    await monitor.get_worker_performance_summary()
    assert monitor.unregister_worker("pay") is True
    assert monitor.unregister_worker("pay") is False
    assert (await monitor.get_worker_performance_summary())["total_workers"] == 0
    await executions(monitor, "pay", 1)
    assert (await monitor.get_worker_performance("pay"))["total_executions"] == 1


async def test_cancelled_executions_do_not_count(observed: Observed) -> None:
    observed.instrument()
    monitor = WorkerMonitor()
    async with order_system() as system:
        await system.run(order_payload(hang_at="validate_order"))
        while not (await monitor.check_worker_health("validate_order")).get("active_executions"):
            await asyncio.sleep(0)
        await system.manager.stop()
        await system.bus.drain()
    told = await monitor.get_worker_performance("validate_order")
    assert (told["total_executions"], told["active_executions"]) == (0, 0)
    assert told["last_seen"] is not None
    assert told["last_execution"] is None


async def test_names_that_run_wild_are_one_worker() -> None:
    monitor = WorkerMonitor()
    for number in range(1_000):
        await executions(monitor, f"worker-{number}", 1)
    summary = await monitor.get_worker_performance_summary()
    assert summary["total_workers"] == 201
    assert summary["worker_metrics"]["_OTHER"]["total_executions"] == 800
    assert len(monitor.worker_health()) == 201


# --- health --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad", "status"),
    [
        (0, 2, "healthy"),
        (0, 3, "failed"),
        (9, 1, "healthy"),
        (8, 1, "degraded"),
        (10, 10, "degraded"),
        (10, 11, "failed"),
        (100, 0, "healthy"),
    ],
)
async def test_error_rates_beyond_the_thresholds(good: int, bad: int, status: str) -> None:
    monitor = WorkerMonitor()
    await executions(monitor, "pay", good, bad)
    told = await monitor.check_worker_health("pay")
    assert told["status"] == status
    assert told["recent_error_rate"] == pytest.approx(100 * bad / (good + bad))
    limit = "50 %" if status == "failed" else "10 %"
    rate = 100 * bad / (good + bad)
    expected = f"{bad} of {good + bad} recent executions failed ({rate:.1f} %, more than {limit}); the latest error: "
    assert told["issues"] == ([] if status == "healthy" else [f"{expected}declined"])


async def test_slow_workers_are_degraded() -> None:
    monitor = WorkerMonitor(slow_execution_threshold_ms=100)
    await executions(monitor, "pay", 20, ms=50)
    assert (await health(monitor))[0] == "healthy"
    await executions(monitor, "pay", 2, ms=400)
    status, (issue,) = await health(monitor)
    assert status == "degraded"
    assert issue.startswith("slow: the 95th percentile of recent executions is 40")
    assert issue.endswith("ms, more than 100 ms")


async def test_recent_is_five_minutes_or_the_last_five_executions(clock: Clock) -> None:
    monitor = WorkerMonitor()
    await executions(monitor, "pay", bad=20)
    assert (await health(monitor))[0] == "failed"
    clock.now += 320
    assert (await health(monitor))[0] == "failed", "the last five still"
    await executions(monitor, "pay", good=3)
    assert (await monitor.check_worker_health("pay"))["recent_error_rate"] == 40.0
    await executions(monitor, "pay", good=2)
    assert await health(monitor) == ("healthy", [])


async def test_an_idle_worker_is_healthy_and_an_unknown_one_has_failed() -> None:
    monitor = WorkerMonitor()
    monitor.register_worker("pay")
    assert await health(monitor) == ("healthy", [])
    told = await monitor.check_worker_health("payy")
    assert told["status"] == "failed"
    assert told["last_seen"] is None
    assert told["issues"] == ["no worker of this name has been seen here; the known ones: pay"]
    assert set(await monitor.get_all_workers_health()) == {"pay"}
    assert monitor.worker_health() == {("pay",): 0}


async def test_the_exported_health_is_the_worst_that_any_monitor_tells_of_a_worker_that_is_there(
    observed: Observed,
) -> None:
    observed.instrument()
    name = "multiagents.worker.health"
    assert observed.sums(name, zeros=True) == {}
    first, second = WorkerMonitor(), WorkerMonitor()
    await executions(first, "pay", bad=5)
    await executions(second, "pay", good=5)
    second.register_worker("ship")
    pay, ship = series(worker__name="pay"), series(worker__name="ship")
    assert observed.sums(name, zeros=True) == {pay: 2, ship: 0}
    second.unregister_worker("ship")
    del first
    assert observed.sums(name, zeros=True) == {pay: 0}


async def test_an_execution_past_its_timeout_is_a_failure(observed: Observed, clock: Clock) -> None:
    """A sync worker that hangs can't be cancelled: only its monitor can tell."""
    observed.instrument()
    monitor = WorkerMonitor(health_check_interval_seconds=30)
    async with order_system(timeout=100) as system:
        await system.run(order_payload(hang_at="validate_order"))
        while not (await monitor.check_worker_health("validate_order"))["active_executions"]:
            await asyncio.sleep(0)
        began = clock.now
        clock.now = began + 129
        assert (await health(monitor, "validate_order"))[0] == "healthy"
        clock.now = began + 131
        status, (issue,) = await health(monitor, "validate_order")
        assert status == "failed"
        assert issue.startswith("1 execution is past the timeout, the oldest has run for 131 s")
        clock.now = began


async def test_a_secret_in_an_error_is_in_no_answer() -> None:
    monitor = WorkerMonitor()
    await executions(monitor, "pay", bad=4, error="login failed: password=hunter2")
    answers = [
        await monitor.check_worker_health("pay"),
        await monitor.get_worker_metrics(),
        await monitor.get_worker_health_status(),
        monitor.get_monitor_stats(),
    ]
    assert "hunter2" not in json.dumps(answers)
    assert "login failed" in json.dumps(answers)


# --- alerts --------------------------------------------------------------------------------------


class Records(SilentLogger):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    async def warning(self, message: str, **kwargs: Any) -> None:
        self.told.append((message, kwargs))

    async def info(self, message: str, **kwargs: Any) -> None:
        self.told.append((message, kwargs))


async def test_a_change_of_the_error_rate_is_told_once(clock: Clock) -> None:
    logger = Records()
    monitor = WorkerMonitor(logger=logger)
    await executions(monitor, "pay", good=20)
    await executions(monitor, "pay", bad=10)
    clock.now += 600
    await executions(monitor, "pay", good=20)
    await asyncio.sleep(0)
    (high, fields), (low, _fields) = logger.told
    assert (high, low) == ("Worker error rate is high", "Worker error rate is low again")
    assert fields == {
        "worker_name": "pay",
        "error_rate": 13.0,
        "recent_executions": 23,
        "status": "degraded",
        "latest_error": "declined",
    }


async def test_without_a_logger_an_alert_goes_to_python_s_logging(caplog: pytest.LogCaptureFixture) -> None:
    await executions(WorkerMonitor(), "pay", bad=30)
    await executions(WorkerMonitor(alert_on_high_error_rate=False), "pay", bad=30)
    records = [record for record in caplog.records if record.name == "multiagents_otel.monitors"]
    assert [(record.levelno, record.getMessage().partition(":")[0]) for record in records] == [
        (logging.WARNING, "Worker error rate is high")
    ]


@pytest.mark.faults
async def test_a_logger_that_raises_is_no_fault_of_the_worker_s() -> None:
    class Broken(SilentLogger):
        async def warning(self, message: str, **kwargs: Any) -> None:
            raise ConnectionError

    monitor = WorkerMonitor(logger=Broken())
    await executions(monitor, "pay", bad=5)
    await asyncio.sleep(0)
    assert (await health(monitor))[0] == "failed"


async def test_sync_workers_in_threads_are_counted(observed: Observed) -> None:
    observed.instrument()
    monitor = WorkerMonitor()
    async with order_system(workers=order_workers(sync=("validate_order", "charge_payment"))) as system:
        for _ in range(3):
            await system.wait_ended(await system.run())
        await system.bus.drain()
    summary = await monitor.get_worker_performance_summary()
    assert {name: m["success_count"] for name, m in summary["worker_metrics"].items()} == dict.fromkeys(
        ("validate_order", "charge_payment", "ship_order"), 3
    )


async def test_a_wall_clock_that_is_set_leaves_times_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = WorkerMonitor()
    await executions(monitor, "pay", 1)
    before = (await monitor.get_worker_performance("pay"))["last_execution"]
    assert (await monitor.get_worker_performance("pay"))["last_execution"] == before
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3600 * 10**9)
    assert (await monitor.get_worker_performance("pay"))["total_executions"] == 1
