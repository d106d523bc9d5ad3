"""``BusinessMetricsMonitor``: workflows by how long they took, errors by what they were, and a word when it is odd."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from multiagents_otel import semconv
from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.monitors.metrics_collector import MetricsCollector
from multiagents_otel.monitors.monitor import harmless_async, nothing
from multiagents_otel.monitors.recorded import number
from multiagents_otel.monitors.telling import tell
from multiagents_otel.telemetry.observers import OBSERVERS, Observer

if TYPE_CHECKING:
    from multiagents_otel.semconv import WorkflowStatus
    from multiagents_otel.telemetry.failure import Failure
    from multiagents_otel.telemetry.workflow import Workflow

_logger = logging.getLogger("multiagents_otel")

_REMEMBERED: Final = 10_000
_PENDING: Final = 1_000
_SPIKE_SECONDS: Final = 60.0

_BUCKETS: Final = ((100.0, "fast"), (1_000.0, "normal"), (5_000.0, "slow"))
_SLOWEST: Final = "very_slow"


class BusinessMetricsMonitor(Observer):
    """Turns ends of workflows and errors into metrics of the application's own, and tells of slow ones and of spikes.

    Workflows of an instrumented framework are counted by themselves; one that is told by hand as well, by its
    transaction, counts once. Errors are only told by hand.

    Args:
        logger: gets ``warning("Slow workflow detected")`` and ``error("Error spike detected")``; like the framework's;
            None: the logger ``multiagents_otel`` of the standard library.
        metrics_collector: what the metrics go to, ours or another one with its methods; None: one of its own.
        slow_workflow_ms: from which duration on a workflow is told as slow.
        spike_errors: more errors than that are a spike,
        spike_minutes: within so many minutes.
    """

    def __init__(
        self,
        logger: Any = None,
        metrics_collector: Any = None,
        *,
        slow_workflow_ms: float = 30_000,
        spike_errors: int = 10,
        spike_minutes: float = 5,
    ) -> None:
        self.logger = logger
        self.metrics_collector = MetricsCollector() if metrics_collector is None else metrics_collector
        self.business_rules: dict[str, Any] = {}
        self.slow_workflow_ms = slow_workflow_ms
        self.spike_errors = spike_errors
        self.spike_minutes = spike_minutes
        self._told: BoundedMap[str, bool] = BoundedMap(_REMEMBERED)
        self._spike_told = -_SPIKE_SECONDS
        self._pending: set[asyncio.Task[None]] = set()
        OBSERVERS.add(self)

    # --- by hand -------------------------------------------------------------------------------

    @harmless_async(nothing)
    async def track_workflow_completion(
        self, workflow_id: str, transaction_id: str, duration_ms: float, status: str
    ) -> None:
        """Count a workflow that ended: ``workflow_completion`` and ``workflow_duration`` (ms).

        Tags: ``workflow_id``; of the first ``status`` and ``duration_bucket`` too (``fast`` under 100 ms, ``normal``
        under 1 s, ``slow`` under 5 s, ``very_slow``). One that the instrumentation has counted is not counted again.
        """
        if self._counts(transaction_id, by_hand=True):
            await self._workflow(workflow_id, transaction_id, duration_ms, status)

    @harmless_async(nothing)
    async def track_error_pattern(self, error_type: str, worker_name: str, context: Mapping[str, Any]) -> None:
        """Count an error, ``error_occurrence`` by ``error_type`` and ``worker_name``, and tell of a spike.

        A spike is told when it is seen, and then once a minute for as long as it lasts. ``context`` is not kept: it
        may hold anything.
        """
        del context
        hour = datetime.now(timezone.utc).strftime("%Y-%m-%d-%H")
        tags = {"error_type": error_type, "worker_name": worker_name, "hour": hour}
        await self._record("error_occurrence", 1, tags)
        errors = await self._recent_errors()
        if errors > self.spike_errors and time.monotonic() - self._spike_told >= _SPIKE_SECONDS:
            self._spike_told = time.monotonic()
            await tell(
                self.logger,
                "error",
                "Error spike detected",
                error_count=errors,
                worker_name=worker_name,
                error_type=error_type,
            )

    # --- by the instrumentation ----------------------------------------------------------------

    def workflow_ended(
        self, workflow: Workflow, status: WorkflowStatus, failure: Failure | None, seconds: float
    ) -> None:
        """A workflow of the framework ended, or was found to be stalled."""
        if not self._counts(workflow.transaction_id, by_hand=False):
            return
        told = (workflow.workflow_id, workflow.transaction_id, seconds * 1_000.0, status.value)
        if getattr(type(self.metrics_collector), "record_metric", None) is MetricsCollector.record_metric:
            for metric in _completion(told[0], told[2], told[3]):
                self.metrics_collector.record(*metric)
            if self._is_slow(told[2]):
                self._later(self._tell_slow(*told[:3]))
        else:
            self._later(self._workflow(*told))

    def _later(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Somebody else's code is awaited apart from the workflow that has ended."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            coroutine.close()
            return
        if len(self._pending) >= _PENDING:
            coroutine.close()
            return
        task = loop.create_task(coroutine)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    # --- both ----------------------------------------------------------------------------------

    def _counts(self, transaction_id: object, *, by_hand: bool) -> bool:
        """Whether a workflow's end is news: not if the other way has told of its transaction."""
        if not isinstance(transaction_id, str):
            return True
        told = self._told.get(transaction_id)
        if told is None:
            self._told[transaction_id] = by_hand
        return told in (None, by_hand)

    async def _workflow(self, workflow_id: str, transaction_id: str, duration_ms: float, status: str) -> None:
        for metric in _completion(workflow_id, duration_ms, status):
            await self._record(*metric)
        if self._is_slow(duration_ms):
            await self._tell_slow(workflow_id, transaction_id, duration_ms)

    async def _record(self, metric_name: str, value: float, tags: dict[str, str]) -> None:
        try:
            await self.metrics_collector.record_metric(metric_name, value, tags=tags)
        except Exception:  # a collector of somebody else's
            _logger.debug("a metric was not recorded: the collector failed", exc_info=True)

    async def _recent_errors(self) -> int:
        try:
            recent = await self.metrics_collector.get_metric_aggregations(
                "error_occurrence", time_window_minutes=self.spike_minutes
            )
            return int(number(recent["count"]) or 0)
        except Exception:
            _logger.debug("errors could not be counted: the collector failed", exc_info=True)
            return 0

    def _is_slow(self, duration_ms: float) -> bool:
        return (number(duration_ms) or 0.0) > self.slow_workflow_ms

    async def _tell_slow(self, workflow_id: str, transaction_id: str, duration_ms: float) -> None:
        await tell(
            self.logger,
            "warning",
            "Slow workflow detected",
            workflow_id=workflow_id,
            transaction_id=transaction_id,
            duration_ms=duration_ms,
        )


def _completion(workflow_id: str, duration_ms: float, status: str) -> list[tuple[str, float, dict[str, str]]]:
    tags = {"workflow_id": workflow_id, "status": status, "duration_bucket": _bucket(duration_ms)}
    return [
        ("workflow_completion", 1, tags),
        ("workflow_duration", duration_ms, {"workflow_id": workflow_id}),
    ]


def _bucket(duration_ms: float) -> str:
    duration = number(duration_ms)
    if duration is None:
        return semconv.OTHER
    return next((name for below, name in _BUCKETS if duration < below), _SLOWEST)
