"""An orchestrator and a worker in processes of their own: each monitor tells what its process sees of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import pytest

from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.sagas import WORKERS, order_payload

OK, FAILED = order_payload(), order_payload(fail_at="ship_order")


def program(name: str, redis: RedisServer, receiver: OtlpReceiver, instrumented: bool) -> Process:
    environment: dict[str, str] = {
        **receiver.environment("http/protobuf", 100),
        "REDIS_URL": redis.url,
        "OTEL_SERVICE_NAME": name,
    }
    if instrumented:
        environment["OPTIONS"] = "{}"
    code = f"from tests.monitors import programs; programs.{name}()"
    return Process([sys.executable, "-c", code], env=environment)


def told(process: Process) -> dict[str, Any]:
    process.send_line("stop")
    line = process.wait_line("told ")
    process.wait_ok()
    answer: dict[str, Any] = json.loads(line.partition(" ")[2])
    return answer


def counts(answer: dict[str, Any], kind: str) -> tuple[int, int, int]:
    metrics = answer["events"][kind]
    return metrics["count"], metrics["success_count"], metrics["error_count"]


@pytest.mark.parametrize("instrumented", [True, False], ids=["instrumented", "not instrumented"])
def test_each_process_tells_what_it_sees(redis: RedisServer, instrumented: bool) -> None:
    """Two orders, of which one fails at its last step: 6 commands and results, of which one fails."""
    with (
        OtlpReceiver() as receiver,
        program("worker", redis, receiver, instrumented) as worker,
        program("orchestrator", redis, receiver, instrumented) as orchestrator,
    ):
        redis.wait_subscribed(*(f"multiagent:command.{name}" for name in WORKERS))
        redis.wait_subscribed(*(f"multiagent:result.{name}" for name in WORKERS))
        for number, payload in enumerate((OK, FAILED), 1):
            orchestrator.send_line(json.dumps(payload))
            orchestrator.wait_line("ended", timeout=60, count=number)
        by_orchestrator, by_worker = told(orchestrator), told(worker)
        exported = Counter[tuple[str, str]]()
        for point in receiver.metric("multiagents.events"):
            key = (str(point.attributes["event.type"]), str(point.attributes["status"]))
            exported[key] += int(point.value or 0)

    assert counts(by_worker, "CommandEvent") == counts(by_worker, "ResultEvent") == (6, 5, 1)
    assert counts(by_orchestrator, "StatusEvent") == (4, 4, 0)
    summary = by_worker["workers"]
    assert {name: m["total_executions"] for name, m in summary["worker_metrics"].items()} == dict.fromkeys(WORKERS, 2)
    assert summary["worker_metrics"]["ship_order"]["error_count"] == 1
    assert by_orchestrator["workers"]["total_workers"] == 0, "no worker has run here"
    assert set(by_worker["health"]) == set(WORKERS)
    assert by_worker["metrics"]["pending"] == 0
    if not instrumented:
        assert counts(by_orchestrator, "CommandEvent") == (6, 0, 0), "nobody tells it of results"
        assert by_orchestrator["metrics"]["pending"] == 6
        assert not exported
        return
    assert counts(by_orchestrator, "CommandEvent") == counts(by_orchestrator, "ResultEvent") == (6, 5, 1)
    assert counts(by_orchestrator, "CompensationEvent") == counts(by_worker, "CompensationEvent") == (1, 1, 0)
    assert by_orchestrator["events"]["CommandEvent"]["avg_latency_ms"] > 0, "until the result arrived"
    assert by_orchestrator["metrics"]["pending"] == 0
    assert +exported == {
        ("CommandEvent", "success"): 5,
        ("CommandEvent", "error"): 1,
        ("ResultEvent", "success"): 5,
        ("ResultEvent", "error"): 1,
        ("CompensationEvent", "success"): 1,
    }, "once in the fleet, by the process that handles it"
