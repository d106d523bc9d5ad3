"""Every snippet of the framework's monitoring guide runs, in order, and tells true numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.guide.framework_source import snippets
from tests.guide.walkthrough import BAD, GOOD
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer

ALL = GOOD + BAD
BY_HAND = {"CommandEvent": 1, "ResultEvent": 1}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


@pytest.fixture(scope="module", params=["", "instrumented"], ids=["framework-alone", "auto-instrumented"])
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, receiver: OtlpReceiver
) -> dict[str, Any]:
    """What the walkthrough told."""
    root = str(Path(__file__).parents[2])
    receiver.clear()
    with RedisServer() as redis:
        env = {"REDIS_URL": redis.url, "PYTHONPATH": root, **receiver.environment()}
        argv = [sys.executable, "-m", "tests.guide.walkthrough", *filter(None, [request.param])]
        with Process(argv, env=env, cwd=tmp_path_factory.mktemp("guide"), dspy=True) as program:
            lines = program.wait_ok(120).splitlines()
    told: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("TOLD "))[5:])
    told["instrumented"] = bool(request.param)
    return told


def test_every_snippet_ran(told: dict[str, Any]) -> None:
    assert told["ran"] == [snippet.title for snippet in snippets() if snippet.language == "python"]
    assert len(told["ran"]) == 20


def test_events_are_those_that_went_over_redis_and_those_tracked_by_hand(told: dict[str, Any]) -> None:
    channels, metrics = told["channels"], told["event_metrics"]
    over_redis = {
        kind: sum(count for channel, count in channels.items() if channel.startswith(prefix))
        for kind, prefix in (("CommandEvent", "command."), ("ResultEvent", "result."), ("StatusEvent", "status."))
    }
    assert over_redis == {"CommandEvent": 2 * ALL, "ResultEvent": 2 * ALL, "StatusEvent": 2 * ALL}
    counted = {kind: count + BY_HAND.get(kind, 0) for kind, count in over_redis.items()}
    assert metrics["events_by_type"] == counted
    assert metrics["total_events"] == sum(counted.values())
    # A payment that is declined is a failed command and a failed result.
    assert metrics["error_rate"] == pytest.approx(100 * 2 * BAD / sum(counted.values()))
    assert metrics["success_rate"] + metrics["error_rate"] == 100
    assert 0 < metrics["avg_latency_ms"] <= metrics["p99_latency_ms"] < 60_000
    commands = told["event_type_metrics"]
    assert (commands["count"], commands["error_count"]) == (counted["CommandEvent"], BAD)
    assert commands["percentage"] == pytest.approx(100 * counted["CommandEvent"] / sum(counted.values()))


def test_workers_are_those_that_ran(told: dict[str, Any]) -> None:
    payment, summary = told["worker_perf"], told["summary"]
    assert (payment["total_executions"], payment["success_count"], payment["error_count"]) == (ALL, GOOD, BAD)
    assert (payment["success_rate"], payment["error_rate"]) == (100 * GOOD / ALL, 100 * BAD / ALL)
    assert payment["last_execution"].endswith("+00:00")
    assert summary["total_workers"] == 3  # "my_worker" was tracked by hand
    assert summary["aggregated_metrics"]["total_commands"] == 2 * ALL + 1
    assert summary["aggregated_metrics"]["average_success_rate"] == pytest.approx(100 * (1 - BAD / (2 * ALL + 1)))
    assert {name: metrics["success_count"] for name, metrics in summary["worker_metrics"].items()} == {
        "inventory_service": ALL,
        "payment_processor": GOOD,
        "my_worker": 1,
    }
    assert {name: health["status"] for name, health in told["all_health"].items()} == {
        "inventory_service": "healthy",
        "payment_processor": "degraded",
        "my_worker": "healthy",
    }
    [issue] = told["all_health"]["payment_processor"]["issues"]
    assert f"{BAD} of {ALL} recent executions failed" in issue


def test_a_transaction_is_told_as_it_went(told: dict[str, Any]) -> None:
    stages = [(entry["event_type"], entry["stage"]) for entry in told["transaction_trace"]]
    assert stages == [
        ("CommandEvent", "published"),
        ("CommandEvent", "received"),
        ("ResultEvent", "completed"),
        ("CommandEvent", "completed"),
    ]
    declined = [
        (entry["name"], entry["stage"]) for entry in told["trace_of_an_order"] if entry["event_type"] == "CommandEvent"
    ]
    assert declined == [
        ("command.inventory_service", "published"),
        ("command.inventory_service", "received"),
        ("command.inventory_service", "completed"),
        ("command.payment_processor", "published"),
        ("command.payment_processor", "received"),
        ("command.payment_processor", "error"),
    ]
    failed = [entry for entry in told["trace_of_an_order"] if entry["error"]]
    assert failed
    assert all("declined" in entry["error"] for entry in failed)
    assert all(bool(entry["trace_id"]) is told["instrumented"] for entry in told["trace_of_an_order"])


def test_the_systems_figures_are_there(told: dict[str, Any]) -> None:
    now, history = told["current_metrics"], told["historical_metrics"]
    for key in ("cpu_usage_percent", "memory_usage_percent", "disk_usage_percent"):
        assert 0 <= now[key] <= 100
    assert now["event_queue_size"] == 0
    assert history["peak_memory_usage"] >= history["avg_memory_usage"] > 0
    # Without the instrumentation nobody knows of a Redis to ask.
    assert (now["active_connections"] is not None) is told["instrumented"]
    values = {"count": 2, "avg": 174.99, "min": 49.99, "max": 299.99, "sum": 349.98, "latest": 49.99}
    assert told["order_stats"] == values
    assert set(told["batch"]) == {"events", "workers", "system", "timestamp"}


def test_what_is_exported_says_the_same(told: dict[str, Any], receiver: OtlpReceiver) -> None:
    if not told["instrumented"]:
        assert receiver.total("multiagents.worker.executions") == 0
        return
    assert receiver.total("multiagents.worker.executions", {"worker.name": "payment_processor"}) == ALL
    assert receiver.total("multiagents.worker.errors", {"worker.name": "payment_processor"}) == BAD
    events = {"event.type": "CommandEvent"}
    assert receiver.total("multiagents.events", events) == 2 * ALL
    assert receiver.total("multiagents.events", {**events, "status": "error"}) == BAD
