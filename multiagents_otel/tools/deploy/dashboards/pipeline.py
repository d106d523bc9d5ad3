"""Whether the telemetry itself arrives: the application's side, the Collector, Prometheus and Alertmanager."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from multiagents_otel.tools.deploy.dashboards.board import Section, assembled
from multiagents_otel.tools.deploy.dashboards.panels import Panel, Query, graph, number, states
from multiagents_otel.tools.deploy.dashboards.promql import INTERVAL, RATE, grown, of, rate

_SIGNALS: Final = {"spans": "spans", "metric_points": "metric points", "log_records": "log records"}


def board() -> Dashboard:
    """Give the board."""
    return assembled(
        "Telemetry pipeline",
        "Whether the telemetry itself arrives: the application's side, the Collector, Prometheus and Alertmanager.",
        Section("Is anything lost?", _losses()),
        Section("Through the Collector", _flow()),
        Section("Queues", _queues()),
        Section("Tail sampling", _tail_sampling()),
        Section("The Collector itself", _collector()),
        Section("Prometheus and Alertmanager", _monitoring()),
    )


def _own(name: str) -> str:
    """Select a counter of the Collector, which ends in _total or not, as its version and reader have it."""
    return f'{{__name__=~"{name}(_total)?"}}'


def _by_signal(counter: str) -> list[Query]:
    return [Query(grown(_own(f"{counter}_{key}")), name) for key, name in _SIGNALS.items()]


# At num_traces the oldest is let go before it is judged. The counter ..._trace_dropped_too_early is no measure of that,
# since with judgement on arrival it counts all that is kept as well.
_HELD: Final = "otelcol_processor_tail_sampling_sampling_traces_on_memory"


def _losses() -> list[Panel]:
    faults = of("multiagents_otel_errors_total")
    return [
        number(
            "Dropped for good",
            "Spans, points and records in the time range that the backend would not take (a 4xx or 500 that is not "
            "retried, a wrong token say).",
            *_by_signal("otelcol_exporter_send_failed"),
            decimals=0,
            steps={0.5: "red"},
        ),
        number(
            "Queue was full",
            "Spans, points and records in the time range that found no room in an exporter's queue.",
            *_by_signal("otelcol_exporter_enqueue_failed"),
            decimals=0,
            steps={0.5: "red"},
        ),
        number(
            "Refused",
            "Spans, points and records in the time range that the Collector sent back for lack of memory or room; "
            "clients retry. Requests that are too large, malformed or unauthorised are not counted anywhere.",
            *_by_signal("otelcol_receiver_refused"),
            decimals=0,
            steps={0.5: "orange"},
        ),
        number(
            "Traces held",
            "The most that one tail sampler held in the time range. At held_transactions (30,000 by default) "
            "the oldest is let go before it is judged, without a word.",
            Query(f"max(max_over_time({_HELD}[$__range]))"),
            decimals=0,
            none="no tail sampling",
        ),
        number(
            "Faults of multiagents-otel",
            "Caught inside the application in the time range, hooks of the user's that raised included.",
            Query(grown(faults)),
            decimals=0,
            steps={0.5: "orange"},
        ),
        number(
            "Targets down",
            "Scrape targets of Prometheus that don't answer right now.",
            Query("sum(up == bool 0)"),
            steps={1: "red"},
        ),
        graph(
            "Faults of multiagents-otel, by component",
            "In each interval; the application went on without them.",
            Query(grown(faults, "component", INTERVAL), "{{component}}"),
            unit="none",
            width=8,
            bars=True,
        ),
        graph(
            "Dropped by the application, by signal and reason",
            "Spans, data points and log records in each interval that a process recorded and did not export. Its log "
            "names the cause.",
            Query(grown(of("multiagents_otel_dropped_total"), "signal, reason", INTERVAL), "{{signal}}: {{reason}}"),
            unit="none",
            width=8,
            bars=True,
        ),
        graph(
            "Not sent, by exporter",
            "Spans, points and records lost in each interval: refused by the backend, or no room in the queue.",
            *(
                Query(
                    grown(_own(f"otelcol_exporter_{kind}_failed_{key}"), "exporter", INTERVAL),
                    f"{{{{exporter}}}}: {words}",
                )
                for kind, text in (("send", "refused by the backend"), ("enqueue", "queue full"))
                for key, name in _SIGNALS.items()
                for words in (f"{name}, {text}",)
            ),
            unit="none",
            width=8,
            bars=True,
        ),
    ]


def _flow() -> list[Panel]:
    return [
        graph(
            "Received",
            "A second, by signal.",
            *(Query(rate(_own(f"otelcol_receiver_accepted_{key}")), name) for key, name in _SIGNALS.items()),
            unit="cps",
            width=8,
        ),
        graph(
            "Sent",
            "A second, by exporter and signal.",
            *(
                Query(rate(_own(f"otelcol_exporter_sent_{key}"), "exporter"), f"{{{{exporter}}}}: {name}")
                for key, name in _SIGNALS.items()
            ),
            unit="cps",
            width=8,
        ),
        graph(
            "Refused",
            "A second, by receiver: sent back for lack of memory or room, and retried by the client.",
            *(
                Query(rate(_own(f"otelcol_receiver_refused_{key}"), "receiver"), f"{{{{receiver}}}}: {name}")
                for key, name in _SIGNALS.items()
            ),
            unit="cps",
            width=8,
        ),
    ]


def _queues() -> list[Panel]:
    by = "exporter, data_type"
    return [
        graph(
            "Exporters' queues in use",
            "Share of the room. A queue that only grows has a backend that does not take it; at 1 data is lost or "
            "clients are held up.",
            Query(
                f"max by ({by}) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)",
                "{{exporter}}: {{data_type}}",
            ),
            unit="percentunit",
            most=1,
            steps={0.8: "red"},
        ),
        graph(
            "Waiting in the queues",
            "In the unit of each queue's sizer: spans, points and records, or requests.",
            Query(f"sum by ({by}) (otelcol_exporter_queue_size)", "{{exporter}}: {{data_type}}"),
            unit="short",
        ),
    ]


def _tail_sampling() -> list[Panel]:
    decided = _own("otelcol_processor_tail_sampling_global_count_traces_sampled")
    return [
        graph(
            "Decisions",
            "Traces a second: kept (true) or not (false).",
            Query(rate(decided, "sampled"), "kept: {{sampled}}"),
            unit="cps",
            width=12,
        ),
        graph(
            "Traces held",
            "In memory, waiting for their decision.",
            Query(f"max by (instance) ({_HELD})", "{{instance}}"),
            unit="short",
            width=12,
        ),
    ]


def _collector() -> list[Panel]:
    return [
        graph(
            "Memory",
            "Resident, of each Collector. The memory limiter refuses data before it runs out.",
            Query('max by (instance) ({__name__=~"otelcol_process_memory_rss(_bytes)?"})', "{{instance}}"),
            unit="bytes",
            width=8,
        ),
        graph(
            "CPU",
            "Of one core, of each Collector.",
            Query(f"sum by (instance) (rate({_own('otelcol_process_cpu_seconds')}[{RATE}]))", "{{instance}}"),
            unit="percentunit",
            width=8,
        ),
        graph(
            "Uptime",
            "Of each Collector: a step down is a restart.",
            Query(f"max by (instance) ({_own('otelcol_process_uptime(_seconds)?')})", "{{instance}}"),
            unit="s",
            width=8,
        ),
    ]


def _monitoring() -> list[Panel]:
    return [
        states(
            "Targets",
            "Whether Prometheus reaches what it scrapes.",
            Query("min by (job) (up)", "{{job}}"),
            {"0": ("down", "red"), "1": ("up", "green")},
            width=8,
        ),
        graph(
            "Rules that can't be evaluated",
            "Evaluations a second that failed: alerts are blind then.",
            Query(
                "sum by (rule_group) (rate(prometheus_rule_evaluation_failures_total[$__rate_interval]))",
                "{{rule_group}}",
            ),
            unit="cps",
            width=8,
        ),
        graph(
            "Notifications",
            "A second, by integration. A failed one is a page that nobody got, unless its retry succeeds.",
            Query(
                "sum by (integration) (rate(alertmanager_notifications_total[$__rate_interval]))",
                "{{integration}}: sent",
            ),
            Query(
                "sum by (integration) (rate(alertmanager_notifications_failed_total[$__rate_interval]))",
                "{{integration}}: failed",
            ),
            unit="cps",
            width=8,
        ),
    ]
