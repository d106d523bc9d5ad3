"""The framework's own log records: the structlog loggers of its modules, and its built-in ``ILogger``s."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from typing import Any, Final

from multiagents_otel.core.scope import LOG_TAKEN, restore
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.logs.otel import OtelLogger
from multiagents_otel.logs.record import Record, level_of
from multiagents_otel.logs.structlog_chain import Chain, Exporter
from multiagents_otel.telemetry.core import Telemetry

_BASE_WORKER: Final = "multiagents.worker_sdk.base_worker"
MODULES: Final = (
    "multiagents.event_bus.redis_bus",
    "multiagents.orchestrator.orchestrator",
    _BASE_WORKER,
    "multiagents.worker_sdk.dspy_wrapper",
    "multiagents.worker_sdk.worker_manager",
)
_LOGGERS: Final = "multiagents.monitoring.loggers"


class FrameworkLogs:
    """The patches of the framework's loggers."""

    def __init__(self, telemetry: Telemetry, patches: PatchSet, logger_provider: Any) -> None:
        self._telemetry = telemetry
        self._patches = patches
        self._provider = logger_provider
        self._exports: bool = telemetry.options.framework_logs
        self._otel = OtelLogger(logger_provider=logger_provider, name="multiagents")
        self._exporters: dict[str, Exporter] = {}
        self._bound: list[weakref.ref[Any]] = []

    def table(self) -> list[Patch]:
        """The rows for the modules' loggers, and for the built-in loggers' one method that takes every record."""
        rows = [Patch(module, "logger", "bind", functools.partial(self._bind, module)) for module in MODULES]
        if self._exports:
            rows += [
                Patch(f"{_LOGGERS}.file_logger", "FileLogger", "log", self._log),
                Patch(f"{_LOGGERS}.console_logger", "ConsoleLogger", "log", self._log),
                Patch(f"{_LOGGERS}.composite_logger", "CompositeLogger", "log", self._log_of_several),
            ]
        return rows

    def adopt(self, worker: Any) -> None:
        """A worker that was made before has bound its logger already."""
        held = getattr(worker, "__dict__", {}).get("logger")
        exporter = self._exporters.get(_BASE_WORKER)
        # One that the user has put in its place is not ours to touch.
        if exporter is not None and "worker_type" in getattr(held, "_context", ()) and exporter.chain(held):
            self._bound = [ref for ref in self._bound if ref() is not None]
            self._bound.append(weakref.ref(held))

    def release(self) -> None:
        """What workers hold of our loggers becomes what it was without us."""
        for exporter in self._exporters.values():
            exporter.on = False
        for bound in filter(None, (ref() for ref in self._bound)):
            if isinstance(chain := bound._processors, Chain):
                bound._processors = chain.processors
        self._bound.clear()

    def _bind(self, module: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """``bind`` of a module's structlog logger, by which it makes what it logs with at each call."""
        switch, guard = self._patches.switch, self._telemetry.guard
        caught = functools.partial(guard.caught, "log")
        exporter = Exporter(module, caught, self._provider, exports=self._exports)
        self._exporters[module] = exporter
        held, binds = vars(sys.modules[module].logger), original

        @functools.wraps(original)
        def bind(**values: Any) -> Any:
            nonlocal binds
            bound = binds(**values)
            if switch.on:
                try:
                    exporter.chain(bound)
                    if held["bind"] is not bind:
                        # Configured to be cached on first use: structlog has just put that in our place.
                        held["bind"], binds = bind, held["bind"]
                except Exception:
                    guard.caught("log")
            return bound

        return bind

    def _log(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def log(logger: Any, level: Any, *args: Any, **kwargs: Any) -> Any:
            if switch.on and logger._should_log(level):
                try:
                    self._export(level, args, kwargs)
                except Exception:
                    guard.caught("log")
            return await original(logger, level, *args, **kwargs)

        return log

    def _log_of_several(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        async def log(*args: Any, **kwargs: Any) -> Any:
            token = LOG_TAKEN.set([]) if switch.on and LOG_TAKEN.get() is None else None
            try:
                return await original(*args, **kwargs)
            finally:
                if token is not None:
                    restore(LOG_TAKEN, token)

        return log

    def _export(self, level: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        taken = LOG_TAKEN.get()
        if taken is not None:
            if taken:
                return
            taken.append(True)
        self._otel.emit(Record(level_of(level), args, dict(kwargs)))
