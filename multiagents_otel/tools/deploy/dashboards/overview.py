"""The first look: does it work, how fast is it, what is wrong."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from multiagents_otel.tools.deploy.dashboards import traces
from multiagents_otel.tools.deploy.dashboards.board import Section, assembled
from multiagents_otel.tools.deploy.dashboards.panels import Column, Panel, Query, graph, listing, number
from multiagents_otel.tools.deploy.dashboards.promql import PROCESSES, RANGE, alive, grown, of, quantile, rate, ratio

_ENDED: Final = of("multiagents_workflows_total")
_COUNTING: Final = of("multiagents_workflows_total", 'status!="cancelled"')
_COMPLETED: Final = of("multiagents_workflows_total", 'status="completed"')
_DURATION: Final = of("multiagents_workflow_duration_seconds_bucket")
_EVENTS: Final = of("multiagents_events_total")
_EXECUTIONS: Final = of("multiagents_worker_executions_total", 'status!="cancelled"')


def board() -> Dashboard:
    """Give the board."""
    return assembled(
        "Overview",
        "Does it work, how fast is it, what is wrong.",
        Section("Over the time range", _totals()),
        Section("Now", _now()),
        Section("Workflows", _workflows()),
        Section("What went wrong", _faults()),
    )


def _totals() -> list[Panel]:
    return [
        number(
            "Success",
            "Share of the workflows that completed, of those that ended in the time range. Failed, compensated and "
            "stalled ones count against it; cancelled ones do not count.",
            Query(ratio(grown(_COMPLETED), grown(_COUNTING))),
            unit="percentunit",
            decimals=2,
            steps={0: "red", 0.9: "orange", 0.99: "green"},
            none="no workflows",
        ),
        number("Workflows ended", "Workflows that ended in the time range, however.", Query(grown(_ENDED)), decimals=0),
        number(
            "Duration, p95",
            "95 of 100 workflows that ended in the time range took no longer, from start to end.",
            Query(quantile(0.95, _DURATION, window=RANGE)),
            unit="s",
            steps={10: "orange", 30: "red"},
            none="no workflows",
        ),
        number(
            "Executions failed",
            "Share of the workers' executions that raised or timed out, in the time range. Cancelled ones do not "
            "count.",
            Query(ratio(grown(of("multiagents_worker_executions_total", 'status="error"')), grown(_EXECUTIONS))),
            unit="percentunit",
            decimals=2,
            steps={0.01: "orange", 0.1: "red"},
            none="no executions",
        ),
        number(
            "Undelivered events",
            "Commands, results and compensations that nobody received in the time range: each of them is lost.",
            Query(grown(of("multiagents_events_undelivered_total"))),
            decimals=0,
            steps={0.5: "red"},
        ),
        number(
            "Executed twice",
            "Commands that reached more than one receiver in the time range: each of the receivers executed them.",
            Query(grown(of("multiagents_commands_duplicated_total"))),
            decimals=0,
            steps={0.5: "red"},
        ),
    ]


def _now() -> list[Panel]:
    return [
        number(
            "Processes",
            "Instrumented processes that are alive.",
            Query(f"sum({PROCESSES})"),
            steps={0: "red", 1: "green"},
        ),
        number(
            "Active workflows",
            "Workflows that living processes hold: started or taken over, neither ended nor stalled.",
            Query(f"sum({alive(of('multiagents_active_workflows'))})"),
        ),
        number(
            "Stalled workflows",
            "Workflows that living processes hold and that can't go on: a command, a result or a "
            "compensation was lost.",
            Query(f"sum({alive(of('multiagents_workflows_stalled'))})"),
            steps={1: "red"},
        ),
        number(
            "Commands in flight",
            "Commands that were delivered and are not answered yet, as the living processes that sent them know.",
            Query(f"sum({alive(of('multiagents_events_in_flight'))})"),
        ),
        number(
            "Workers not healthy",
            "Workers that a WorkerMonitor of any living process finds degraded or failed. Without a WorkerMonitor "
            "nobody judges.",
            Query(f"sum(max by (worker_name) ({alive(of('multiagents_worker_health'))}) >= bool 1)"),
            steps={1: "red"},
            none="not watched",
        ),
        number(
            "Deaf processes",
            "Living processes of which an event bus has lost its listener: they send and hear nothing.",
            Query(f"sum({alive(of('multiagents_event_bus_listener_active'))} < bool 1)"),
            steps={1: "red"},
        ),
    ]


def _workflows() -> list[Panel]:
    return [
        graph(
            "Workflows ended, by status",
            "Workflows a second that ended, in all processes of the services.",
            Query(rate(_ENDED, "status"), "{{status}}"),
            unit="cps",
            stacked=True,
            links=[traces.link("Traces of ${__field.labels.status}", traces.OF_STATUS)],
        ),
        graph(
            "Duration of workflows",
            "From start to end, whichever processes a workflow ran in. A dot is one workflow: it leads to its trace.",
            Query(quantile(0.5, _DURATION), "p50"),
            Query(quantile(0.95, _DURATION), "p95", exemplars=True),
            Query(quantile(0.99, _DURATION), "p99"),
            unit="s",
            steps={30: "red"},
        ),
    ]


def _faults() -> list[Panel]:
    errors = of("multiagents_worker_errors_total")
    completed, counting = rate(_COMPLETED), rate(_COUNTING)
    return [
        graph(
            "Share that fails",
            "Of the events handled, of the workers' executions, of the workflows that ended.",
            Query(ratio(rate(of("multiagents_events_total", 'status="error"')), rate(_EVENTS)), "events"),
            Query(
                ratio(rate(of("multiagents_worker_executions_total", 'status="error"')), rate(_EXECUTIONS)),
                "executions",
            ),
            Query(f"1 - {ratio(completed, counting)}", "workflows"),
            unit="percentunit",
            steps={0.1: "red"},
        ),
        listing(
            "Errors of workers",
            "The ten most frequent, by worker and class of the cause, in the time range.",
            {"worker_name": "Worker", "error_type": "Error"},
            Column("Errors", f"topk(10, {grown(errors, 'worker_name, error_type')} > 0)", decimals=0),
            width=12,
            sort="Errors",
        ),
        listing(
            "Alerts that fire",
            "As Prometheus evaluates them, if it has the rules of multiagents-otel.",
            {"alertname": "Alert", "severity": "Severity"},
            Column(
                "Firing", 'count by (alertname, severity) (ALERTS{alertname=~"MultiAgents.+", alertstate="firing"})'
            ),
            sort="Severity",
        ),
    ]
