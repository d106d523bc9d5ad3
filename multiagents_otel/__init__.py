"""OpenTelemetry for multiagents-framework: one joined trace for each workflow, and exact metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multiagents_otel.version import __version__

if TYPE_CHECKING:
    from multiagents_otel.api import auto_instrument, flush
    from multiagents_otel.auto import instrument_event_bus
    from multiagents_otel.config import OptionError
    from multiagents_otel.configuration import MonitoringConfig
    from multiagents_otel.instrumentation import MultiAgentsInstrumentor
    from multiagents_otel.logs import CompositeLogger, ConsoleLogger, FileLogger, OtelLogger
    from multiagents_otel.logs.secure import SecureLogger
    from multiagents_otel.monitors.business import BusinessMetricsMonitor
    from multiagents_otel.monitors.event_monitor import EventMonitor
    from multiagents_otel.monitors.metrics_collector import MetricsCollector
    from multiagents_otel.monitors.sampling import SamplingEventMonitor
    from multiagents_otel.monitors.worker_monitor import WorkerMonitor
    from multiagents_otel.processing.exporters import (
        RedactingLogExporter,
        RedactingMetricExporter,
        RedactingSpanExporter,
    )
    from multiagents_otel.processing.redaction import sanitize_context_for_logging
    from multiagents_otel.telemetry.instruments import views

__all__ = [
    "BusinessMetricsMonitor",
    "CompositeLogger",
    "ConsoleLogger",
    "EventMonitor",
    "FileLogger",
    "MetricsCollector",
    "MonitoringConfig",
    "MultiAgentsInstrumentor",
    "OptionError",
    "OtelLogger",
    "RedactingLogExporter",
    "RedactingMetricExporter",
    "RedactingSpanExporter",
    "SamplingEventMonitor",
    "SecureLogger",
    "WorkerMonitor",
    "__version__",
    "auto_instrument",
    "flush",
    "instrument_event_bus",
    "sanitize_context_for_logging",
    "views",
]

_HOMES = {
    "BusinessMetricsMonitor": "multiagents_otel.monitors.business",
    "CompositeLogger": "multiagents_otel.logs",
    "ConsoleLogger": "multiagents_otel.logs",
    "EventMonitor": "multiagents_otel.monitors.event_monitor",
    "FileLogger": "multiagents_otel.logs",
    "MetricsCollector": "multiagents_otel.monitors.metrics_collector",
    "MonitoringConfig": "multiagents_otel.configuration",
    "MultiAgentsInstrumentor": "multiagents_otel.instrumentation",
    "OptionError": "multiagents_otel.config",
    "OtelLogger": "multiagents_otel.logs",
    "RedactingLogExporter": "multiagents_otel.processing.exporters",
    "RedactingMetricExporter": "multiagents_otel.processing.exporters",
    "RedactingSpanExporter": "multiagents_otel.processing.exporters",
    "SamplingEventMonitor": "multiagents_otel.monitors.sampling",
    "SecureLogger": "multiagents_otel.logs.secure",
    "WorkerMonitor": "multiagents_otel.monitors.worker_monitor",
    "auto_instrument": "multiagents_otel.api",
    "flush": "multiagents_otel.api",
    "instrument_event_bus": "multiagents_otel.auto",
    "sanitize_context_for_logging": "multiagents_otel.processing.redaction",
    "views": "multiagents_otel.telemetry.instruments",
}


if not TYPE_CHECKING:  # a type checker takes any name for one that a module's __getattr__ knows

    def __getattr__(name: str) -> Any:
        # Names are loaded on first use: the import of the SDK takes longer than that of this package.
        if name in _HOMES:
            from importlib import import_module

            from multiagents_otel.config.environment import corrected_environment

            home = _HOMES[name]
            with corrected_environment():  # the import of OpenTelemetry itself raises for some values
                module = import_module(home)
            # All names of the module: flush() is often called first when the interpreter can't import any more.
            globals().update({each: getattr(module, each) for each in _HOMES if _HOMES[each] == home})
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
