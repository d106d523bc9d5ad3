"""``MetricsCollector``: figures of the machine, of this process and of Redis, and the application's own metrics."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Final

from multiagents_otel import framework_interfaces, semconv
from multiagents_otel.core.forking import on_fork
from multiagents_otel.monitors import collected, recorded
from multiagents_otel.monitors.monitor import harmless, harmless_async, nothing
from multiagents_otel.monitors.numbers import number
from multiagents_otel.monitors.recorded import Recorded, timestamp
from multiagents_otel.monitors.sample import NOTHING_SEEN, Sample, Sampler
from multiagents_otel.monitors.slots import Slots, Totals
from multiagents_otel.monitors.telling import tell
from multiagents_otel.telemetry.custom import CUSTOM, NAMES
from multiagents_otel.telemetry.system import SYSTEM, Seen

_DAY_HOURS: Final = 24
_LONGEST_RETENTION_HOURS: Final = 366 * _DAY_HOURS
_FIRST_SECONDS: Final = 1.0
_SHORTEST_SECONDS: Final = 0.1


class MetricsCollector:
    """Looks at the machine now and then, and keeps what was seen; takes the application's own metrics.

    While it is on (started, or asked for a sample, and not stopped) ``multiagents.system.disk``,
    ``multiagents.system.network.io`` and ``multiagents.redis.connections`` are exported, if the framework is
    instrumented. Nothing here raises, and nothing blocks the event loop: samples are taken in a thread.

    Args:
        logger: told of start and stop; like the framework's.
        collection_interval_seconds: seconds between two samples, once it is started.
        retention_days: how long figures are kept; a day is 24 of ``retention_hours``.
        max_metrics_per_type: how many entries of ``record_event_metric`` and ``record_worker_metric`` are kept for
            each type.
        retention_hours: in the place of ``retention_days``.
        redis_url: a Redis server whose clients are counted beside those of the event buses' servers.
        include_system_metrics: False: ``start()`` takes no samples, and the system's instruments tell nothing of it.
        custom_metrics_enabled: False: the application's own metrics are not taken.
    """

    def __init__(
        self,
        logger: Any = None,
        collection_interval_seconds: float = 60,
        retention_days: float = 7,
        max_metrics_per_type: int = 10_000,
        *,
        retention_hours: float | None = None,
        redis_url: str | None = None,
        include_system_metrics: bool = True,
        custom_metrics_enabled: bool = True,
    ) -> None:
        self.logger = logger
        self.collection_interval_seconds = max(_SHORTEST_SECONDS, recorded.number(collection_interval_seconds) or 60.0)
        days = number(retention_days, 7)
        self.retention_days = days if retention_hours is None else number(retention_hours, days * 24) / _DAY_HOURS
        self.max_metrics_per_type = int(number(max_metrics_per_type, 10_000, least=1))
        self.redis_url = redis_url
        self.include_system_metrics = include_system_metrics
        self.custom_metrics_enabled = custom_metrics_enabled
        self.seen: Seen | None = None
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._forget()
        framework_interfaces.serve()
        on_fork(in_child=self._forget)

    def _forget(self) -> None:
        """Begin with nothing, as a process of its own."""
        hours = min(max(self.retention_days * _DAY_HOURS, 1.0), _LONGEST_RETENTION_HOURS)
        self._retention = hours * 3_600.0
        self._lock = threading.RLock()  # a signal handler or a finalizer may record in the midst of a recording
        self._system: dict[str, Slots] = {}
        self._custom: dict[str, Slots] = {}
        self._events = Recorded(self.max_metrics_per_type, self._retention)
        self._workers = Recorded(self.max_metrics_per_type, self._retention)
        self._sampler = Sampler(self.redis_url)
        self._running = False
        self._thread: threading.Thread | None = None
        self.seen = None

    # --- samples -------------------------------------------------------------------------------

    @harmless_async(nothing)
    async def start(self) -> None:
        """Take a sample every ``collection_interval_seconds`` from now on, on this event loop; once."""
        loop = asyncio.get_running_loop()
        if self._running and self._loop is not None and self._loop() is loop:
            return
        self._running = True
        self._loop = weakref.ref(loop)
        if self.include_system_metrics:
            SYSTEM.add(self)
            self._set(loop, min(_FIRST_SECONDS, self.collection_interval_seconds))
        if self.logger:
            await tell(
                self.logger,
                "info",
                "Metrics collector started",
                collection_interval_seconds=self.collection_interval_seconds,
                retention_days=self.retention_days,
            )

    @harmless_async(nothing)
    async def stop(self) -> None:
        """Take no more samples; what was seen stays. Once, however often it is called."""
        SYSTEM.remove(self)
        if not self._running:
            return
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.logger:
            await tell(self.logger, "info", "Metrics collector stopped")

    def _set(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        # A timer rather than a task: there is nothing to wait for, and nothing to cancel when the loop ends. It does
        # not keep the collector alive, and carries no span that happens to be current.
        self._timer = loop.call_later(seconds, _tick, weakref.ref(self), context=contextvars.Context())

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._running or self._loop is None or self._loop() is not loop:
            return
        self._set(loop, self.collection_interval_seconds)
        if self._thread is None or not self._thread.is_alive():
            # Not the loop's executor: sync workers may fill it, and the loop's end would wait for a Redis that hangs.
            self._thread = threading.Thread(
                target=_take, args=(weakref.ref(self),), name="multiagents-otel", daemon=True
            )
            self._thread.start()

    def _take(self, *, wait: bool) -> Sample:
        sample, self.seen = self._sampler.take(wait=wait)
        with self._lock:
            for figure, value in sample._asdict().items():
                if value is not None:
                    self._add(self._system, collected.NAMES_OF_FRAMEWORK.get(figure, figure), value)
        return sample

    @harmless_async(lambda: collected.sample_report(NOTHING_SEEN))
    async def collect_system_metrics(self) -> dict[str, Any]:
        """Look now, in a thread.

        Returns:
            ``cpu_usage_percent`` (since the last look), ``memory_usage_percent``, ``disk_usage_percent`` (of the root
            file system), ``active_connections`` (clients of Redis; None if there is no server or it does not
            answer), ``event_queue_size`` (commands published or executing here, unfinished),
            ``network_bytes_sent`` and ``network_bytes_received`` (since boot), of this process ``cpu_percent``,
            ``memory_rss_mb``, ``memory_vms_mb``, and ``timestamp``.
        """
        if self.include_system_metrics:
            SYSTEM.add(self)
        return collected.sample_report(await asyncio.to_thread(self._take, wait=True))

    @harmless_async(nothing)
    async def record_system_metric(
        self, metric_name: str, value: float, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Add a figure of the user's own to the system's."""
        del metadata  # the framework keeps it and never returns it
        self._record(self._system, metric_name, value)

    @harmless_async(lambda: collected.averages_and_peaks({}))
    async def get_system_metrics(self, time_window_minutes: float = 60) -> dict[str, Any]:
        """What the samples of a window come to; without one in it, a sample is taken now.

        Returns:
            ``avg_`` and ``peak_`` of ``cpu_usage``, ``memory_usage``, ``disk_usage`` (percent),
            ``active_connections`` (None if never known), ``event_queue_size``; ``network_bytes_sent`` and
            ``network_bytes_received`` (within the window); the framework's ``event_metrics`` and ``worker_metrics`` (of
            what was recorded by hand; see the EventMonitor and the WorkerMonitor for what happened) and
            ``system_metrics`` (by name: ``count``, ``average``, ``min``, ``max``, ``latest``).
        """
        window = collected.seconds_of(time_window_minutes)
        if not self._over(self._system, window).get("event_queue_size"):
            await self.collect_system_metrics()
        system = self._over(self._system, window)
        return {
            "time_window_minutes": time_window_minutes,
            "collected_at": timestamp(),
            **collected.averages_and_peaks(system),
            "event_metrics": recorded.event_statistics(collected.of_all(self._events.within(window))),
            "worker_metrics": recorded.worker_statistics(collected.of_all(self._workers.within(window))),
            "system_metrics": {name: collected.system_statistics(totals) for name, totals in system.items()},
        }

    # --- the application's own -----------------------------------------------------------------

    async def record_metric(self, metric_name: str, value: float, tags: Mapping[str, Any] | None = None) -> None:
        """Record a metric of the application's own: see :meth:`record`, which this calls."""
        self.record(metric_name, value, tags)

    @harmless(nothing)
    def record(self, metric_name: str, value: float, tags: Mapping[str, Any] | None = None) -> None:
        """Record a value of the histogram ``multiagents.custom.<name>``, and for ``get_metric_aggregations``.

        What is no finite number is left out. 100 names, then ``_OTHER``; the tags' bounds are those of
        :class:`multiagents_otel.telemetry.custom.CustomMetrics`, and a tag ``hour`` is not exported.
        """
        name = recorded.name(metric_name)
        if self.custom_metrics_enabled and self._record(self._custom, name, value):
            CUSTOM.record(name, float(value), tags if isinstance(tags, Mapping) else {})

    @harmless_async(lambda: collected.aggregations(Totals()))
    async def get_metric_aggregations(self, metric_name: str, time_window_minutes: float = 60) -> dict[str, float]:
        """What the values of one metric (exactly that name, any tags) within a window come to.

        Returns:
            ``count``, ``avg``, ``min``, ``max``, ``sum``, ``latest``; all 0 without a value.
        """
        name = recorded.name(metric_name)
        return collected.aggregations(
            self._over(self._custom, collected.seconds_of(time_window_minutes), name).get(name, Totals())
        )

    # --- the framework's IMetricsCollector -------------------------------------------------------

    @harmless_async(nothing)
    async def record_event_metric(
        self, event_type: str, duration: float, success: bool, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Record an event by hand: its duration, in whatever unit, and whether it succeeded."""
        if (measured := recorded.number(duration)) is not None:
            told = {"duration": measured, "success": bool(success)}
            self._events.add("event_type", event_type, told, metadata)

    @harmless_async(nothing)
    async def record_worker_metric(
        self, worker_type: str, metric_name: str, value: float, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Record a figure of a worker by hand."""
        if (measured := recorded.number(value)) is not None:
            told = {"metric_name": recorded.name(metric_name), "value": measured}
            self._workers.add("worker_type", worker_type, told, metadata)

    @harmless_async(dict)
    async def get_event_metrics(self, event_type: str | None = None, time_window_minutes: float = 60) -> dict[str, Any]:
        """What was recorded by hand of events of one type, or of each: ``metrics`` and ``statistics``."""
        found = self._events.within(collected.seconds_of(time_window_minutes))
        return collected.by_type(found, event_type, time_window_minutes, "event_type", recorded.event_type_statistics)

    @harmless_async(dict)
    async def get_worker_metrics(
        self, worker_type: str | None = None, time_window_minutes: float = 60
    ) -> dict[str, Any]:
        """What was recorded by hand of one worker, or of each: ``metrics`` and ``statistics``."""
        found = self._workers.within(collected.seconds_of(time_window_minutes))
        return collected.by_type(
            found, worker_type, time_window_minutes, "worker_type", recorded.worker_type_statistics
        )

    def get_collector_stats(self) -> dict[str, Any]:
        """What the collector itself holds, as the framework's tells it."""
        return {
            "event_types_tracked": self._events.kinds,
            "worker_types_tracked": self._workers.kinds,
            "total_event_metrics": len(self._events),
            "total_worker_metrics": len(self._workers),
            "total_system_metrics": len(self._system),
            "total_custom_metrics": len(self._custom),
            "collection_interval_seconds": self.collection_interval_seconds,
            "retention_days": self.retention_days,
            "running": self._running,
        }

    # --- totals --------------------------------------------------------------------------------

    def _record(self, figures: dict[str, Slots], name: object, value: object) -> bool:
        measured = recorded.number(value)
        if measured is None:
            return False
        with self._lock:
            self._add(figures, recorded.name(name), measured)
        return True

    def _add(self, figures: dict[str, Slots], name: str, value: float) -> None:
        slots = figures.get(name)
        if slots is None:
            if len(figures) >= NAMES:
                name = semconv.OTHER
            slots = figures.setdefault(name, Slots(self._retention))
        slots.add(value)

    def _over(self, figures: dict[str, Slots], window: float, name: str | None = None) -> dict[str, Totals]:
        """The totals of every figure, or of one, that has values in a window."""
        with self._lock:
            names = [name] if name is not None else list(figures)
            totals = {name: figures[name].over(window) for name in names if name in figures}
        return {name: found for name, found in totals.items() if found.count}


@harmless(nothing)
def _tick(collector: weakref.ref[MetricsCollector]) -> None:
    if (alive := collector()) is not None:
        alive._tick()


@harmless(nothing)
def _take(collector: weakref.ref[MetricsCollector]) -> None:
    if (alive := collector()) is not None:
        alive._take(wait=False)
