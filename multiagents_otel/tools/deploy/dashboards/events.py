"""Events on the bus: how many, how late, and those that are lost, late or executed twice."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from multiagents_otel.tools.deploy.dashboards import traces
from multiagents_otel.tools.deploy.dashboards.board import WORKER, Section, assembled
from multiagents_otel.tools.deploy.dashboards.panels import Panel, Query, graph, heat, states
from multiagents_otel.tools.deploy.dashboards.promql import INTERVAL, alive, grown, of, quantile, rate, ratio

_CHOSEN: Final = 'worker_name=~"$worker"'
_EVENTS: Final = of("multiagents_events_total")
_DURATION: Final = of("multiagents_event_duration_seconds_bucket")
_QUEUE: Final = of("multiagents_event_queue_time_seconds_bucket", _CHOSEN)
_SIZE: Final = of("multiagents_event_size_bytes_bucket")


def board() -> Dashboard:
    """Give the board."""
    return assembled(
        "Events and queue",
        "Events on the bus: how many, how late, and those that are lost, late or executed twice.",
        Section("Events", _events()),
        Section("Queue", _queue()),
        Section("Lost, late, doubled", _lost()),
        Section("The bus", _bus()),
        variables=[WORKER],
    )


def _events() -> list[Panel]:
    failed = rate(of("multiagents_events_total", 'status="error"'), "event_type")
    return [
        graph(
            "Events, by type",
            "A second: once in each process that handles one, and where its publication failed or reached nobody.",
            Query(rate(_EVENTS, "event_type"), "{{event_type}}"),
            unit="cps",
            width=8,
            stacked=True,
        ),
        graph(
            "Share of events that failed",
            "Whose handling failed or timed out, or that could not be published or delivered.",
            Query(ratio(failed, rate(_EVENTS, "event_type")), "{{event_type}}"),
            unit="percentunit",
            width=8,
            steps={0.1: "red"},
        ),
        graph(
            "From publication until handled, p95",
            "Queue and handling, by type. A dot is one event: it leads to its trace.",
            Query(quantile(0.95, _DURATION, "event_type"), "{{event_type}}", exemplars=True),
            unit="s",
            width=8,
            steps={5: "red"},
            links=[traces.link("Traces with ${__field.labels.event_type}", traces.OF_EVENT)],
        ),
    ]


def _queue() -> list[Panel]:
    in_flight = alive(of("multiagents_events_in_flight", _CHOSEN))
    return [
        graph(
            "Queue time of commands",
            "From a command's publication until a worker's process picked it up. It grows when workers are too few or "
            "their event loop is blocked. A dot is one command: it leads to its trace.",
            Query(quantile(0.5, _QUEUE), "p50"),
            Query(quantile(0.95, _QUEUE), "p95", exemplars=True),
            Query(quantile(0.99, _QUEUE), "p99"),
            unit="s",
            width=6,
        ),
        graph(
            "Queue time by worker, p95",
            "95 of 100 commands waited no longer.",
            Query(quantile(0.95, _QUEUE, "worker_name"), "{{worker_name}}", exemplars=True),
            unit="s",
            width=6,
            links=[traces.link("Traces of ${__field.labels.worker_name}", traces.OF_WORKER)],
        ),
        heat("Spread of queue times", "How many commands waited for each range of times.", _QUEUE, width=6),
        graph(
            "In flight",
            "Commands delivered and not answered yet, as the living processes that sent them know. Not the stalled.",
            Query(f"sum by (worker_name) ({in_flight})", "{{worker_name}}"),
            unit="none",
            width=6,
            stacked=True,
        ),
    ]


def _lost() -> list[Panel]:
    publish_errors = of("multiagents_events_publish_errors_total")
    return [
        graph(
            "Undelivered",
            "In each interval: published, and nobody was there. Its workflow stalls.",
            _rare("multiagents_events_undelivered_total", "event_type, worker_name", "{{event_type}} {{worker_name}}"),
            unit="none",
            bars=True,
            width=6,
        ),
        graph(
            "Could not be published",
            "In each interval, by the class of what the bus raised.",
            Query(f"{grown(publish_errors, 'event_type, error_type', INTERVAL)}", "{{event_type}}: {{error_type}}"),
            unit="none",
            bars=True,
            width=6,
        ),
        graph(
            "Executed twice",
            "Commands in each interval that reached more than one receiver, and results that several orchestrators "
            "handled: on Redis pub/sub every replica executes every command, and every next step.",
            _rare("multiagents_commands_duplicated_total", "worker_name", "{{worker_name}}"),
            _rare("multiagents_results_duplicated_total", "worker_name", "results of {{worker_name}}"),
            unit="none",
            bars=True,
            width=6,
        ),
        graph(
            "Stale results",
            "Results in each interval that no step waited for: late, doubled, or another orchestrator's.",
            _rare("multiagents_events_stale_total", "worker_name", "{{worker_name}}"),
            unit="none",
            bars=True,
            width=6,
        ),
    ]


def _rare(counter: str, by: str, legend: str) -> Query:
    return Query(grown(of(counter, _CHOSEN), by, INTERVAL), legend)


def _bus() -> list[Panel]:
    listening = alive(of("multiagents_event_bus_listener_active"))
    return [
        states(
            "Listeners",
            "Whether the event buses of all living processes of a service hear: a deaf one sends, and gets nothing.",
            Query(f"min by (job) ({listening})", "{{job}}"),
            {"0": ("deaf", "red"), "1": ("listening", "green")},
            width=8,
        ),
        graph(
            "Size of events, p95",
            "As published, without what multiagents-otel adds. Measured with track_payload_size.",
            Query(quantile(0.95, _SIZE, "event_type"), "{{event_type}}"),
            unit="bytes",
            width=8,
        ),
        graph(
            "Published",
            "Bytes a second, by type of event. Measured with track_payload_size.",
            Query(rate(of("multiagents_event_size_bytes_sum"), "event_type"), "{{event_type}}"),
            unit="binBps",
            width=8,
            stacked=True,
        ),
    ]
