"""The workers: what they do, how long it takes, how it fails, how healthy they are."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from multiagents_otel.tools.deploy.dashboards import traces
from multiagents_otel.tools.deploy.dashboards.board import WORKER, Section, assembled
from multiagents_otel.tools.deploy.dashboards.panels import Column, Panel, Query, graph, heat, listing, states
from multiagents_otel.tools.deploy.dashboards.promql import INTERVAL, RANGE, alive, grown, of, quantile, rate, ratio

_CHOSEN: Final = 'worker_name=~"$worker"'
_EXECUTIONS: Final = of("multiagents_worker_executions_total", _CHOSEN)
_COUNTING: Final = of("multiagents_worker_executions_total", _CHOSEN, 'status!="cancelled"')
_FAILED: Final = of("multiagents_worker_executions_total", _CHOSEN, 'status="error"')
_ERRORS: Final = of("multiagents_worker_errors_total", _CHOSEN)
_DURATION: Final = of("multiagents_worker_duration_seconds_bucket", _CHOSEN)
_QUEUE: Final = of("multiagents_event_queue_time_seconds_bucket", _CHOSEN)
_HEALTH: Final = f"max by (worker_name) ({alive(of('multiagents_worker_health', _CHOSEN))})"

_TRACES: Final = traces.link("Traces of ${__field.labels.worker_name}", traces.OF_WORKER)
_FAILURES: Final = traces.link("Failures of ${__field.labels.worker_name}", traces.OF_FAILED_WORKER)


def board() -> Dashboard:
    """Give the board."""
    return assembled(
        "Workers",
        "The workers: what they do, how long it takes, how it fails, how healthy they are.",
        Section("By worker", _by_worker()),
        Section("Work", _work()),
        Section("Duration", _duration()),
        Section("Failures and health", _failures()),
        variables=[WORKER],
    )


def _by_worker() -> list[Panel]:
    failed = ratio(grown(_FAILED, "worker_name"), grown(_COUNTING, "worker_name"))
    return [
        listing(
            "Workers",
            "In the time range; health is that of now: 0 healthy, 1 degraded, 2 failed, as the worst of the living "
            "processes has it, none where no WorkerMonitor watches.",
            {"worker_name": "Worker"},
            Column("Executions", grown(_EXECUTIONS, "worker_name"), decimals=0),
            Column("Failed", failed, unit="percentunit", decimals=2, steps={0.01: "orange", 0.1: "red"}),
            Column("p50", quantile(0.5, _DURATION, "worker_name", RANGE), unit="s"),
            Column("p95", quantile(0.95, _DURATION, "worker_name", RANGE), unit="s"),
            Column("p99", quantile(0.99, _DURATION, "worker_name", RANGE), unit="s"),
            Column("Queue, p95", quantile(0.95, _QUEUE, "worker_name", RANGE), unit="s"),
            Column("Health", _HEALTH, steps={1: "orange", 2: "red"}),
            sort="Executions",
        ),
    ]


def _work() -> list[Panel]:
    return [
        graph(
            "Executions, by outcome",
            "A second. Cancelled ones were cut off when their process was shut down.",
            Query(rate(_EXECUTIONS, "status"), "{{status}}"),
            unit="cps",
            width=8,
            stacked=True,
        ),
        graph(
            "Executions, by worker",
            "A second, however they ended.",
            Query(rate(_EXECUTIONS, "worker_name"), "{{worker_name}}"),
            unit="cps",
            width=8,
            links=[_TRACES],
        ),
        graph(
            "Under way",
            "Executions that living processes are busy with.",
            Query(f"sum by (worker_name) ({alive(of('multiagents_worker_active', _CHOSEN))})", "{{worker_name}}"),
            unit="none",
            width=8,
            stacked=True,
        ),
    ]


def _duration() -> list[Panel]:
    return [
        graph(
            "Duration of executions",
            "Of the worker's own code, over all chosen workers. A dot is one execution: it leads to its trace.",
            Query(quantile(0.5, _DURATION), "p50"),
            Query(quantile(0.95, _DURATION), "p95", exemplars=True),
            Query(quantile(0.99, _DURATION), "p99"),
            unit="s",
            width=8,
        ),
        graph(
            "Duration by worker, p95",
            "95 of 100 executions took no longer.",
            Query(quantile(0.95, _DURATION, "worker_name"), "{{worker_name}}", exemplars=True),
            unit="s",
            width=8,
            links=[_TRACES],
        ),
        heat("Spread of durations", "How many executions ended within each range of durations.", _DURATION, width=8),
    ]


def _failures() -> list[Panel]:
    kinds = "worker_name, error_type"
    return [
        graph(
            "Share of executions that failed",
            "By worker. A timeout is a failure; cancelled executions do not count.",
            Query(ratio(rate(_FAILED, "worker_name"), rate(_COUNTING, "worker_name")), "{{worker_name}}"),
            unit="percentunit",
            width=8,
            steps={0.1: "red"},
            links=[_FAILURES],
        ),
        graph(
            "Errors by cause",
            "In each interval, by the class of what was raised; timeout is the framework's own.",
            Query(f"{grown(_ERRORS, kinds, INTERVAL)} > 0", "{{worker_name}}: {{error_type}}"),
            unit="none",
            bars=True,
            width=8,
            links=[_FAILURES],
        ),
        states(
            "Health",
            "As the worst of the living processes with a WorkerMonitor has it.",
            Query(_HEALTH, "{{worker_name}}"),
            {"0": ("healthy", "green"), "1": ("degraded", "orange"), "2": ("failed", "red")},
            width=8,
        ),
    ]
