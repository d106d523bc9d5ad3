"""The framework's own monitors and loggers give way to ours, where the user passed none.

They cost twice what ours cost, and tell less. What a user passed in stays, and so does what a user
makes by hand: only what the framework makes for itself is replaced.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from multiagents_otel import monitoring
from multiagents_otel.instrumentation.event_bus import REDIS_BUS_MODULE
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.telemetry.core import Telemetry

_FACTORY_MODULE: Final = "multiagents.core.factory"
_CONFIG_MODULE: Final = "multiagents.monitoring.config"
_MONITORS: Final = ("EventMonitor", "WorkerMonitor", "MetricsCollector")


class BuiltinReplacement:
    """The patches of the places where the framework makes monitors and loggers."""

    def __init__(self, telemetry: Telemetry, patches: PatchSet, logger_provider: Any) -> None:
        self._telemetry = telemetry
        self._patches = patches
        self._provider = logger_provider
        self._on: bool = telemetry.options.replace_builtin_monitors

    def table(self) -> list[Patch]:
        """The rows; none with ``replace_builtin_monitors=False``."""
        if not self._on:
            return []
        return [
            Patch(REDIS_BUS_MODULE, "RedisEventBus", "__init__", self._bus),
            Patch(_CONFIG_MODULE, "MonitoringConfig", "create_logger", self._create_logger),
            *(Patch(_FACTORY_MODULE, "", name, functools.partial(self._class, name)) for name in _MONITORS),
        ]

    def _bus(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return self._made(original, self._in_bus)

    def manager(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``WorkerManager.__init__`` with our monitors in the place of the framework's."""
        return self._made(original, self._in_manager) if self._on else original

    def _made(self, original: Callable[..., Any], replace: Callable[[Any, dict[str, Any]], None]) -> Callable[..., Any]:
        switch, guard, signature = self._patches.switch, self._telemetry.guard, inspect.signature(original)

        @functools.wraps(original)
        def __init__(thing: Any, *args: Any, **kwargs: Any) -> None:
            original(thing, *args, **kwargs)
            if switch.on:
                try:
                    given = signature.bind_partial(thing, *args, **kwargs).arguments
                    replace(thing, {name: value for name, value in given.items() if value is not None})
                except Exception:
                    guard.caught("monitor")

        return __init__

    def _in_bus(self, bus: Any, given: dict[str, Any]) -> None:
        logger = bus.monitoring_logger
        if "event_monitor" not in given and _is_builtin(bus.event_monitor):
            bus.event_monitor = _ours("EventMonitor", logger=logger)
        if _is_builtin(bus.metrics_collector):
            bus.metrics_collector = _ours("MetricsCollector", logger=logger)

    def _in_manager(self, manager: Any, given: dict[str, Any]) -> None:
        logger = manager.monitoring_logger
        if "event_monitor" not in given and _is_builtin(manager.event_monitor):
            # The framework has one for each: a command that the one saw published the other saw executed.
            shared = getattr(manager.event_bus, "event_monitor", None)
            ours = isinstance(shared, monitoring.class_of("EventMonitor"))
            manager.event_monitor = shared if ours else _ours("EventMonitor", logger=logger)
        if "worker_monitor" not in given and _is_builtin(manager.worker_monitor):
            manager.worker_monitor = _ours("WorkerMonitor", logger=logger)

    def _create_logger(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        def create_logger(config: Any, *args: Any, **kwargs: Any) -> Any:
            # Only where the framework asks for itself: who calls it by hand gets what it says.
            if switch.on and _within_framework(_caller().f_globals):
                try:
                    return _logger_of(config, self._provider)
                except ValueError:
                    pass  # a default_logger that does not exist is the framework's to refuse
                except Exception:
                    guard.caught("log")
            return original(config, *args, **kwargs)

        return create_logger

    def _class(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original, updated=())
        def make(*args: Any, **kwargs: Any) -> Any:
            if switch.on:
                try:
                    return _ours(name, *args, **kwargs)
                except Exception:
                    guard.caught("monitor")
            return original(*args, **kwargs)

        return make


def _ours(name: str, *args: Any, **kwargs: Any) -> Any:
    """The configuration's monitor, which the framework then starts and stops; else one of its own."""
    configured = monitoring.configured(name)
    return configured if configured is not None else monitoring.class_of(name)(*args, **kwargs)


def _logger_of(config: Any, provider: Any) -> Any:
    """The configuration's logger, where the framework was told nothing else."""
    from multiagents_otel.logs import create_logger

    told_nothing = config.logging == type(config.logging)()
    return (monitoring.configured_logger() if told_nothing else None) or create_logger(config.logging, provider)


def _is_builtin(monitor: Any) -> bool:
    """Whether a monitor is of the framework's own class, not of a user's subclass."""
    kind = type(monitor)
    return kind.__name__ in _MONITORS and _within_framework({"__name__": kind.__module__})


def _caller() -> FrameType:
    """The frame that has called the patched function: the patch itself may take several."""
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("multiagents_otel."):
        frame = frame.f_back
    return frame


def _within_framework(namespace: dict[str, Any]) -> bool:
    return str(namespace.get("__name__")).partition(".")[0] == "multiagents"
