"""One whole pipeline for the module: the application in processes, the Collector, Prometheus with the rules."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.dashboards import application
from tests.dashboards.boards import BOARDS, EVERYTHING, Target, interpolated, seconds
from tests.integration.conftest import COMMANDS, Orders
from tests.support.collectors import FOLDER, Running, collector, rendered
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver, ReceivedSpan
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload
from tests.support.services import Alertmanager, Prometheus, wait_until
from tests.support.traffic import Client, Shape, log_record, logs, trace_ids, traces

CHOSEN: Final = {**EVERYTHING, "export": "1s", "alive": "10s"}
"""What a reader has chosen whose application exports once a second."""

MONITORED: Final = {"worker_monitoring": {"enabled": True}}

COMPLETED: Final = 5
FAILED: Final = 2
STALLED: Final = 1
EXECUTED: Final = 3 * (COMPLETED + FAILED + 1)
"""Executions of workers: three an order, and those of the last order twice."""


@dataclass
class Stack:
    """The pipeline, and what was done in it."""

    orders: Orders
    orchestrator: Process
    collector: Running
    prometheus: Prometheus
    backend: OtlpReceiver
    began: float
    before_kill: float = 0.0
    """When the worker's process still lived."""
    transactions: dict[str, str] = field(default_factory=dict)
    """The transaction id of one order, by the state in which it ended."""

    def value(self, expr: str, *, at: float | None = None, **chosen: str) -> dict[tuple[tuple[str, str], ...], float]:
        """What a panel of one number or a table shows, over everything since the beginning."""
        end = time.time() if at is None else at
        return self.prometheus.query(self.filled(expr, end, chosen), time=end)

    def series(self, expr: str, *, end: float | None = None, **chosen: str) -> list[dict[str, Any]]:
        """What a graph shows, over everything since the beginning."""
        end = time.time() if end is None else end
        filled = self.filled(expr, end, chosen)
        found: list[dict[str, Any]] = self.prometheus.api(
            "query_range", query=filled, start=self.began, end=end, step=seconds(CHOSEN["export"])
        )["result"]
        return found

    def shown(self, target: Target, end: float) -> list[float]:
        """Every value of a query as its panel asks for it, then and before the worker was killed."""
        if target.is_instant:
            return [value for at in (self.before_kill, end) for value in self.value(target.expr, at=at).values()]
        return [float(value) for each in self.series(target.expr, end=end) for _at, value in each["values"]]

    def offered(self, query: str) -> list[str]:
        """The values of a variable, as Grafana asks for them."""
        found = re.fullmatch(r"label_values\((.+),\s*(\w+)\)", query)
        assert found, query
        selector = interpolated(found[1], CHOSEN, 1, 1)
        parameters: dict[str, str | float] = {"match[]": selector, "start": self.began, "end": time.time()}
        values: list[str] = self.prometheus.api(f"label/{found[2]}/values", **parameters)
        return values

    def filled(self, expr: str, end: float, chosen: Mapping[str, str]) -> str:
        return interpolated(expr, {**CHOSEN, **chosen}, end - self.began, seconds(CHOSEN["export"]))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The pipeline after a run with failures, lost and doubled commands and a fault of the backend."""
    folder = tmp_path_factory.mktemp("stack")
    with ExitStack() as running:
        enter = running.enter_context
        backend, redis = enter(OtlpReceiver()), enter(RedisServer())
        started = enter(
            collector(
                folder, "collector.yaml", "tail-sampling.yaml", backend=backend, decision_wait="2s", healthy_percent=100
            )
        )
        prometheus = _monitored(running, folder, started)
        began = time.time()
        orders = enter(Orders(redis, backend))
        environment = started.environment(interval_ms=1000)
        worker = orders.program(application.PROGRAM, "worker", env=environment)
        redis.wait_subscribed(*COMMANDS)
        orchestrator = orders.orchestrator(env=environment, config=MONITORED, track_payload_size=True)
        made = Stack(orders, orchestrator, started, prometheus, backend, began)
        _run(made, worker)
        yield made


def _monitored(running: ExitStack, folder: Path, started: Running) -> Prometheus:
    port, alerting = free_port(), free_port()
    rules = [str(path.relative_to(FOLDER)) for path in (FOLDER / "prometheus/rules").glob("*.yaml")]
    config, *_rules = rendered(
        folder,
        "prometheus/prometheus.yaml",
        *rules,
        scrape_interval="500ms",
        evaluation_interval="1s",
        collector_metrics=f"127.0.0.1:{started.ports['export_port']}",
        collector_own_metrics=f"127.0.0.1:{started.ports['collector_metrics_port']}",
        alertmanager_address=f"127.0.0.1:{alerting}",
        prometheus_address=f"127.0.0.1:{port}",
    )
    quiet = folder / "alertmanager.yaml"
    quiet.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    running.enter_context(Alertmanager(quiet, folder / "alertmanager", alerting))
    return running.enter_context(Prometheus(config, folder / "data", port))


def _run(stack: Stack, worker: Process) -> None:
    orders, orchestrator, redis = stack.orders, stack.orchestrator, stack.orders.redis
    failing = order_payload(fail_at="ship_order")
    ended = [orders.order(orchestrator, order_payload())]
    # What is there from a series' beginning shows in no rate: the rest comes after a first scrape.
    _scraped(stack, "multiagents_worker_executions_total", 3)
    ended += [orders.order(orchestrator, order_payload(), number) for number in range(2, COMPLETED)]
    # Nobody takes compensations yet: those of the first failure are lost.
    ended.append(orders.order(orchestrator, failing, COMPLETED))
    worker.send_line("compensate")
    worker.wait_line("compensating")
    ended.append(orders.order(orchestrator, failing, COMPLETED + 1))
    # A second replica executes everything again.
    worker.send_line("replicate")
    worker.wait_line("replicated")
    redis.wait_subscribed(*COMMANDS, count=2)
    ended.append(orders.order(orchestrator, order_payload(), COMPLETED + 2))
    stack.transactions |= {state: transaction for transaction, state in ended}
    _scraped(stack, "multiagents_worker_executions_total", EXECUTED)
    processes = BOARDS["overview"].expr("Processes")
    wait_until(lambda: list(stack.value(processes).values()) == [2], "both processes are known to live")
    stack.before_kill = time.time()
    worker.kill9()
    wait_until(lambda: redis.command("PUBSUB", "NUMSUB", COMMANDS[0]) == [COMMANDS[0], 0], "nobody takes commands")
    stack.transactions["stalled"] = _lose(orchestrator, COMPLETED + 3)
    stack.backend.wait_for(lambda received: any(_is_root(span, stack, "stalled") for span in received.spans))
    _refused(stack)
    _scraped(stack, "multiagents_workflow_stalls_total", STALLED)
    wait_until(lambda: stack.prometheus.query("otelcol_exporter_send_failed_metric_points"), "the refusals are scraped")


def _scraped(stack: Stack, counter: str, count: float) -> None:
    def scraped() -> bool:
        return list(stack.prometheus.query(f"sum({counter})").values()) == [count]

    wait_until(scraped, f"Prometheus has {count} {counter}")


def _lose(orchestrator: Process, number: int) -> str:
    """Start an order (the number-th) that no worker is there for: its transaction id."""
    orchestrator.send_line(json.dumps({**order_payload(), "wait": False}))
    return orchestrator.wait_line("started ", count=number).split()[1]


def _is_root(span: ReceivedSpan, stack: Stack, state: str) -> bool:
    is_workflow = span.name.startswith("workflow.")
    return is_workflow and span.attributes["workflow.transaction_id"] == stack.transactions[state]


def _refused(stack: Stack) -> None:
    """The backend refuses for good what another client sends, and the metrics of that time."""
    counters = [f"otelcol_exporter_send_failed_{signal}" for signal in ("spans", "log_records", "metric_points")]
    trace = next(trace_ids(1))
    client = Client(stack.collector.ports["otlp_http_port"])
    stack.backend.refuse(400)
    assert client.send("traces", traces(Shape("step.lost INTERNAL").stamped(trace))) == 200
    assert client.send("logs", logs([log_record(trace, "lost")])) == 200
    client.close()
    wait_until(lambda: all(map(stack.collector.counted, counters)), "the backend has refused every signal")
    stack.backend.accept()
