"""``WorkerMonitor``: how the workers of this process do."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import StatusCode

from multiagents_otel import semconv
from multiagents_otel.core.scope import LAST_COMMAND
from multiagents_otel.monitors import worker_reports
from multiagents_otel.monitors.event_book import error_text
from multiagents_otel.monitors.health import LEVELS, RECENT_MINUTES, Thresholds, rate_level
from multiagents_otel.monitors.monitor import Monitor, harmless, harmless_async, in_operation, nothing
from multiagents_otel.monitors.numbers import milliseconds, number
from multiagents_otel.monitors.windows import Windows
from multiagents_otel.monitors.workers import WorkerKey, Workers, key_of
from multiagents_otel.semconv import Outcome
from multiagents_otel.telemetry.event import text
from multiagents_otel.telemetry.ledger import Key
from multiagents_otel.telemetry.observers import OBSERVERS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from multiagents_otel.telemetry.execution import Execution
    from multiagents_otel.telemetry.failure import Failure
    from multiagents_otel.telemetry.sending import Sending

_logger = logging.getLogger("multiagents_otel.monitors")

_WORKER_SPAN: Final = semconv.worker_span("")


class WorkerMonitor(Monitor):
    """Counts the executions of this process' workers, and tells their performance and health.

    It hears of every execution of an instrumented ``WorkerManager``, recorded as a span or not; where nothing is
    instrumented, of what the framework tells it (``WorkerManager(bus, worker_monitor=...)``). Executions that were
    cancelled at a shutdown do not count. Rates are percents.

    Args:
        logger: of the framework's ``ILogger`` kind; told when a worker's error rate passes a threshold. Without one
            that goes to the logger ``multiagents_otel.monitors``.
        health_check_interval_seconds: how long an execution may go beyond its timeout before its worker has failed.
        metrics_retention_hours: how far back figures reach, 24 hours at least.
        max_metrics_per_worker: accepted as the framework's monitor has it; figures are sums, and need no limit.
        performance_window_minutes: what :meth:`get_worker_performance` looks back on.
        error_rate_threshold: a fraction; a worker of a greater error rate is degraded.
        slow_execution_threshold_ms: a worker whose 95th percentile is greater is degraded.
        alert_on_high_error_rate: one WARNING each time that a worker's error rate gets above a threshold.

    No method raises, whatever it is given; a fault is counted in ``multiagents.otel.errors``, component ``monitor``.
    """

    _instruments = ("multiagents.worker.",)

    def __init__(
        self,
        logger: Any = None,
        health_check_interval_seconds: float = 30,
        metrics_retention_hours: float = 24,
        max_metrics_per_worker: int = 1_000,
        *,
        performance_window_minutes: float = 60,
        error_rate_threshold: float = 0.1,
        slow_execution_threshold_ms: float = 5_000,
        alert_on_high_error_rate: bool = True,
    ) -> None:
        self.health_check_interval_seconds = number(health_check_interval_seconds, 30)
        self.metrics_retention_hours = number(metrics_retention_hours, 24)
        self.max_metrics_per_worker = max_metrics_per_worker
        self.performance_window_minutes = number(performance_window_minutes, 60, least=1e-9)
        self.error_rate_threshold = number(error_rate_threshold, 0.1)
        self.slow_execution_threshold_ms = number(slow_execution_threshold_ms, 5_000)
        self.alert_on_high_error_rate = bool(alert_on_high_error_rate)
        self._telling: set[asyncio.Task[None]] = set()
        self._reset()
        super().__init__(logger)

    def _reset(self) -> None:
        thresholds = Thresholds(100.0 * self.error_rate_threshold, self.slow_execution_threshold_ms)
        self._windows = Windows(self.metrics_retention_hours)
        self._workers = Workers(self._windows, thresholds, self.health_check_interval_seconds)
        self._alerted = False  # whether any worker's error rate is high, so that a success may change it

    # --- operations ----------------------------------------------------------------------------

    def sent(self, sending: Sending, failure: Failure | None) -> None:
        """A command was published: whether anybody took it."""
        event = sending.event
        if event.kind != semconv.COMMAND_EVENT or sending.receivers is None:
            return
        if failure is not None and failure.error_type == semconv.UNDELIVERED:
            self._later(self._workers.undelivered, event.subject)
        elif failure is None and self._workers.any_undelivered:
            self._later(self._workers.delivered, event.subject)

    def execution_started(self, execution: Execution) -> None:
        """A worker is about to be called."""
        if not execution.excluded:
            self._later(self._workers.started, key_of(execution.worker), id(execution), execution.timeout)

    def execution_ended(self, execution: Execution, outcome: Outcome, failure: Failure | None, seconds: float) -> None:
        """A worker's execution ended."""
        if execution.excluded:
            return
        error = (error_text(failure.message) or failure.error_type) if failure is not None else None
        key = key_of(execution.worker)
        self._later(self._workers.ended, key, id(execution), outcome, seconds * 1e3, error)
        if outcome is not Outcome.SUCCESS or self._alerted:
            self._watch(key, outcome)

    def _count_span(self, span: ReadableSpan) -> None:
        attributes = span.attributes or {}
        name = text(attributes.get(semconv.WORKER_NAME))
        if name is None or not span.name.startswith(_WORKER_SPAN):
            return
        told = attributes.get(semconv.WORKER_OUTCOME)
        failed = span.status.status_code is StatusCode.ERROR
        known = told in {outcome.value for outcome in Outcome}
        outcome = Outcome(told) if known else Outcome.ERROR if failed else Outcome.SUCCESS
        duration = max(0, (span.end_time or 0) - (span.start_time or 0)) * 1e-6
        self._count(name, None, outcome, duration, span.status.description if failed else None)

    # --- the framework's calls -----------------------------------------------------------------

    @harmless(nothing)
    def register_worker(self, worker_type: Any, worker_instance: Any = None) -> None:
        """A worker is there, though it has not executed anything yet."""
        if (name := text(worker_type)) is not None:
            with self._caught_up():
                self._workers.registered(key_of(name, worker_instance))

    @harmless(bool)
    def unregister_worker(self, worker_type: Any, worker_instance: Any = None) -> bool:
        """A worker is gone, and its figures with it; False if it was not known."""
        with self._caught_up():
            return self._workers.forget(key_of(text(worker_type) or "", worker_instance))

    @harmless_async(nothing)
    async def track_command_start(self, worker_type: Any, command_id: Any, worker_instance: Any = None) -> None:
        """A worker takes up a command."""
        name, command = text(worker_type), text(command_id)
        if name is None or command is None or in_operation(command):
            return
        with self._caught_up():
            self._workers.started(key_of(name, worker_instance), command, None)
        OBSERVERS.tell(OBSERVERS.guard, "command_started", name, command)

    @harmless_async(nothing)
    async def track_command_success(
        self,
        worker_type: Any,
        command_id: Any,
        processing_time: Any = None,
        worker_instance: Any = None,
        result_metadata: Any = None,
    ) -> None:
        """A command's worker returned; ``processing_time`` in seconds counts only if its start was not told."""
        self._callback(worker_type, command_id, processing_time, worker_instance, Outcome.SUCCESS, None)

    @harmless_async(nothing)
    async def track_command_failure(
        self,
        worker_type: Any,
        command_id: Any,
        processing_time: Any = None,
        error_message: Any = None,
        worker_instance: Any = None,
        error_details: Any = None,
    ) -> None:
        """A command's worker raised."""
        self._callback(worker_type, command_id, processing_time, worker_instance, Outcome.ERROR, error_message)

    @harmless_async(nothing)
    async def track_command_timeout(
        self, worker_type: Any, command_id: Any, processing_time: Any = None, worker_instance: Any = None
    ) -> None:
        """A command's worker ran into its timeout."""
        error = "it did not end within its timeout"
        self._callback(worker_type, command_id, processing_time, worker_instance, Outcome.TIMEOUT, error)

    def _callback(
        self, worker_type: Any, command_id: Any, seconds: Any, instance: Any, outcome: Outcome, error: Any
    ) -> None:
        name, command = text(worker_type), text(command_id)
        if name is None or command is None or in_operation(command):
            return
        LAST_COMMAND.set((command, outcome.value))
        told = milliseconds(seconds)
        self._count(name, instance, outcome, told * 1e3 if told is not None else None, error, command)
        OBSERVERS.tell(OBSERVERS.guard, "command_ended", name, command, outcome, error_text(error))

    @harmless_async(nothing)
    async def track_worker_execution(
        self,
        worker_name: Any,
        execution_time_ms: Any = None,
        success: Any = True,
        error: Any = None,
        worker_instance: Any = None,
    ) -> None:
        """Count an execution by hand; it always counts, whatever else was told of it."""
        if (name := text(worker_name)) is not None:
            outcome = Outcome.SUCCESS if success else Outcome.ERROR
            self._count(name, worker_instance, outcome, milliseconds(execution_time_ms), error)

    def _count(
        self, name: str, instance: Any, outcome: Outcome, duration: float | None, error: Any, command: str | None = None
    ) -> None:
        told = error_text(error if isinstance(error, str) or error is None else str(error))
        key = key_of(name, instance)
        self._later(self._workers.ended, key, command, outcome, duration, told)
        if outcome is not Outcome.SUCCESS or self._alerted:
            self._watch(key, outcome)

    # --- alerts --------------------------------------------------------------------------------

    def _watch(self, key: WorkerKey, outcome: Outcome) -> None:
        """Tell of a worker whose error rate has passed a threshold, or is low again."""
        if not self.alert_on_high_error_rate:
            return
        with self._caught_up():
            worker = self._workers.known(key)
            recent = self._workers.recent(worker)
            level, before = rate_level(recent, 100.0 * self.error_rate_threshold), worker.alerted
            if level > before and outcome is Outcome.SUCCESS:
                return  # it is older successes that are no longer recent
            worker.alerted = level
            self._alerted = any(other.alerted for other in self._workers)
        if level > before or (level < before and not level):
            fields = {
                "worker_name": worker.label,
                "error_rate": round(recent.error_rate, 1),
                "recent_executions": recent.executions,
                "status": LEVELS[level],
                "latest_error": worker.error,
            }
            self._tell(level > before, fields)

    def _tell(self, worse: bool, fields: dict[str, Any]) -> None:
        message = "Worker error rate is high" if worse else "Worker error rate is low again"
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if self.logger is None or loop is None:
            level = logging.WARNING if worse else logging.INFO
            _logger.log(level, "%s: %s", message, " ".join(f"{key}={value!r}" for key, value in fields.items()))
        else:
            told = self._log(self.logger.warning if worse else self.logger.info, message, fields)
            # Not in the context of the execution: the record is the worker's, of no trace.
            task = contextvars.Context().run(loop.create_task, told)
            self._telling.add(task)  # the loop itself would let it be collected
            task.add_done_callback(self._telling.discard)

    async def _log(self, log: Any, message: str, fields: dict[str, Any]) -> None:
        try:
            await log(message, **fields)
        except Exception:
            OBSERVERS.guard.caught("monitor")

    # --- questions -----------------------------------------------------------------------------

    @harmless_async(dict)
    async def get_worker_performance(self, worker_name: Any, time_window_minutes: Any = None) -> dict[str, Any]:
        """One worker's executions of the last ``performance_window_minutes``: counts, rates, durations (ms)."""
        minutes = self.performance_window_minutes if time_window_minutes is None else time_window_minutes
        with self._caught_up():
            return worker_reports.performance(self._workers, str(worker_name), minutes)

    @harmless_async(dict)
    async def get_worker_performance_summary(self, time_window_minutes: Any = 60) -> dict[str, Any]:
        """Every worker's, and all of them together, weighted by their executions."""
        with self._caught_up():
            return worker_reports.summary(self._workers, time_window_minutes)

    @harmless_async(dict)
    async def check_worker_health(self, worker_name: Any) -> dict[str, Any]:
        """A worker's status (``healthy``, ``degraded``, ``failed``), recent error rate (percent) and issues."""
        with self._caught_up():
            return worker_reports.health(self._workers, str(worker_name))

    @harmless_async(dict)
    async def get_all_workers_health(self) -> dict[str, dict[str, Any]]:
        """The same of every worker that is known, by name."""
        with self._caught_up():
            return {name: worker_reports.health(self._workers, name) for name in self._workers.names}

    @harmless_async(dict)
    async def get_worker_metrics(self, worker_type: Any = None, worker_instance: Any = None) -> dict[str, Any]:
        """A worker's totals since it is known, as the framework tells them; all of them by ``type:instance``."""
        with self._caught_up():
            if worker_type is None:
                return {worker.key: worker_reports.totals(self._workers, worker) for worker in self._workers}
            worker = self._workers.find(key_of(str(worker_type), worker_instance))
            return worker_reports.totals(self._workers, worker) if worker is not None else {}

    @harmless_async(dict)
    async def get_worker_health_status(self, worker_type: Any = None, worker_instance: Any = None) -> dict[str, Any]:
        """As the framework's monitor tells it: one worker's, or all by ``type:instance``."""
        with self._caught_up():
            if worker_type is None:
                return {worker.key: worker_reports.health_status(self._workers, worker) for worker in self._workers}
            worker = self._workers.find(key_of(str(worker_type), worker_instance))
            return worker_reports.health_status(self._workers, worker) if worker is not None else {}

    @harmless(dict)
    def get_monitor_stats(self) -> dict[str, Any]:
        """How many workers there are, and the settings."""
        with self._caught_up():
            levels = [self._workers.examine(worker).level for worker in self._workers]
        return {
            "worker_count": len(levels),
            "healthy_workers": levels.count(0),
            "unhealthy_workers": len(levels) - levels.count(0),
            "health_check_interval_seconds": self.health_check_interval_seconds,
            "metrics_retention_hours": self.metrics_retention_hours,
            "performance_window_minutes": self.performance_window_minutes,
            "running": self._running,
        }

    @harmless(dict)
    def worker_health(self) -> Mapping[Key, int]:
        """Each worker's status as a number: ``multiagents.worker.health``."""
        with self._caught_up():
            recent = self._workers.windows.window(RECENT_MINUTES)
            worst: dict[Key, int] = {}
            for worker in self._workers:
                level = self._workers.examine(worker, recent).level
                worst[worker.label,] = max(level, worst.get((worker.label,), 0))
            return worst
