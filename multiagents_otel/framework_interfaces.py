"""Our monitors and loggers serve as the framework's own: registered with its interfaces, whose import is slow."""

from __future__ import annotations

import sys
from typing import Any, Final

import wrapt

INTERFACES: Final = "multiagents.monitoring.interfaces"

SERVES: Final[tuple[tuple[str, str, str, str], ...]] = (
    (INTERFACES, "IEventMonitor", "multiagents_otel.monitors.event_monitor", "EventMonitor"),
    (INTERFACES, "ILogger", "multiagents_otel.logs.logger", "Logger"),
    (INTERFACES, "IMetricsCollector", "multiagents_otel.monitors.metrics_collector", "MetricsCollector"),
)
"""The framework's module and abstract class, and the module and class of ours that is a virtual subclass of it."""

_hooked: Final[set[str]] = set()


def serve() -> None:
    """Register our classes, as far as they are imported, now or when the framework gets imported."""
    for module in {row[0] for row in SERVES}:
        if module in sys.modules:
            _register(sys.modules[module])
        elif module not in _hooked:
            _hooked.add(module)
            wrapt.register_post_import_hook(_register, module)


def _register(module: Any) -> None:
    for interface_module, interface, home, name in SERVES:
        if interface_module == module.__name__ and home in sys.modules:
            abstract, ours = getattr(module, interface, None), getattr(sys.modules[home], name, None)
            if abstract is not None and ours is not None:
                abstract.register(ours)
