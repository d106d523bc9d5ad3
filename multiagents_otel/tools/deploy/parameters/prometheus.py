"""Parameters of Prometheus and its rules."""

from __future__ import annotations

from typing import Final

from multiagents_otel import semconv
from multiagents_otel.tools.deploy.forms import ADDRESS, ADDRESSES, RUNBOOK
from multiagents_otel.tools.deploy.parameter import Parameter

_BOUNDS: Final = tuple(f"{bound:g}" for bound in semconv.WORKFLOW_DURATION.boundaries)

ROWS: Final[tuple[Parameter, ...]] = (
    # --- prometheus.yaml
    Parameter("scrape_interval", "duration", "15s", "How often Prometheus scrapes, 2m at most.", most=120),
    Parameter("evaluation_interval", "duration", "15s", "How often rules are evaluated; not longer than the scrape."),
    Parameter(
        "collector_metrics",
        "text",
        "localhost:9464",
        "Where the application's metrics are: host:port, ...",
        form=ADDRESSES,
    ),
    Parameter(
        "collector_own_metrics", "text", "localhost:8888", "The Collector's own metrics: host:port, ...", form=ADDRESSES
    ),
    Parameter("alertmanager_address", "text", "localhost:9093", "Alertmanager: host:port, ...", form=ADDRESSES),
    Parameter("prometheus_address", "text", "localhost:9090", "Prometheus itself: host:port.", form=ADDRESS),
    # --- all alerts
    Parameter(
        "runbook",
        "text",
        "runbook.md",
        "Where runbook.md is to be read, as a URL for the alerts' links.",
        form=RUNBOOK,
    ),
    Parameter(
        "alert_window",
        "duration",
        "5m",
        "What rates, ratios and percentiles look back on; 4 scrapes and 2 exports at least.",
    ),
    Parameter("alert_for", "duration", "2m", "How long a rate, ratio, percentile or gauge must be bad to fire.", 0),
    Parameter("fault_window", "duration", "15m", "How long an alert on any occurrence fires after the last one."),
    Parameter("counter_memory", "duration", "1h", "The longest outage of Prometheus over which its rules remember."),
    Parameter("escalate_after", "duration", "30m", "A critical alert that fires for so long is escalated.", 0),
    # --- the application
    Parameter("alert_on_high_error_rate", "flag", "true", "Alert on a high share of failures, of events and workers."),
    Parameter("high_error_percent", "number", "10", "Failed events of a type, in percent.", 0, 100),
    Parameter("high_latency_seconds", "number", "5", "Average time from publication to handled, in seconds.", 0),
    Parameter("high_cpu_percent", "number", "90", "CPU of a machine, in percent.", 0, 100),
    Parameter("error_spike_count", "integer", "10", "More failed events than that in error_spike_window."),
    Parameter("error_spike_window", "duration", "5m", "What an error spike is counted over."),
    Parameter(
        "slow_workflow_seconds",
        "number",
        "30",
        "A slow workflow; a bucket of its histogram (1, 10, 60, ...).",
        choices=_BOUNDS,
    ),
    Parameter("worker_error_percent", "number", "10", "Failed executions of a worker, in percent.", 0, 100),
    Parameter("slow_worker_seconds", "number", "5", "95th percentile of a worker's executions, in seconds.", 0),
    Parameter("queue_time_seconds", "number", "5", "95th percentile of a command's wait, in seconds.", 0),
    Parameter("loop_lag_seconds", "number", "1", "95th percentile of an event loop's lag, in seconds.", 0),
    Parameter(
        "process_silent_seconds", "number", "120", "No sign of life for so long: 3 times metric_export_ms or more.", 0
    ),
    Parameter(
        "process_memory_seconds", "number", "86400", "How long a process that is gone is remembered, in seconds.", 0
    ),
    # --- the success SLO
    Parameter("slo_objective_percent", "number", "99", "Workflows that must complete, in percent.", 0, 100),
    Parameter("slo_least_bad", "integer", "3", "Fewer bad workflows in the long window page nobody."),
    Parameter("slo_fast_short", "duration", "5m", "Short window of the fast burn."),
    Parameter("slo_fast_long", "duration", "1h", "Long window of the fast burn."),
    Parameter("slo_fast_burn", "number", "14.4", "Fast burn: so many times what the objective allows."),
    Parameter("slo_medium_short", "duration", "30m", "Short window of the medium burn."),
    Parameter("slo_medium_long", "duration", "6h", "Long window of the medium burn."),
    Parameter("slo_medium_burn", "number", "6", "Medium burn: so many times what the objective allows."),
    Parameter("slo_slow_short", "duration", "6h", "Short window of the slow burn."),
    Parameter("slo_slow_long", "duration", "3d", "Long window of the slow burn."),
    Parameter("slo_slow_burn", "number", "1", "Slow burn: so many times what the objective allows."),
    # --- the pipeline
    Parameter("collector_down_for", "duration", "1m", "How long a Collector must be out of reach to fire.", 0),
    Parameter("no_data_for", "duration", "5m", "How long there must be no process at all to fire.", 0),
    Parameter("queue_full_percent", "number", "80", "An exporter's queue in use, in percent.", 0, 100),
    Parameter("telemetry_delayed_for", "duration", "10m", "How long a queue must hold telemetry and send none.", 0),
)
