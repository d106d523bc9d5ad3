"""What became of the workflows, how long they and their steps took, and their traces."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from multiagents_otel.tools.deploy.dashboards import traces
from multiagents_otel.tools.deploy.dashboards.board import Section, assembled, chosen, typed
from multiagents_otel.tools.deploy.dashboards.panels import Column, Panel, Query, found, graph, heat, listing
from multiagents_otel.tools.deploy.dashboards.promql import INTERVAL, RANGE, alive, grown, of, quantile, rate, ratio

_CHOSEN: Final = 'workflow_id=~"$workflow"'
_STARTED: Final = of("multiagents_workflows_started_total", _CHOSEN)
_ENDED: Final = of("multiagents_workflows_total", _CHOSEN)
_COUNTING: Final = of("multiagents_workflows_total", _CHOSEN, 'status!="cancelled"')
_COMPLETED: Final = of("multiagents_workflows_total", _CHOSEN, 'status="completed"')
_DURATION: Final = of("multiagents_workflow_duration_seconds_bucket", _CHOSEN)
_STEPS: Final = of("multiagents_step_duration_seconds_bucket", _CHOSEN)


def board() -> Dashboard:
    """Give the board."""
    return assembled(
        "Workflows",
        "What became of the workflows, how long they and their steps took, and their traces.",
        Section("Outcome", _outcome()),
        Section("Duration", _duration()),
        Section("Under way", _under_way()),
        Section("Steps", _steps()),
        Section("Compensations", _compensations()),
        Section("Traces", _traces()),
        variables=[
            chosen(
                "workflow", "Workflow", 'label_values(multiagents_workflows_started_total{job=~"$job"}, workflow_id)'
            ),
            typed(
                "transaction", "Transaction", "A transaction's id, as execute_workflow returned it: finds its trace."
            ),
        ],
        links=[traces.link("Trace of the transaction", traces.TRANSACTION)],
    )


def _outcome() -> list[Panel]:
    def ended(status: str) -> str:
        return grown(of("multiagents_workflows_total", _CHOSEN, f'status="{status}"'), "workflow_id")

    return [
        listing(
            "By workflow",
            "In the time range. One that stalls and ends after all counts as both. Success leaves cancelled ones out.",
            {"workflow_id": "Workflow"},
            Column("Started", grown(_STARTED, "workflow_id"), decimals=0),
            *(Column(each.capitalize(), ended(each), decimals=0) for each in _STATUSES),
            Column(
                "Success",
                ratio(grown(_COMPLETED, "workflow_id"), grown(_COUNTING, "workflow_id")),
                unit="percentunit",
                decimals=2,
                steps={0: "red", 0.9: "orange", 0.99: "green"},
            ),
            Column("p50", quantile(0.5, _DURATION, "workflow_id", RANGE), unit="s"),
            Column("p95", quantile(0.95, _DURATION, "workflow_id", RANGE), unit="s"),
            sort="Started",
        ),
        graph(
            "Started and ended",
            "Workflows a second. Where more start than end for long, they pile up.",
            Query(rate(_STARTED), "started"),
            Query(rate(_ENDED), "ended"),
            unit="cps",
            width=8,
        ),
        graph(
            "Ended, by status",
            "Workflows a second.",
            Query(rate(_ENDED, "status"), "{{status}}"),
            unit="cps",
            width=8,
            stacked=True,
            links=[traces.link("Traces of ${__field.labels.status}", traces.OF_STATUS)],
        ),
        graph(
            "Success, by workflow",
            "Share that completed, of those that ended and were not cancelled.",
            Query(ratio(rate(_COMPLETED, "workflow_id"), rate(_COUNTING, "workflow_id")), "{{workflow_id}}"),
            unit="percentunit",
            width=8,
            most=1,
        ),
    ]


_STATUSES: Final = ("completed", "failed", "compensated", "cancelled", "stalled")


def _duration() -> list[Panel]:
    return [
        graph(
            "Duration",
            "From start to end, over all chosen workflows. A dot is one workflow: it leads to its trace.",
            Query(quantile(0.5, _DURATION), "p50"),
            Query(quantile(0.95, _DURATION), "p95", exemplars=True),
            Query(quantile(0.99, _DURATION), "p99"),
            unit="s",
            width=8,
            steps={30: "red"},
        ),
        graph(
            "Duration by workflow, p95",
            "95 of 100 took no longer.",
            Query(quantile(0.95, _DURATION, "workflow_id"), "{{workflow_id}}", exemplars=True),
            unit="s",
            width=8,
            links=[traces.link("Traces of ${__field.labels.workflow_id}", traces.OF_WORKFLOW)],
        ),
        heat("Spread of durations", "How many workflows ended within each range of durations.", _DURATION, width=8),
    ]


def _under_way() -> list[Panel]:
    stalls = grown(of("multiagents_workflow_stalls_total", _CHOSEN), "workflow_id", INTERVAL)
    return [
        graph(
            "Active",
            "Workflows that living processes hold: started or taken over, neither ended nor stalled.",
            Query(f"sum by (workflow_id) ({alive(of('multiagents_active_workflows', _CHOSEN))})", "{{workflow_id}}"),
            unit="none",
            width=8,
            stacked=True,
        ),
        graph(
            "Stalled now",
            "Workflows of living processes that can't go on and have not ended after all.",
            Query(f"sum by (workflow_id) ({alive(of('multiagents_workflows_stalled', _CHOSEN))})", "{{workflow_id}}"),
            unit="none",
            width=8,
            steps={1: "red"},
        ),
        graph(
            "Stalls",
            "In each interval, workflows found unable to go on: something was lost, or no result came in time.",
            Query(stalls, "{{workflow_id}}"),
            unit="none",
            bars=True,
            width=8,
        ),
    ]


def _steps() -> list[Panel]:
    step = "workflow_id, multiagents_step_name"
    legend = "{{workflow_id}} / {{multiagents_step_name}}"
    spent = of("multiagents_step_duration_seconds_sum", _CHOSEN)
    count = of("multiagents_step_duration_seconds_count", _CHOSEN)
    return [
        listing(
            "Slowest steps",
            "In the time range. Share is the part of all the steps' time that was spent in this one.",
            {"workflow_id": "Workflow", "multiagents_step_name": "Step"},
            Column("Steps", grown(count, step), decimals=0),
            Column("p50", quantile(0.5, _STEPS, step, RANGE), unit="s"),
            Column("p95", quantile(0.95, _STEPS, step, RANGE), unit="s"),
            Column(
                "Share",
                f"{grown(spent, step)} / scalar({grown(spent)} > 0)",
                unit="percentunit",
                decimals=1,
            ),
            width=12,
            sort="p95",
        ),
        graph(
            "Duration by step, p95",
            "From before a command is published until its result is recorded: queue, worker and way back. "
            "A dot is one step: it leads to its trace.",
            Query(quantile(0.95, _STEPS, step), legend, exemplars=True),
            unit="s",
            links=[traces.link("Traces with ${__field.labels.multiagents_step_name}", traces.OF_STEP)],
        ),
    ]


def _compensations() -> list[Panel]:
    compensations = of("multiagents_compensations_total", _CHOSEN)
    return [
        graph(
            "Compensations requested",
            "A second. An undelivered one reached nobody: what was done stays done.",
            Query(rate(compensations, "status"), "{{status}}"),
            unit="cps",
            stacked=True,
        ),
        listing(
            "Compensations by workflow",
            "In the time range.",
            {"workflow_id": "Workflow", "status": "Request"},
            Column("Compensations", grown(compensations, "workflow_id, status"), decimals=0),
            width=12,
        ),
    ]


def _traces() -> list[Panel]:
    return [
        found(
            "The transaction's trace",
            "Of the transaction whose id stands in the box above. Nothing is found if the trace was not sampled.",
            traces.TRANSACTION,
        ),
        found(
            "Workflows that did not complete",
            "The latest in the time range that failed, were compensated or stalled.",
            traces.NOT_COMPLETED,
        ),
    ]
