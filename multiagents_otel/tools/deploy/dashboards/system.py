"""The machines and processes that the workflows run on."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from multiagents_otel.tools.deploy.dashboards.board import Section, assembled
from multiagents_otel.tools.deploy.dashboards.panels import Column, Panel, Query, graph, heat, listing
from multiagents_otel.tools.deploy.dashboards.promql import GONE, PROCESSES, alive, of, quantile, rate

_LAG: Final = of("multiagents_event_loop_lag_seconds_bucket")
_PROCESS: Final = "{{job}} {{instance}}"


def board() -> Dashboard:
    """Give the board."""
    return assembled(
        "System",
        "The machines and processes that the workflows run on.",
        Section("Processes", _processes()),
        Section("Event loops", _loops()),
        Section("Machines", _machines()),
    )


def _processes() -> list[Panel]:
    return [
        graph(
            "Processes alive",
            "Instrumented processes of each service whose event loop has reported lately.",
            Query(PROCESSES, "{{job}}"),
            unit="none",
            width=6,
            stacked=True,
        ),
        graph(
            "CPU of processes",
            "Of one core; each living process.",
            Query(f"sum by (job, instance) (rate({of('process_cpu_time_seconds_total')}[$__rate_interval]))", _PROCESS),
            unit="percentunit",
            width=6,
        ),
        graph(
            "Memory of processes",
            "Resident memory of each living process.",
            Query(alive(of("process_memory_usage_bytes")), _PROCESS),
            unit="bytes",
            width=6,
        ),
        graph(
            "Open files and threads",
            "The most that any living process of a service has: what only ever grows is leaking.",
            Query(f"max by (job) ({alive(of('process_open_file_descriptor_count'))})", "{{job}}: files"),
            Query(f"max by (job) ({alive(of('process_thread_count'))})", "{{job}}: threads"),
            unit="none",
            width=6,
        ),
        listing(
            "Gone without a word",
            "Processes that lived in the time range, live no more, and did not end in order: killed, crashed, cut "
            "off, or with a blocked event loop.",
            {"job": "Service", "instance": "Instance"},
            Column("Processes", GONE),
        ),
    ]


def _loops() -> list[Panel]:
    return [
        graph(
            "Event loop lag",
            "How late a loop calls what is due, over all processes. While it is late everything in its process "
            "waits: something does not give the loop back.",
            Query(quantile(0.5, _LAG), "p50"),
            Query(quantile(0.95, _LAG), "p95"),
            Query(quantile(0.99, _LAG), "p99"),
            unit="s",
            width=8,
            steps={1: "red"},
        ),
        graph(
            "Event loop lag by service, p99",
            "One probe a second in each process.",
            Query(quantile(0.99, _LAG, "job"), "{{job}}"),
            unit="s",
            width=8,
            steps={1: "red"},
        ),
        heat("Spread of lag", "How many probes were late by each range of times.", _LAG, width=8, exemplars=False),
    ]


def _machines() -> list[Panel]:
    io = rate(of("multiagents_system_network_io_bytes_total"), "job, instance, network_io_direction")
    return [
        graph(
            "CPU",
            "Of the whole machine, all cores: the busiest of the machines that run a service.",
            _busiest("multiagents_system_cpu_percent"),
            unit="percent",
            width=8,
            most=100,
            steps={90: "red"},
        ),
        graph(
            "Memory",
            "In use, of the whole machine: the fullest of the machines that run a service.",
            _busiest("multiagents_system_memory_percent"),
            unit="percent",
            width=8,
            most=100,
            steps={90: "red"},
        ),
        graph(
            "Disk",
            "In use on the root file system: the fullest of the machines that run a service. Needs a MetricsCollector.",
            _busiest("multiagents_system_disk_percent"),
            unit="percent",
            width=8,
            most=100,
            steps={90: "red"},
        ),
        graph(
            "Network",
            "Bytes a second through all interfaces of the machine that has most. Processes of one machine count the "
            "same bytes, so they are not added up. Needs a MetricsCollector.",
            Query(f"max by (job, network_io_direction) ({io})", "{{job}}: {{network_io_direction}}"),
            unit="binBps",
        ),
        graph(
            "Clients of Redis",
            "Connected to the Redis servers, as the processes of a service last saw it. Needs a MetricsCollector.",
            _busiest("multiagents_redis_connections"),
            unit="none",
        ),
    ]


def _busiest(gauge: str) -> Query:
    return Query(f"max by (job) ({alive(of(gauge))})", "{{job}}")
