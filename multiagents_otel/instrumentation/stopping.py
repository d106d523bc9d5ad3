"""The last stop: what is queued is flushed in the background when the framework comes to rest in this process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from multiagents_otel.ending import ENDING
from multiagents_otel.instrumentation.event_bus import REDIS_BUS_MODULE
from multiagents_otel.instrumentation.handlers import WORKER_MANAGER_MODULE
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.instrumentation.step import ORCHESTRATOR_MODULE
from multiagents_otel.telemetry.bus import Buses
from multiagents_otel.telemetry.core import Telemetry


class StopInstrumentation:
    """The patches of ``stop`` of buses, managers and orchestrators."""

    def __init__(self, telemetry: Telemetry, buses: Buses, patches: PatchSet) -> None:
        self._telemetry = telemetry
        self._buses = buses
        self._patches = patches

    def table(self) -> list[Patch]:
        """The rows, one for each class that can be stopped."""
        return [
            Patch(REDIS_BUS_MODULE, "RedisEventBus", "stop", self._stop),
            Patch(WORKER_MANAGER_MODULE, "WorkerManager", "stop", self._stop),
            Patch(ORCHESTRATOR_MODULE, "Orchestrator", "stop", self._stop),
        ]

    def _stop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        async def stop(stopped: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return await original(stopped, *args, **kwargs)
            finally:
                if switch.on:
                    self._flush()

        return stop

    def _flush(self) -> None:
        try:
            if not any(getattr(bus, "_running", None) is True for bus in self._buses):
                ENDING.flush_soon()
        except Exception:
            self._telemetry.guard.caught("stop")
