"""The options of the monitors and of logging: the sections of a monitoring configuration.

The names are those of the framework's monitoring guide and of its own ``MonitoringConfig``, together. Where the
two differ for one thing, the guide's is the option's name and the framework's its alias. The defaults are the
guide's.
"""

from __future__ import annotations

from typing import Final

from multiagents_otel.config import values
from multiagents_otel.config.option import Alias, Option

LOGGING: Final = "logging"
EVENTS: Final = "event_monitoring"
WORKERS: Final = "worker_monitoring"
METRICS: Final = "metrics_collection"

_BOOLEAN: Final = (values.boolean, "true or false")
_POSITIVE: Final = (values.positive, "a number above 0")
_COUNT: Final = (values.whole(1), "a whole number, 1 or more")
_LEVEL: Final = (values.level, f"one of {', '.join(values.LEVELS)}")

_DAYS: Final = Alias(
    "retention_days", lambda days: values.positive(days) * 24, lambda hours: values.positive(hours / 24)
)
_FORMAT: Final = Alias(
    "export_format",
    lambda value: values.one_of("json", "prometheus")(value) == "prometheus",
    lambda exported: "prometheus" if exported else "json",
    "'json' or 'prometheus'",
)

MONITORING: Final[tuple[Option, ...]] = (
    Option(
        "default_logger",
        "composite",
        values.one_of("file", "console", "composite", "otel"),
        "'file', 'console', 'composite' or 'otel'",
        "Where the logger writes that `create_logger()` makes; composite: file and console, otel: neither.",
        section=LOGGING,
    ),
    Option(
        "level", "INFO", *_LEVEL, "The least level that is logged.", section=LOGGING, framework_variable="LOG_LEVEL"
    ),
    Option(
        "json_format",
        True,
        values.json_or_text,
        "true or false",
        "One JSON object a line, else text.",
        section=LOGGING,
        framework_variable="LOG_FORMAT",
    ),
    Option("include_metadata", True, *_BOOLEAN, "Whether a line has the fields that were logged.", section=LOGGING),
    Option("include_caller_info", True, *_BOOLEAN, "Whether a line has the file, line and function.", section=LOGGING),
    Option(
        "file_path",
        "./logs/multiagents.log",
        values.path,
        "a path",
        "The log file.",
        section=LOGGING,
        framework_variable="LOG_FILE",
    ),
    Option(
        "max_file_size_mb",
        100,
        *_POSITIVE,
        "The size at which the log file is rotated, in MiB.",
        section=LOGGING,
        alias=Alias("max_size_mb"),
        framework_variable="LOG_MAX_SIZE_MB",
    ),
    Option(
        "backup_count",
        5,
        values.whole(0),
        "a whole number, 0 or more",
        "How many rotated log files are kept.",
        section=LOGGING,
        framework_variable="LOG_BACKUP_COUNT",
    ),
    Option("use_colors", True, *_BOOLEAN, "Colours on the console, if it is a terminal.", section=LOGGING),
    Option(
        "console_min_level",
        "WARNING",
        *_LEVEL,
        "The least level that a composite logger's console shows.",
        section=LOGGING,
    ),
    Option(
        "enabled",
        True,
        *_BOOLEAN,
        "Whether the configuration turns an EventMonitor on.",
        section=EVENTS,
        framework_variable="EVENT_MONITORING_ENABLED",
    ),
    Option(
        "trace_retention_hours",
        24,
        *_POSITIVE,
        "How long traces are kept. Counts reach as far back, 24 hours at least.",
        section=EVENTS,
    ),
    Option(
        "cleanup_interval_minutes",
        60,
        *_POSITIVE,
        "How often traces that are too old are looked for.",
        section=EVENTS,
        framework_variable="EVENT_CLEANUP_INTERVAL",
    ),
    Option(
        "max_traces_per_transaction",
        1000,
        *_COUNT,
        "Entries of a transaction's trace; the newest stay.",
        section=EVENTS,
    ),
    Option(
        "max_trace_history",
        10000,
        *_COUNT,
        "Transactions whose traces are kept; the newest stay.",
        section=EVENTS,
        framework_variable="EVENT_MAX_HISTORY",
    ),
    Option("track_performance", True, *_BOOLEAN, "Quantiles of latencies; without it they are 0.", section=EVENTS),
    Option(
        "enabled",
        True,
        *_BOOLEAN,
        "Whether the configuration turns a WorkerMonitor on.",
        section=WORKERS,
        framework_variable="WORKER_MONITORING_ENABLED",
    ),
    Option(
        "health_check_interval_seconds",
        30,
        *_POSITIVE,
        "How long an execution may go beyond its timeout before its worker has failed.",
        section=WORKERS,
        framework_variable="WORKER_HEALTH_CHECK_INTERVAL",
    ),
    Option("performance_window_minutes", 60, *_POSITIVE, "The window of the performance figures.", section=WORKERS),
    Option(
        "alert_on_high_error_rate",
        True,
        *_BOOLEAN,
        "One WARNING each time that a worker's error rate gets above the threshold.",
        section=WORKERS,
    ),
    Option(
        "error_rate_threshold",
        0.1,
        values.fraction,
        "a fraction, above 0 and at most 1",
        "The share of failed executions above which a worker is `degraded`.",
        section=WORKERS,
    ),
    Option(
        "slow_execution_threshold_ms",
        5000,
        *_POSITIVE,
        "The 95th percentile of the duration above which a worker is `degraded`.",
        section=WORKERS,
    ),
    Option(
        "track_resource_usage",
        True,
        *_BOOLEAN,
        "CPU, memory and threads of the process (`process.*`), if `multiagents-otel[process]` is installed.",
        section=WORKERS,
    ),
    Option(
        "metrics_retention_hours", 24, *_POSITIVE, "How far back figures reach, 24 hours at least.", section=WORKERS
    ),
    Option(
        "max_metrics_per_worker",
        1000,
        *_COUNT,
        "Accepted as the framework has it: figures are sums, and need no limit.",
        section=WORKERS,
    ),
    Option(
        "enabled",
        True,
        *_BOOLEAN,
        "Whether the configuration turns a MetricsCollector on.",
        section=METRICS,
        framework_variable="METRICS_ENABLED",
    ),
    Option(
        "collection_interval_seconds",
        60,
        *_POSITIVE,
        "How often system metrics are collected.",
        section=METRICS,
        framework_variable="METRICS_INTERVAL",
    ),
    Option("retention_hours", 168, *_POSITIVE, "How long collected metrics are kept.", section=METRICS, alias=_DAYS),
    Option(
        "include_system_metrics",
        True,
        *_BOOLEAN,
        "Samples of CPU, memory, disk and network are taken, once the collector is started.",
        section=METRICS,
    ),
    Option("custom_metrics_enabled", True, *_BOOLEAN, "Whether `record_metric()` records.", section=METRICS),
    Option(
        "export_prometheus",
        True,
        *_BOOLEAN,
        "For the Collector's configuration: a Prometheus endpoint. The application itself never opens a port.",
        section=METRICS,
        alias=_FORMAT,
    ),
    Option(
        "export_port",
        9090,
        values.whole(1, 65535),
        "a port, 1 to 65535",
        "For the Collector's configuration: the port of that endpoint.",
        section=METRICS,
    ),
)
